//! Consumers that people pause, let go on, and restart elsewhere, by the command line, beside the running program.

use serde_json::json;

use crate::{
    kafka_relay::effects_are_once_each,
    support::{
        backend::Kind,
        eventually,
        kafka::{Kafka, STREAMS},
        server::Server,
    },
};

const TABLE: &str = "create table probe (event_id text, stream bigint, lane bigint, position bigint)";
const PROBE: &str = "select count(*) from probe";
const PROBE_GROUP: &str = "fintechplatform-probe";
const LOGGED: &str = "Processing payment event";
const FAST: [(&str, &str); 2] =
    [("Consumers__BackoffInitialMilliseconds", "10"), ("Consumers__BackoffMaxMilliseconds", "50")];
/// Payments in a row that another consumer must have handled before it is believed that one stands still.
const UNTOUCHED: usize = 10;

fn probed(kafka: Option<&Kafka>, kind: Kind) -> Server {
    let probe = [("FINTECH_PROBE", "1")];
    let server = match kafka {
        Some(kafka) => kafka.server(kind, &probe),
        None => Server::start_with(kind, &[&probe[..], &FAST].concat()),
    };
    server.alter(TABLE);
    server
}

#[track_caller]
fn run(server: &Server, arguments: &[&str]) -> String {
    let ended = server.run(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[track_caller]
fn refused(server: &Server, arguments: &[&str], reason: &str) {
    let ended = server.run(arguments);
    assert_eq!(ended.code, Some(1), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
}

fn number(server: &Server, sql: &str) -> usize {
    server.query(sql)[0].parse().unwrap()
}

fn logged(server: &Server) -> usize {
    server.log().matches(LOGGED).count()
}

/// Pays until a consumer stands still, `handled` being what it has done, although another one goes on.
fn pay_until_it_stands_still(
    server: &Server,
    merchant: &str,
    handled: impl Fn() -> usize,
    others: impl Fn() -> usize,
) {
    let (mut before, mut untouched) = (handled(), 0);
    eventually("the consumer to stand still", || {
        let others_before = others();
        server.payment(merchant, 100);
        eventually("the other consumer", || (others() > others_before).then_some(()));
        let now = handled();
        untouched = if now == before { untouched + 1 } else { 0 };
        before = now;
        (untouched == UNTOUCHED).then_some(())
    });
}

/// How the consumer stands in `fintech consumers`.
fn shown(server: &Server, consumer: &str) -> Vec<String> {
    let shown = run(server, &["consumers"]);
    let row = shown.lines().find(|line| line.starts_with(consumer)).unwrap();
    row.split_whitespace().map(str::to_owned).collect()
}

/// Paused it handles nothing, over a restart of the program, while the others go on; then all of it, once.
fn a_paused_consumer_waits_and_then_handles_all(kafka: Option<&Kafka>, kind: Kind) {
    let mut server = probed(kafka, kind);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    effects_are_once_each(&server);
    let told = run(&server, &["consumers", "pause", "probe", "--why", "its table is full", "--by", "anna"]);
    assert!(told.contains("probe is paused"), "{told}");
    let told = run(&server, &["consumers", "pause", "probe", "--why", "twice"]);
    assert!(told.contains("paused already"), "{told}");
    pay_until_it_stands_still(&server, &merchant, || number(&server, PROBE), || logged(&server));
    let handled = number(&server, PROBE);
    server.restart();
    server.completed_payment(&merchant, 100);
    let payments = number(&server, "select count(*) from events where stream = 1");
    eventually("the consumer that is not paused", || (logged(&server) == payments).then_some(()));
    assert_eq!(number(&server, PROBE), handled);
    let row = shown(&server, "probe");
    assert_eq!((row.len(), row[4].as_str()), (5, "paused"), "{row:?}");
    assert_ne!(row[1], "0", "its lag");
    assert_eq!(shown(&server, "payment_log"), ["payment_log", "0", "0.000", "0"]);
    if let Some(kafka) = kafka {
        let members = kafka.admin(async |client, _| {
            let group = kafka.group(PROBE_GROUP);
            let list = client.inner().fetch_group_list(Some(&group), crate::support::PATIENCE).unwrap();
            list.groups()[0].members().len()
        });
        assert_eq!(members, 1, "it keeps its place in the group");
        assert!(kafka.lag(PROBE_GROUP, &STREAMS) > 0, "what it has not handled is not committed");
    }
    let told = run(&server, &["consumers", "resume", "probe", "--why", "there is room", "--by", "anna"]);
    assert!(told.contains("probe goes on"), "{told}");
    effects_are_once_each(&server);
    server.completed_payment(&merchant, 100);
    effects_are_once_each(&server);
    if let Some(kafka) = kafka {
        eventually("lag 0", || (kafka.lag(PROBE_GROUP, &STREAMS) == 0).then_some(()));
    }
    assert_eq!(shown(&server, "probe"), ["probe", "0", "0.000", "0"]);
    let audit = server.query(
        "select actor || ': ' || action || ' ' || subject || ': ' || reason from audit_log order by id",
    );
    assert_eq!(
        audit,
        ["anna: consumer.pause probe: its table is full", "anna: consumer.resume probe: there is room"]
    );
    assert_eq!(server.query("select count(*) from dead_letters"), ["0"]);
}

#[test]
fn a_paused_consumer_waits_on_the_log_of_sqlite() {
    a_paused_consumer_waits_and_then_handles_all(None, Kind::Sqlite);
}

#[test]
fn a_paused_consumer_waits_on_the_log_of_postgres() {
    a_paused_consumer_waits_and_then_handles_all(None, Kind::Postgres);
}

#[test]
fn a_paused_consumer_waits_on_kafka() {
    a_paused_consumer_waits_and_then_handles_all(Some(&Kafka::new()), Kind::Postgres);
}

#[test]
fn a_paused_consumer_waits_on_kafka_and_sqlite() {
    a_paused_consumer_waits_and_then_handles_all(Some(&Kafka::new()), Kind::Sqlite);
}

/// Set back, it handles again what lies behind, in its order, and once; only when it is paused, and as far as that is safe
/// for it. The other consumer of its group goes on meanwhile, and repeats nothing.
fn a_consumer_begins_again_where_it_is_told(kafka: Option<&Kafka>, kind: Kind) {
    let server = probed(kafka, kind);
    let merchant = server.merchant();
    for _ in 0..5 {
        server.completed_payment(&merchant, 100);
    }
    server.withdrawal(&merchant, 100);
    effects_are_once_each(&server);
    eventually("the event logger", || (logged(&server) == 10).then_some(()));
    let again = ["consumers", "restart", "payment_log", "--from", "9", "--why", "a line was lost"];
    refused(&server, &again, "payment_log is not paused");
    run(&server, &["consumers", "pause", "payment_log", "--why", "for a while"]);
    pay_until_it_stands_still(&server, &merchant, || logged(&server), || number(&server, PROBE));
    let handled = logged(&server);
    let told = run(&server, &[&again[..], &["--dry-run"]].concat());
    assert!(
        told.contains(&format!("{} events would be handled again, 0 would be skipped", handled - 8)),
        "{told}"
    );
    let told = run(&server, &again);
    assert!(told.contains(&format!("{} events handled again, 0 skipped", handled - 8)), "{told}");
    let withdrawals = || server.log().matches("Processing withdrawal event").count();
    assert_eq!(withdrawals(), 1);
    run(&server, &["consumers", "resume", "payment_log", "--why", "it was found"]);
    let payments = number(&server, "select count(*) from events where stream = 1");
    let expected = handled + payments - 8;
    eventually("the lines of the logger", || (logged(&server) >= expected).then_some(()));
    server.completed_payment(&merchant, 100);
    eventually("the lines of the logger", || (logged(&server) >= expected + 2).then_some(()));
    effects_are_once_each(&server);
    assert_eq!((logged(&server), withdrawals()), (expected + 2, 1), "each as often as it was asked for");
    assert_eq!(server.query("select count(*) from audit_log where action = 'consumer.restart'"), ["1"]);
}

#[test]
fn a_consumer_begins_again_on_the_log_of_sqlite() {
    a_consumer_begins_again_where_it_is_told(None, Kind::Sqlite);
}

#[test]
fn a_consumer_begins_again_on_the_log_of_postgres() {
    a_consumer_begins_again_where_it_is_told(None, Kind::Postgres);
}

#[test]
fn a_consumer_begins_again_on_kafka() {
    a_consumer_begins_again_where_it_is_told(Some(&Kafka::new()), Kind::Postgres);
}

/// A projection is taken back and made anew; what is skipped of one that may be skipped is kept and shown.
fn a_projection_is_made_anew_and_nothing_of_it_skipped(kafka: Option<&Kafka>, kind: Kind) {
    let server = probed(kafka, kind);
    let merchant = server.merchant();
    for _ in 0..3 {
        server.completed_payment(&merchant, 100);
    }
    effects_are_once_each(&server);
    run(&server, &["consumers", "pause", "probe", "--why", "it is to be made anew"]);
    let partial = ["consumers", "restart", "probe", "--from", "3", "--why", "no"];
    refused(&server, &partial, "from the beginning only");
    let anew = ["consumers", "restart", "probe", "--from-beginning", "--why", "a new column"];
    run(&server, &anew);
    run(&server, &["consumers", "resume", "probe", "--why", "done"]);
    effects_are_once_each(&server);

    run(&server, &["consumers", "pause", "payment_log", "--why", "too many lines"]);
    pay_until_it_stands_still(&server, &merchant, || logged(&server), || number(&server, PROBE));
    let payments = number(&server, "select count(*) from events where stream = 1");
    let (behind, next) = (payments - logged(&server), (payments + 1).to_string());
    let ahead = ["consumers", "restart", "payment_log", "--from", next.as_str(), "--why", "of no use"];
    refused(&server, &ahead, &format!("{behind} events would be skipped"));
    let told = run(&server, &[&ahead[..], &["--skip", "--by", "anna"]].concat());
    assert!(told.contains(&format!("0 events handled again, {behind} skipped")), "{told}");
    run(&server, &["consumers", "resume", "payment_log", "--why", "done"]);
    let lines = logged(&server);
    server.completed_payment(&merchant, 100);
    eventually("the next lines", || (logged(&server) >= lines + 2).then_some(()));
    assert_eq!(logged(&server), lines + 2);
    let listed = run(&server, &["dead-letters", "list", "--state", "discarded"]);
    assert_eq!(listed.lines().count() - 1, behind, "{listed}");
    assert!(listed.contains("skipped by anna: of no use"), "{listed}");
    assert_eq!(run(&server, &["dead-letters", "list"]).lines().count(), 1, "none of them waits for anybody");
}

#[test]
fn a_projection_is_made_anew_on_the_log_of_sqlite() {
    a_projection_is_made_anew_and_nothing_of_it_skipped(None, Kind::Sqlite);
}

#[test]
fn a_projection_is_made_anew_on_the_log_of_postgres() {
    a_projection_is_made_anew_and_nothing_of_it_skipped(None, Kind::Postgres);
}

#[test]
fn a_projection_is_made_anew_on_kafka() {
    a_projection_is_made_anew_and_nothing_of_it_skipped(Some(&Kafka::new()), Kind::Postgres);
}

/// A consumer that is stuck with one event gets past it, in one place, and the payment's other events wait for nobody.
#[test]
fn a_consumer_that_is_stuck_is_led_past_its_event() {
    let variables = [("FINTECH_PROBE", "1"), ("FINTECH_FAIL", "consumer=transient:the stuck one")];
    let server = Server::start_with(Kind::Sqlite, &[&variables[..], &FAST].concat());
    server.alter(TABLE);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    let path = format!("/api/merchants/{merchant}/payments");
    let stuck = json!({"amountInMinorUnits": 100, "currency": "USD", "description": "the stuck one"});
    server.post(&path, &stuck).expect(201);
    eventually("what comes before", || (logged(&server) == 2).then_some(()));
    server.completed_payment(&merchant, 100);
    let lane = server.query("select max(lane) from events where stream = 1").remove(0);
    run(&server, &["consumers", "pause", "payment_log", "--why", "stuck"]);
    let place = ["--stream", "payment-events", "--lane", lane.as_str()];
    let past = ["consumers", "restart", "payment_log", "--from", "4", "--skip", "--why", "never mind"];
    run(&server, &[&past[..], &place].concat());
    run(&server, &["consumers", "resume", "payment_log", "--why", "done"]);
    eventually("what comes behind", || (logged(&server) == 4).then_some(()));
    let nowhere = ["--stream", "withdrawal-events", "--lane", "0", "--dry-run"];
    refused(&server, &[&past[..], &nowhere].concat(), "payment_log does not read withdrawal-events lane 0");
    let unknown = ["consumers", "pause", "payment_logs", "--why", "a slip"];
    refused(&server, &unknown, "there is no consumer payment_logs");
}
