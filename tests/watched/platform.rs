//! The program by roles, with load on it, and how it is broken.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    support::{
        backend::Kind,
        client::Content,
        collector::Collector,
        eventually,
        kafka::Kafka,
        pages::Pages,
        program,
        server::{Beside, Server, signal},
    },
    witness::Witness,
};

/// The pause between two runs of reconciliation.
pub const RECONCILED_EVERY: Duration = Duration::from_secs(5);
/// Two cores have a debug build, Kafka and PostgreSQL to run.
const RATE: &str = "30";
const CONNECTIONS: &str = "16";
const MIX: &str = "create=45,complete=30,refund=8,withdraw=7,read=5,balance=5";
const POISON: &str = "the poisoned one";
const FAIL: &str = "consumer=poison:the poisoned one";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ADDRESS_PATTERN: &str = "/dead-letters/";
const ID_CHARS: usize = 36;

pub struct Platform {
    load: Load,
    pub witness: Witness,
    consumers: Option<Beside>,
    relay: Beside,
    reconcile: Beside,
    api: Server,
    merchant: String,
    collector: Collector,
    kafka: Kafka,
}

impl Platform {
    pub fn start(folder: &Path) -> Self {
        let (kafka, collector) = (Kafka::cluster(1), Collector::start());
        let interval = RECONCILED_EVERY.as_secs().to_string();
        let mut api = kafka.server(
            Kind::Postgres,
            &[
                ("Server__Roles", "api"),
                ("Telemetry__OtlpEndpoint", collector.url()),
                ("Telemetry__ServiceName", "api"),
                ("Reconcile__IntervalSeconds", &interval),
                ("Reconcile__LoadPercentMax", "100"),
                ("Logging__Format", "json"),
                ("Logging__Level", "warn"),
            ],
        );
        api.set("Telemetry__ServiceName", "relay");
        let relay = api.beside("relay");
        api.set("Telemetry__ServiceName", "reconcile");
        let reconcile = api.beside("reconcile");
        let load = Load::start(folder, &format!("http://{}", api.address()));
        let merchant = api.merchant();
        let witness = Witness::start(&format!("http://{}", api.address()), &api.merchant());
        let mut platform =
            Self { load, witness, consumers: None, relay, reconcile, api, merchant, collector, kafka };
        platform.start_consumers();
        platform
    }

    /// Where each process shows its metrics, with its role.
    pub fn targets(&self) -> Vec<(&'static str, String)> {
        let mut targets = vec![
            ("api", self.api.operations_url()),
            ("relay", self.relay.operations_url()),
            ("reconcile", self.reconcile.operations_url()),
        ];
        targets.extend(self.consumers.as_ref().map(|consumers| ("consumers", consumers.operations_url())));
        targets
    }

    /// Callers who are wrong, or ask twice; and some that the load does not ask for.
    pub fn provoke(&self) {
        let path = format!("/api/merchants/{}/payments", self.merchant);
        let body = json!({"amountInMinorUnits": 5000, "currency": "USD"});
        for _ in 0..2 {
            self.api.post_with_key(&path, "once", &body).expect(201);
        }
        self.api
            .post_with_key(&path, "once", &json!({"amountInMinorUnits": 1, "currency": "USD"}))
            .expect(422);
        self.api.post(&path, &json!({"amountInMinorUnits": -1, "currency": "USD"})).expect(400);
        self.api
            .send("GET", "/api/merchants", &[("Authorization", "Basic YTpi")], &Content::Nothing)
            .expect(401);
        self.api.completed_payment(&self.merchant, 100_000);
        let withdrawal = self.api.withdrawal(&self.merchant, 250);
        self.api.post_empty(&format!("{withdrawal}/process")).expect(200);
        self.api.post_empty(&format!("{withdrawal}/complete")).expect(200);
    }

    /// Three processes take part in it.
    #[track_caller]
    pub fn has_one_trace_from_the_request_to_the_consumer(&self) {
        let path = format!("/api/merchants/{}/payments", self.merchant);
        let context = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let body = json!({"amountInMinorUnits": 100, "currency": "USD"});
        let headers = [("traceparent", context.as_str())];
        self.api.send("POST", &path, &headers, &Content::Json(&body)).expect(201);
        for (service, name) in [
            ("api", "POST /api/merchants/{merchantId}/payments"),
            ("api", "create_payment"),
            ("relay", "send "),
            ("consumers", "process payment-events"),
        ] {
            self.collector.wait_for(name, |span| {
                span.trace_id == TRACE && span.service == service && span.name.starts_with(name)
            });
        }
    }

    /// What an exemplar leads to is there.
    #[track_caller]
    pub fn has_traces(&self, named: &BTreeSet<String>) {
        assert!(!named.is_empty(), "no bucket names a trace");
        let kept: BTreeSet<String> = self.collector.spans().into_iter().map(|span| span.trace_id).collect();
        let missing: Vec<&String> = named.difference(&kept).collect();
        assert!(missing.is_empty(), "{missing:?} of {} are not kept", named.len());
    }

    /// A payment whose events no consumer of payments can handle.
    pub fn poison(&self) {
        let path = format!("/api/merchants/{}/payments", self.merchant);
        let body = json!({"amountInMinorUnits": 100, "currency": "USD", "description": POISON});
        self.api.post(&path, &body).expect(201);
    }

    /// What was poison is so no more, at least in the API's process, where people ask for it.
    pub fn redrive(&self) {
        let pages = Pages::of(&self.api);
        loop {
            let list = pages.page("/dead-letters");
            let mut ids = list
                .match_indices(ADDRESS_PATTERN)
                .map(|(at, found)| list[at + found.len()..].chars().take(ID_CHARS).collect::<String>());
            let Some(id) = ids.find(|id| uuid::Uuid::parse_str(id).is_ok()) else { return };
            let path = format!("{ADDRESS_PATTERN}{id}");
            pages.done(&path, &format!("{path}/redrive"), &[("reason", "the handler was mended")]);
        }
    }

    pub fn pause(&self, consumer: &str) {
        self.runs(&["consumers", "pause", consumer, "--why", "a test"]);
    }

    pub fn go_on(&self, consumer: &str) {
        self.runs(&["consumers", "resume", consumer, "--why", "a test"]);
    }

    pub fn kill_consumers(&mut self) {
        let consumers = self.consumers.take().unwrap();
        consumers.signal("KILL");
    }

    pub fn start_consumers(&mut self) {
        self.api.set("Telemetry__ServiceName", "consumers");
        self.api.set("FINTECH_FAIL", FAIL);
        self.consumers = Some(self.api.beside("consumers"));
        self.api.set("FINTECH_FAIL", "");
    }

    pub fn stop_broker(&self) {
        self.kafka.node("stop", 1);
    }

    pub fn start_broker(&self) {
        self.kafka.node("start", 1);
    }

    /// What gathered is published and handled.
    pub fn catches_up(&self) {
        let open = "select count(*) from events e where e.stream = 1 and not exists (select 1 from \
             consumer_positions p where p.consumer = 'payment_log' and p.stream = e.stream and p.lane = e.lane \
             and p.position + 200 >= e.position)";
        eventually("consumers that have caught up", || (self.api.query(open) == ["0"]).then_some(()));
    }

    pub fn close_database(&self) {
        self.api.let_database_connect(false);
    }

    pub fn open_database(&self) {
        self.api.let_database_connect(true);
    }

    pub fn corrupt(&self) {
        self.add_to_balance(1);
    }

    pub fn repair(&self) {
        self.add_to_balance(-1);
    }

    /// Nothing asks for this merchant any more.
    fn add_to_balance(&self, minor: i64) {
        let merchant = &self.merchant;
        let rows = format!("owner = '{merchant}' and kind = 1 and currency = 'USD'");
        assert_eq!(self.api.query(&format!("select count(*) from accounts where {rows}")), ["1"]);
        self.api.alter(&format!("update accounts set balance = balance + {minor} where {rows}"));
    }

    /// Nothing is lost and nothing is doubled, whatever was broken.
    #[track_caller]
    pub fn ends_whole(&mut self) {
        self.witness.stop();
        let report = self.load.end();
        assert_eq!(report["ledger"]["verdict"], "agrees", "{report}");
        assert_eq!(report["ledger"]["unsettled"], 0, "{report}");
        assert_eq!(report["wrongAnswers"], 0, "{report}");
        self.kafka.hold_the_log(&self.api);
        self.api.verify_log();
        self.runs(&["reconcile"]);
    }

    #[track_caller]
    fn runs(&self, arguments: &[&str]) {
        let ended = self.api.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    }
}

/// `fintech bench`, which asks until it is answered, and knows what it was answered.
struct Load {
    bench: Child,
    folder: PathBuf,
}

impl Load {
    fn start(folder: &Path, url: &str) -> Self {
        let mut arguments = vec!["bench", "run", "--json", "--persist", "--url", url, "--duration", "100000"];
        arguments.extend(["--rate", RATE, "--connections", CONNECTIONS, "--merchants", "20", "--mix", MIX]);
        arguments.extend(["--repeats", "0.1"]);
        let file = |name: &str| File::create(folder.join(name)).unwrap();
        let mut command = program::command(folder, &arguments, &[]);
        let bench = command.stdout(file("bench.json")).stderr(file("bench.log")).spawn().unwrap();
        Self { bench, folder: folder.to_owned() }
    }

    /// Ends it; gives its report.
    #[track_caller]
    fn end(&mut self) -> Value {
        signal(self.bench.id(), "INT");
        let status = eventually("the end of the load", || self.bench.try_wait().unwrap());
        let text = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap();
        assert_eq!(status.code(), Some(0), "{}{}", text("bench.json"), text("bench.log"));
        serde_json::from_str(&text("bench.json")).unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.bench.kill());
        drop(self.bench.wait());
    }
}
