//! `fintech bench` measures the real program, and says whether it did what it acknowledged.

use std::{collections::HashSet, fs, process::Stdio};

use serde_json::Value;

use crate::support::{
    backend::{Folder, Kind},
    eventually, on_both_backends,
    program::{self, Ended},
    server::{Server, signal},
};

on_both_backends!(
    a_load_that_was_answered_rightly_agrees_with_the_ledger,
    a_balance_that_somebody_altered_does_not_agree,
    a_load_in_process_agrees_with_the_ledger,
    a_kill_in_the_middle_of_a_load_loses_nothing_that_was_acknowledged,
);

const MIX: &str = "create=50,complete=25,refund=5,withdraw=5,read=10,balance=5";

/// Runs a load to its end; gives its report, too.
fn load(server: &Server, arguments: &[&str]) -> (Ended, Value) {
    let mut all = vec!["bench", "--json", "--merchants", "10"];
    all.extend(arguments);
    let ended = server.run(&all);
    let report = serde_json::from_str(&ended.stdout).unwrap_or(Value::Null);
    (ended, report)
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address())
}

fn ok(report: &Value) -> u64 {
    let kinds = report["measured"]["kinds"].as_array().unwrap();
    let kinds = kinds.iter().filter(|line| line["kind"] != "all");
    kinds.map(|line| line["ok"].as_u64().unwrap()).sum()
}

/// Nothing is lost and nothing is doubled, and an answer that is asked for again is the same.
fn a_load_that_was_answered_rightly_agrees_with_the_ledger(server: &mut Server) {
    let url = url(server);
    let journal = server.folder().join("journal");
    let journal = journal.to_str().unwrap();
    let (ended, report) = load(
        server,
        &[
            "--url",
            &url,
            "--requests",
            "400",
            "--mix",
            MIX,
            "--repeats",
            "0.1",
            "--zipf",
            "1",
            "--journal",
            journal,
        ],
    );
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(report["ledger"]["verdict"], "agrees");
    assert_eq!(ok(&report), 400);
    assert!(report["repeats"]["answered"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["repeats"]["mismatches"], 0);
    assert_eq!(report["dropped"], 0);

    // Every line of the journal is something that is there.
    let journal = fs::read_to_string(journal).unwrap();
    let lines: Vec<Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let payments = lines.iter().filter(|line| line["path"].as_str().unwrap().ends_with("/payments"));
    let mut ids = HashSet::new();
    for line in payments {
        let (merchant, id) = (line["merchantId"].as_str().unwrap(), line["id"].as_str().unwrap());
        let payment = server.get(&format!("/api/merchants/{merchant}/payments/{id}")).expect(200);
        assert_eq!(payment.json["amountInMinorUnits"], line["amountInMinorUnits"]);
        ids.insert(id);
    }
    assert_eq!(report["ledger"]["payments"], ids.len());
}

fn a_load_in_process_agrees_with_the_ledger(server: &mut Server) {
    server.stop();
    let (ended, report) = load(
        server,
        &["--in-process", "--requests", "300", "--mix", MIX, "--repeats", "0.1", "--hot", "0.9"],
    );
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(report["ledger"]["verdict"], "agrees");
    assert_eq!(ok(&report), 300);
    assert_eq!(report["repeats"]["mismatches"], 0);
    server.restart();
    server.verify_log();
}

/// A hand in the database, which puts a cent on each account that is opened. Failure mode 99.
fn a_balance_that_somebody_altered_does_not_agree(server: &mut Server) {
    server.alter(match server.kind() {
        Kind::Sqlite => {
            "create trigger hand after insert on accounts begin \
             update accounts set balance = balance + 1 \
             where owner = new.owner and kind = new.kind and currency = new.currency; end"
        }
        Kind::Postgres => {
            "create function hand() returns trigger language plpgsql as $$ begin \
             update accounts set balance = balance + 1 \
             where owner = new.owner and kind = new.kind and currency = new.currency; return new; end $$; \
             create trigger hand after insert on accounts for each row execute function hand()"
        }
    });
    let url = url(server);
    let (ended, report) = load(server, &["--url", &url, "--requests", "100", "--mix", "create=1,complete=1"]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(report["ledger"]["verdict"], "differs");
    let differences = report["ledger"]["differences"].as_array().unwrap();
    assert!(differences.iter().any(|one| one["what"] == "available balance"), "{report}");
    let arguments = ["--url", &url, "--merchants", "3", "--requests", "50", "--connections", "2"];
    let arguments: Vec<&str> =
        ["bench", "--mix", "create=1,complete=1"].into_iter().chain(arguments).collect();
    let table = server.run(&arguments);
    assert_eq!(table.code, Some(1));
    assert!(table.stdout.contains("THE LEDGER DOES NOT AGREE"), "{}", table.stdout);
}

/// Failure modes 85, 91 and 107.
fn a_kill_in_the_middle_of_a_load_loses_nothing_that_was_acknowledged(server: &mut Server) {
    // The other address is where the program is after it was started again.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    drop(other);
    let (first, second) = (url(server), format!("http://{address}"));
    let journal = server.folder().join("journal");
    let database = server.database_url();
    let arguments = [
        "bench",
        "--json",
        "--url",
        &first,
        "--url",
        &second,
        "--persist",
        "--requests",
        "3000",
        "--connections",
        "8",
        "--merchants",
        "10",
        "--mix",
        MIX,
        "--repeats",
        "0.1",
        "--journal",
        journal.to_str().unwrap(),
        "--database",
        &database,
    ];
    let mut bench = program::command(server.folder(), &arguments, &[]);
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("payments", || {
        (server.query("select count(*) from payments")[0].parse::<u64>().unwrap() > 100).then_some(())
    });
    server.kill();
    let mut again =
        program::command(server.folder(), &["serve", "--listen", &address, "--database", &database], &[]);
    let log = fs::File::create(server.folder().join("again")).unwrap();
    let mut again = again.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let output = bench.wait_with_output().unwrap();
    again.kill().unwrap();
    again.wait().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(ok(&report), 3000);
    assert!(report["retries"].as_u64().unwrap() > 0, "{report}");
    server.restart();
    server.verify_log();
    assert_eq!(server.run(&["reconcile"]).code, Some(0));
}

/// Somebody has seen enough: what was asked for until then has its verdict.
#[test]
fn a_load_that_is_stopped_early_has_its_verdict() {
    let server = Server::start(Kind::Sqlite);
    let url = url(&server);
    let arguments = ["bench", "--json", "--url", &url, "--duration", "100000", "--merchants", "10"];
    let mut bench = program::command(server.folder(), &arguments, &[]);
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("payments", || {
        (server.query("select count(*) from payments")[0].parse::<u64>().unwrap() > 100).then_some(())
    });
    signal(bench.id(), "INT");
    let output = bench.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["ledger"]["verdict"], "agrees", "{report}");
    assert!(ok(&report) > 100, "{report}");
}

#[test]
fn a_load_is_let_in_by_its_key() {
    let server = Server::start_with(Kind::Sqlite, &[("Security__Access", "required")]);
    let url = url(&server);
    let arguments = ["--url", &url, "--requests", "100", "--mix", MIX, "--connections", "4"];
    let (without, _) = load(&server, &arguments);
    assert_eq!(without.code, Some(2), "{}", without.stdout);
    let made = ["keys", "create", "--name", "load", "--role", "admin", "--why", "a load"];
    let key = server.run(&made);
    assert_eq!(key.code, Some(0), "{}", key.stderr);
    fs::write(server.folder().join("key"), key.stdout).unwrap();
    let (ended, report) = load(&server, &[&arguments[..], &["--key-file", "key"]].concat());
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!((ok(&report), &report["ledger"]["verdict"]), (100, &Value::from("agrees")), "{report}");
    let missing = load(&server, &[&arguments[..], &["--key-file", "nothing"]].concat()).0;
    assert_eq!(missing.code, Some(2), "{}", missing.stdout);
    assert!(missing.stderr.contains("nothing cannot be read"), "{}", missing.stderr);
}

/// What is not reachable is no verdict.
#[test]
fn a_platform_that_is_not_there_is_told_in_a_sentence() {
    let folder = Folder::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let ended =
        program::run(folder.path(), &["bench", "--url", &url, "--timeout", "1", "--patience", "1"], &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    assert!(ended.stderr.starts_with("fintech: the load could not be prepared: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("Connection refused"), "{}", ended.stderr);
}

#[test]
fn flags_that_make_no_sense_are_named() {
    let folder = Folder::new();
    for (flags, wanted) in [
        (&["--mix", "pay=1"][..], "there is no \"pay\" to ask for"),
        (&["--mix", "create"], "say KIND=SHARE"),
        (&["--rate", "0"], "say a number of requests a second above 0"),
        (&["--rate", "fast"], "say a number of requests a second above 0"),
        (&["--hot", "1.5"], "say a share between 0 and 1"),
        (&["--zipf=-1"], "say an exponent between 0 and 10"),
        (&["--repeats", "x"], "say a share between 0 and 1"),
        (&["--connections", "0"], "0 is not in 1..="),
        (&["--bulk", "1001"], "1001 is not in 1..=1000"),
        (&["--url", "127.0.0.1:5153"], "is not an address such as"),
        (&["--url", "https://localhost"], "is not http://"),
        (&["--hot", "0.9", "--zipf", "1"], "cannot be used with"),
        (&["--url", "http://localhost", "--in-process"], "cannot be used with"),
        (&["--requests", "1", "--duration", "1"], "cannot be used with"),
        (&["compare", "fast"], "there is no scenario \"fast\""),
        (&["compare", "--rounds", "0"], "0 is not in 1..="),
    ] {
        let arguments: Vec<&str> = std::iter::once(&"bench").chain(flags).copied().collect();
        let ended = program::run(folder.path(), &arguments, &[]);
        assert_eq!(ended.code, Some(2), "{flags:?}");
        assert!(ended.stderr.contains(wanted), "{flags:?}: {}", ended.stderr);
    }
}

/// The whole way through the comparison, on the back end that needs nothing.
#[test]
fn a_comparison_gives_a_row_with_its_ratio_machine_and_date() {
    let folder = Folder::new();
    let arguments = [
        "bench",
        "compare",
        "bulk-sqlite",
        "startup",
        "reconcile",
        "drain",
        "--rounds",
        "2",
        "--seconds",
        "1",
        "--events",
        "2000",
        "--json",
        "rows.json",
    ];
    let ended = program::run(folder.path(), &arguments, &[("PATH", "/usr/bin:/bin")]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let json: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("rows.json")).unwrap()).unwrap();
    let names: Vec<&str> =
        json["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bulk-sqlite", "reconcile-sqlite", "startup-fresh", "startup-again"]);
    let bulk = &json["rows"][0];
    assert_eq!(bulk["candidates"].as_array().unwrap().len(), 2);
    let ratio = |which: &str| bulk["ratio"][which].as_f64().unwrap();
    // On a busy machine a whole round may pass without an answer.
    assert!(
        0.0 < ratio("max") && ratio("min") <= ratio("median") && ratio("median") <= ratio("max"),
        "{bulk}"
    );
    assert!(json["machine"]["cores"].as_u64().unwrap() > 0);
    assert!(ended.stdout.contains(json["machine"]["date"].as_str().unwrap()), "{}", ended.stdout);
    assert!(ended.stdout.contains("not measured: drain: it needs --kafka"), "{}", ended.stdout);
}
