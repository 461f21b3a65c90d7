//! What `fintech reconcile` stores of its runs, how it goes on with one that was left, and the role that runs for ever.

use std::{
    fs::{self, File},
    net::TcpListener,
    process::Child,
};

use serde_json::{Value, json};

use crate::{
    reconcile::live,
    support::{
        backend::{Folder, Kind},
        eventually, on_both_backends,
        program::{self, Ended},
        server::Server,
    },
};

on_both_backends!(
    a_break_is_the_same_one_until_it_is_gone,
    a_run_that_was_killed_is_gone_on_with,
    a_run_that_was_stopped_is_gone_on_with_at_once,
    following_sees_a_break_come_and_go,
    the_role_counts_breaks_in_a_metric,
);

const DRIFT: &str = "update accounts set balance = balance + 1 where kind = 1";
const MEND: &str = "update accounts set balance = balance - 1 where kind = 1";

/// The objects that a command prints, a line each.
fn lines(server: &Server, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let Ended { code, stdout, stderr } = server.run(&[arguments, &["--json"]].concat());
    assert!(code != Some(2), "{arguments:?}: {stderr}");
    (code, stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn reconcile(server: &Server) -> (Option<i32>, Value) {
    let (code, mut lines) = lines(server, &["reconcile"]);
    (code, lines.pop().unwrap())
}

/// The breaks of a run, the newest unless one is named.
fn breaks(server: &Server, run: Option<&Value>) -> Vec<Value> {
    let show: Vec<&str> =
        ["reconcile", "show"].into_iter().chain(run.map(|run| run.as_str().unwrap())).collect();
    let (_, mut lines) = lines(server, &show);
    lines.split_off(1)
}

fn a_break_is_the_same_one_until_it_is_gone(server: &mut Server) {
    live(server);
    assert_eq!(reconcile(server).0, Some(0));
    server.alter(DRIFT);
    let (code, first) = reconcile(server);
    assert_eq!((code, &first["breaks"]), (Some(1), &json!(1)));
    let found = breaks(server, None);
    assert_eq!(found.len(), 1);
    for (member, value) in [("break", "drifted balance"), ("expected", "20000"), ("found", "20001")] {
        assert_eq!(found[0][member], value);
    }
    assert!(found[0]["place"].as_str().unwrap().starts_with("accounts merchant "), "{found:?}");
    assert!(found[0]["remedy"].as_str().unwrap().starts_with("stop withdrawals"), "{found:?}");
    assert_eq!(found[0]["closedAt"], Value::Null);

    server.alter(DRIFT);
    assert_eq!(reconcile(server).0, Some(1));
    let again = breaks(server, None);
    assert_eq!((again.len(), &again[0]["id"], &again[0]["found"]), (1, &found[0]["id"], &json!("20002")));
    assert_eq!(again[0]["firstSeenAt"], found[0]["firstSeenAt"]);
    assert!(again[0]["lastSeenAt"].as_str() > found[0]["lastSeenAt"].as_str());

    server.alter(MEND);
    server.alter(MEND);
    assert_eq!(reconcile(server).0, Some(0));
    assert!(breaks(server, None).is_empty());
    let closed = breaks(server, Some(&first["run"]));
    assert_eq!((closed.len(), &closed[0]["id"]), (1, &found[0]["id"]));
    assert!(closed[0]["closedAt"].is_string(), "{closed:?}");

    // One that comes again later is another one.
    server.alter(DRIFT);
    assert_eq!(reconcile(server).0, Some(1));
    assert_ne!(breaks(server, None)[0]["id"], found[0]["id"]);
    let (_, runs) = lines(server, &["reconcile", "list"]);
    let counts: Vec<_> = runs.iter().map(|run| run["breaks"].as_i64().unwrap()).collect();
    assert_eq!(counts, [1, 0, 1, 1, 0]);
    assert!(runs.iter().all(|run| run["state"] == "ended" && run["endedAt"].is_string()), "{runs:?}");
    let (_, newest) = lines(server, &["reconcile", "list", "--limit", "1"]);
    assert_eq!(newest, runs[..1]);

    let people = server.run(&["reconcile", "show"]).stdout;
    assert!(people.contains("what to do stop withdrawals") && people.contains("1 break."), "{people}");
    assert_eq!(server.run(&["reconcile", "list"]).stdout.lines().count(), 6);
    assert_eq!(server.run(&["reconcile", "show", "11111111-2222-4333-8444-555555555555"]).code, Some(2));
}

/// A log that a slow run takes some time for.
fn grow(server: &Server) {
    let merchant = live(server);
    let path = format!("/api/merchants/{merchant}/payments/bulk");
    let payments = vec![json!({"amountInMinorUnits": 100, "currency": "USD"}); 500];
    for _ in 0..30 {
        server.post(&path, &json!({ "payments": payments })).expect(201);
    }
}

/// A process that reconciles at a hundredth of a core's time, in the middle of its work.
fn slow(server: &mut Server) -> crate::support::server::Beside {
    grow(server);
    server.set("Reconcile__IntervalSeconds", "1");
    server.set("Reconcile__LoadPercentMax", "1");
    let slow = server.beside("reconcile");
    eventually("a note of how far it came", || {
        (server.query("select count(*) from reconciliation_runs where checkpoint is not null") == ["1"])
            .then_some(())
    });
    slow
}

/// The result of going on is that of a whole run.
fn goes_on(server: &Server) {
    let (_, runs) = lines(server, &["reconcile", "list"]);
    let (code, went_on) = {
        let (code, mut lines) = lines(server, &["reconcile", "--resume"]);
        (code, lines.pop().unwrap())
    };
    assert_eq!((code, &went_on["run"]), (Some(0), &runs[0]["run"]));
    let (code, mut whole) = reconcile(server);
    assert_eq!(code, Some(0));
    assert_ne!(whole["run"], went_on["run"]);
    whole["run"] = went_on["run"].clone();
    assert_eq!(whole, went_on);
}

/// Failure mode 107.
fn a_run_that_was_killed_is_gone_on_with(server: &mut Server) {
    let slow = slow(server);
    // Nobody takes it away from one that lives.
    let Ended { code, stderr, .. } = server.run(&["reconcile", "--resume"]);
    assert_eq!((code, stderr.contains("another process works on run")), (Some(2), true), "{stderr}");
    slow.signal("KILL");
    goes_on(server);
}

/// Failure mode 107.
fn a_run_that_was_stopped_is_gone_on_with_at_once(server: &mut Server) {
    let mut slow = slow(server);
    slow.stop();
    let (_, runs) = lines(server, &["reconcile", "list"]);
    assert_eq!(runs[0]["state"], "interrupted");
    goes_on(server);
}

/// `fintech reconcile --follow` beside a server.
struct Following {
    process: Child,
    output: std::path::PathBuf,
}

impl Following {
    fn start(server: &Server) -> Self {
        let output = server.folder().join("following");
        let url = server.database_url();
        let arguments = ["reconcile", "--follow", "--json", "--database", &url];
        let process = program::command(server.folder(), &arguments, &[("Reconcile__IntervalSeconds", "1")])
            .stdout(File::create(&output).unwrap())
            .spawn()
            .unwrap();
        Self { process, output }
    }

    /// Waits for a line with this member, behind so many that were seen; gives how many lines there are.
    fn wait_for(&self, seen: usize, member: &str, value: &Value) -> usize {
        eventually("a line of it", || {
            let text = fs::read_to_string(&self.output).unwrap();
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            lines[seen..].iter().any(|line| line[member] == *value).then_some(lines.len())
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn following_sees_a_break_come_and_go(server: &mut Server) {
    live(server);
    let mut following = Following::start(server);
    let seen = following.wait_for(0, "breaks", &json!(0));
    server.alter(DRIFT);
    let seen = following.wait_for(seen, "break", &json!("drifted balance"));
    server.alter(MEND);
    following.wait_for(seen, "breaks", &json!(0));
    crate::support::server::signal(following.process.id(), "TERM");
    let status = eventually("its end", || following.process.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

fn the_role_counts_breaks_in_a_metric(server: &mut Server) {
    live(server);
    server.set("Reconcile__IntervalSeconds", "1");
    server.restart();
    let operations = server.operations();
    let metric = |line: &str| {
        eventually(line, || {
            operations.get("/metrics").expect(200).text.lines().any(|l| l == line).then_some(())
        });
    };
    metric("fintech_reconciliation_breaks{kind=\"drifted balance\"} 0");
    metric("fintech_reconciliation_runs_total{outcome=\"clean\"} 1");
    server.alter(DRIFT);
    metric("fintech_reconciliation_breaks{kind=\"drifted balance\"} 1");
    metric("fintech_reconciliation_breaks{kind=\"missing\"} 0");
    assert!(server.log().contains("reconciliation found breaks"), "{}", server.log());
    server.alter(MEND);
    metric("fintech_reconciliation_breaks{kind=\"drifted balance\"} 0");
    let answer = operations.get("/metrics").expect(200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let last = answer.text.lines().find_map(|line| {
        line.strip_prefix("fintech_reconciliation_last_run_timestamp_seconds ")?.parse::<f64>().ok()
    });
    assert!(last.unwrap() > 1_700_000_000.0);
    assert_eq!(operations.get("/health/live").expect(200).string("status"), "Healthy");
    operations.get("/health/ready").expect(200);
    operations.get("/api/merchants").expect(404);
}

/// The rest is counted. What was stored stays as it is until a run can say that it is gone.
#[test]
fn so_many_breaks_are_stored() {
    let server = Server::start(Kind::Sqlite);
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments/bulk");
    let payments = vec![json!({"amountInMinorUnits": 100, "currency": "USD"}); 500];
    for _ in 0..3 {
        server.post(&path, &json!({ "payments": payments })).expect(201);
    }
    server.alter("update payments set amount = amount + 1");
    let (code, printed) = lines(&server, &["reconcile"]);
    assert_eq!((code, printed.len()), (Some(1), 1001));
    assert_eq!(printed[1000]["breaks"], 1500);
    assert_eq!(breaks(&server, None).len(), 1000);
    server.alter("update payments set amount = amount - 1");
    assert_eq!(reconcile(&server).0, Some(0));
    assert_eq!(server.query("select count(*) from reconciliation_breaks where closed_at is null"), ["0"]);
}

/// Several processes may run on one machine; who asks for an address gets it or is told.
#[test]
fn a_port_of_operations_that_is_taken_stops_only_who_asked_for_it() {
    // Whoever has it: it is taken.
    let _taken = TcpListener::bind("127.0.0.1:8080");
    let folder = Folder::new();
    let log = folder.path().join("log");
    let output = File::create(&log).unwrap();
    let mut process = program::command(folder.path(), &["--listen", "127.0.0.1:0"], &[])
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    eventually("a start without metrics", || {
        let log = fs::read_to_string(&log).unwrap();
        (log.contains("Listening on") && log.contains("metrics and probes are not served")).then_some(())
    });
    drop(process.kill());
    drop(process.wait());

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = program::refusal(folder.path(), &["--listen", "127.0.0.1:0", "--operations", &address], &[]);
    assert!(told.contains(&address) && told.contains("--operations"), "{told}");
}
