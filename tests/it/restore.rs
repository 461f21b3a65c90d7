//! Backup and restore as `docs/operations.md` has them: a copy that was taken under load, on an empty machine with an empty
//! Kafka, is a whole system again; and where the topics know more than the copy, nothing is published over it.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    kafka_relay::pay,
    support::{
        backend::{Database, Folder, Kind},
        eventually,
        kafka::Kafka,
        program::Ended,
        server::Server,
    },
};

const EVENTS_BEFORE: u64 = 100;
/// That are lost with the machine.
const EVENTS_BEHIND: u64 = 100;

fn events(server: &Server) -> u64 {
    server.query("select count(*) from events")[0].parse().unwrap()
}

fn have_events(server: &Server, count: u64) {
    eventually("events", || (events(server) >= count).then_some(()));
}

fn tool(name: &str, arguments: &[&str]) {
    let output = Command::new(name).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

fn back_up(server: &Server, file: &Path) {
    let file = file.to_str().unwrap();
    match server.kind() {
        Kind::Sqlite => server.alter(&format!("vacuum into '{file}'")),
        Kind::Postgres => {
            tool("pg_dump", &["--format=custom", &format!("--file={file}"), &server.database_url()]);
        }
    }
}

/// Onto a machine that has nothing.
fn restore(kind: Kind, file: &Path) -> (Database, Folder) {
    let (database, folder) = (Database::new(kind), Folder::new());
    match kind {
        Kind::Sqlite => {
            fs::create_dir(folder.path().join("data")).unwrap();
            fs::copy(file, folder.path().join("data/fintech.db")).unwrap();
        }
        Kind::Postgres => {
            let into = format!("--dbname={}", database.url());
            tool("pg_restore", &["--exit-on-error", "--no-owner", &into, file.to_str().unwrap()]);
        }
    }
    (database, folder)
}

#[track_caller]
fn succeeds(server: &Server, arguments: &[&str]) -> String {
    let Ended { code, stdout, stderr } = server.run(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {stdout}{stderr}");
    stdout
}

/// The consumers' positions came with the copy; what lies behind them is handled from the new topics.
fn consumers_catch_up(server: &Server) {
    eventually("consumers without lag", || {
        let table = succeeds(server, &["consumers"]);
        let mut lags = table.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap());
        lags.all(|lag| lag == "0").then_some(())
    });
}

fn a_backup_under_load_is_restored_to_a_whole_system(kind: Kind) {
    let (kafka, copies) = (Kafka::new(), Folder::new());
    let copy = copies.path().join("copy");
    let mut server = kafka.server(kind, &[]);
    let merchants: Vec<String> = (0..4).map(|_| server.merchant()).collect();
    let done = AtomicBool::new(false);
    let (mut before, mut behind) = (0, 0);
    thread::scope(|scope| {
        let load = scope.spawn(|| pay(&server, &merchants, &done));
        have_events(&server, EVENTS_BEFORE);
        before = events(&server);
        back_up(&server, &copy);
        behind = events(&server);
        have_events(&server, behind + EVENTS_BEHIND);
        done.store(true, Ordering::Release);
        assert!(load.join().unwrap() > 0);
    });
    // The topics know of what the copy does not have.
    kafka.hold_the_log(&server);
    server.kill();

    let (database, folder) = restore(kind, &copy);
    let mut restored = kafka.server_on(database, folder, &[]);
    let found = events(&restored);
    assert!((before..=behind).contains(&found), "{before} {found} {behind}");
    eventually("the relay's refusal", || restored.log().contains("the log has lost events").then_some(()));
    restored.stop();
    let Ended { code, stderr, .. } = restored.run(&["topics", "rebuild"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("the log has lost events that the world has seen"), "{stderr}");
    drop(restored);

    let empty = Kafka::new();
    let (database, folder) = restore(kind, &copy);
    let mut restored = empty.server_on(database, folder, &[("Server__Roles", "api")]);
    let rebuilt = succeeds(&restored, &["topics", "rebuild"]);
    assert_eq!(
        rebuilt.trim_end(),
        format!("{found} events were published; the topics hold all {found} of the log")
    );
    restored.verify_log();
    let said = succeeds(&restored, &["reconcile"]);
    assert!(said.contains(&format!("{found} records on Kafka: nothing is missing")), "{said}");
    restored.set("Server__Roles", "api,relay,consumers");
    restored.restart();
    restored.completed_payment(&merchants[0], 5000);
    empty.hold_the_log(&restored);
    consumers_catch_up(&restored);
    succeeds(&restored, &["reconcile"]);
}

#[test]
fn a_backup_of_sqlite_under_load_is_restored_to_a_whole_system() {
    a_backup_under_load_is_restored_to_a_whole_system(Kind::Sqlite);
}

#[test]
fn a_backup_of_postgres_under_load_is_restored_to_a_whole_system() {
    a_backup_under_load_is_restored_to_a_whole_system(Kind::Postgres);
}
