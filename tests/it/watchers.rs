//! Whoever watches the program may be slow, stuck or away: who pays does not notice.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    process::{Child, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    backend::{Database, Folder, Kind},
    client::Client,
    collector::Collector,
    eventually, program,
    server::{Server, signal},
};

/// Every line that there is, and every trace.
const ALL_OF_IT: [(&str, &str); 4] = [
    ("Logging__Format", "json"),
    ("Logging__Level", "trace"),
    ("Telemetry__TracesKeptPercent", "100"),
    ("Telemetry__TracesPerSecondMax", "1000000"),
];
const PORTS: [&str; 6] =
    ["--listen", "127.0.0.1:0", "--operations", "127.0.0.1:0", "--registry", "127.0.0.1:0"];
const MEASURED: usize = 200;
/// Until all queues are full.
const PAYMENTS_MAX: usize = 20_000;
const CALLERS: usize = 16;
const PAYMENTS_BETWEEN_LOOKS: usize = 50;
/// Pages of metrics that nobody reads: more than the kernel takes.
const SCRAPES: usize = 500;
/// What one would notice. Both take the same load in turn, so that a busy machine is busy for both.
const NOTICED: u32 = 3;
/// A payment that waited for any of them would take as long as it is stuck.
const HELD_UP: Duration = Duration::from_secs(5);

/// How a collector is not there.
#[derive(Clone, Copy)]
enum Absence {
    /// It takes connections and answers nothing: spans wait.
    Silent,
    /// Nobody listens: spans are lost at once.
    Away,
}

impl Absence {
    /// Its address, and the metric that shows that it is not there.
    fn collector(self) -> (String, &'static str) {
        match self {
            Self::Silent => {
                let collector = Collector::start();
                collector.stall();
                (collector.url().to_owned(), "fintech_traces_not_kept_total ")
            }
            Self::Away => ("http://127.0.0.1:9".to_owned(), "fintech_spans_lost_total "),
        }
    }
}

/// The program with a reader of its log that reads no more, a collector that is not there, and a Prometheus that asks and
/// does not read.
struct Stuck {
    /// What counts the spans that it cannot get rid of.
    lost: &'static str,
    process: Child,
    _log: BufReader<ChildStdout>,
    _scraper: TcpStream,
    client: Client,
    operations: Client,
    database: Database,
    folder: Folder,
}

impl Stuck {
    fn start(kind: Kind, absence: Absence) -> Self {
        let (collector, lost) = absence.collector();
        let (database, folder) = (Database::new(kind), Folder::new());
        let url = database.url();
        let arguments = [&["serve", "--database", &url], &PORTS[..]].concat();
        let variables = [&ALL_OF_IT[..], &[("Telemetry__OtlpEndpoint", &collector)]].concat();
        let mut process = program::command(folder.path(), &arguments, &variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap());
        let (client, operations) =
            (address(&mut log, "Listening on "), address(&mut log, "Console, metrics and probes on "));
        let mut scraper = TcpStream::connect(operations.split_once("://").unwrap().1).unwrap();
        scraper
            .write_all("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(SCRAPES).as_bytes())
            .unwrap();
        let (client, operations) = (Client::new(&client), Client::new(&operations));
        Self { lost, process, _log: log, _scraper: scraper, client, operations, database, folder }
    }

    /// Lines and traces find no room any more.
    fn is_full(&self) -> bool {
        let text = self.operations.get("/metrics").expect(200).text;
        ["fintech_log_lines_lost_total ", self.lost].iter().all(|name| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            value.parse::<u64>().unwrap() > 0
        })
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn address(log: &mut impl std::io::BufRead, prefix: &str) -> String {
    let mut lines = log.lines().map(Result::unwrap);
    lines.find_map(|line| line.strip_prefix(prefix).map(str::to_owned)).unwrap()
}

fn merchant(client: &Client) -> String {
    client.post("/api/merchants", &json!({"name": "m", "email": "m@example.com"})).expect(201).id()
}

fn pay(client: &Client, path: &str, body: &Value) -> Duration {
    let begun = Instant::now();
    client.post(path, body).expect(201);
    begun.elapsed()
}

fn middle(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

/// 112: nothing waits for what is told. One stuck reader of the log would stop a program that writes where payments are made.
fn payments_do_not_notice_who_watches(kind: Kind, absence: Absence) {
    let healthy = Collector::start();
    let watched =
        Server::start_with(kind, &[&ALL_OF_IT[..], &[("Telemetry__OtlpEndpoint", healthy.url())]].concat());
    let mut stuck = Stuck::start(kind, absence);
    let of = |client: &Client| format!("/api/merchants/{}/payments", merchant(client));
    let (path, stuck_path) = (of(&watched), of(&stuck.client));
    let body = json!({"amountInMinorUnits": 100, "currency": "USD"});

    let mut paid = 0;
    while !stuck.is_full() {
        assert!(paid < PAYMENTS_MAX, "after {paid} payments there still is room for lines and traces");
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                let payments = (0..PAYMENTS_BETWEEN_LOOKS).map(|_| pay(&stuck.client, &stuck_path, &body));
                scope.spawn(|| payments.for_each(drop));
            }
        });
        paid += CALLERS * PAYMENTS_BETWEEN_LOOKS;
    }
    let turns = (0..MEASURED).map(|_| (pay(&watched, &path, &body), pay(&stuck.client, &stuck_path, &body)));
    let (well, held): (Vec<Duration>, Vec<Duration>) = turns.unzip();
    let slowest = held.iter().max().copied().unwrap();
    let (well, held) = (middle(well), middle(held));
    println!("{kind:?}: full after {paid} payments; where all is well {well:?}, stuck {held:?} a payment");
    assert!(held < well * NOTICED, "{held:?} a payment, {well:?} where all is well");
    assert!(slowest < HELD_UP, "one payment took {slowest:?}");

    // Nor is the end held up.
    signal(stuck.process.id(), "TERM");
    let status = eventually("the end", || stuck.process.try_wait().unwrap());
    assert!(status.success(), "{status}");
    let made = stuck.database.query(stuck.folder.path(), "select count(*) from payments");
    assert_eq!(made, [(paid + MEASURED).to_string()]);
}

#[test]
fn payments_do_not_notice_who_watches_on_sqlite() {
    payments_do_not_notice_who_watches(Kind::Sqlite, Absence::Silent);
}

#[test]
fn payments_do_not_notice_who_watches_on_postgres() {
    payments_do_not_notice_who_watches(Kind::Postgres, Absence::Away);
}
