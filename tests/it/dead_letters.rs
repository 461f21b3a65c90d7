//! What people do with dead letters and replays, by the command line, beside the running program.

use serde_json::{Value, json};

use crate::{
    kafka_relay::effects_are_once_each,
    support::{
        backend::Kind,
        eventually,
        kafka::{Kafka, STREAMS},
        server::Server,
    },
};

/// A payment with this description cannot be handled by any consumer.
pub const POISON: &str = "the poisoned one";
const TABLE: &str = "create table probe (event_id text, stream bigint, lane bigint, position bigint)";

/// A server with a payment whose events are poison, created and completed, and one that is well.
pub fn with_dead_letters(kafka: Option<&Kafka>, kind: Kind) -> (Server, String) {
    let variables = [("FINTECH_PROBE", "1"), ("FINTECH_FAIL", "consumer=poison:the poisoned one")];
    let fast = [("Consumers__BackoffInitialMilliseconds", "10"), ("Consumers__BackoffMaxMilliseconds", "50")];
    let server = match kafka {
        Some(kafka) => kafka.server(kind, &variables),
        None => Server::start_with(kind, &[variables, fast].concat()),
    };
    server.alter(TABLE);
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    let poisoned = json!({"amountInMinorUnits": 100, "currency": "USD", "description": POISON});
    let id = server.post(&path, &poisoned).expect(201).id();
    server.post_empty(&format!("{path}/{id}/complete")).expect(200);
    server.completed_payment(&merchant, 200);
    // Two of each consumer that reads payments: the probe, the event logger and the daily totals.
    eventually("dead letters", || (open(&server) == 6).then_some(()));
    (server, format!("{path}/{id}"))
}

fn open(server: &Server) -> i64 {
    server.query("select count(*) from dead_letters where state = 1")[0].parse().unwrap()
}

#[track_caller]
fn run(server: &Server, arguments: &[&str]) -> String {
    let ended = server.run(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// A redrive handles a payment's events in their order, may be repeated, and leaves an audit line. Failure modes 66,
/// 68 and 71.
fn a_redrive_keeps_the_order_and_can_be_repeated(kafka: Option<&Kafka>, kind: Kind) {
    let (mut server, payment) = with_dead_letters(kafka, kind);
    let listed = run(&server, &["dead-letters", "list", "--consumer", "probe"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains("poison") && listed.contains("parked") && listed.contains("poisoned this event"));
    // It is still poison: nothing changes but the attempts and the audit log.
    let id = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let again = server.run(&["dead-letters", "redrive", &id, "--why", "perhaps it has passed"]);
    assert_eq!(again.code, Some(1), "{}{}", again.stdout, again.stderr);
    assert!(again.stdout.contains("stays"), "{}", again.stdout);
    assert_eq!(open(&server), 6);
    // A later event of the payment joins the queue.
    server.post_empty(&format!("{payment}/refund")).expect(200);
    eventually("the refund to be parked", || (open(&server) == 9).then_some(()));
    server.set("FINTECH_FAIL", "");
    let done =
        run(&server, &["dead-letters", "redrive", &id, "--why", "the handler was mended", "--by", "ann"]);
    assert!(done.contains("3 handled, 0 failed"), "{done}");
    let done = run(&server, &["dead-letters", "redrive", "--all", "--why", "the rest"]);
    assert!(done.contains("6 handled, 0 failed"), "{done}");
    let nothing = run(&server, &["dead-letters", "redrive", "--all", "--why", "twice"]);
    assert!(nothing.contains("0 handled, 0 failed"), "{nothing}");
    server.restart();
    server.post_empty(&format!("{payment}/complete"));
    effects_are_once_each(&server);
    let positions = server.query(
        "select position from probe where event_id in (select cast(event_id as text) from dead_letters)",
    );
    assert!(kind == Kind::Sqlite || positions.len() == 3, "{positions:?}");
    let audit = server.query("select actor || ': ' || action || ': ' || reason from audit_log order by id");
    assert!(audit.contains(&"ann: dead-letter.redrive: the handler was mended".to_owned()), "{audit:?}");
    assert_eq!(audit.len(), 10, "one failed and nine handled: {audit:?}");
}

#[test]
fn a_redrive_keeps_the_order_and_can_be_repeated_on_the_log() {
    a_redrive_keeps_the_order_and_can_be_repeated(None, Kind::Sqlite);
}

#[test]
fn a_redrive_keeps_the_order_and_can_be_repeated_on_kafka() {
    a_redrive_keeps_the_order_and_can_be_repeated(Some(&Kafka::new()), Kind::Postgres);
}

/// What is discarded is kept, never handled, and told; a command that names nothing changes nothing.
#[test]
fn what_is_discarded_is_kept_and_told() {
    let (server, _) = with_dead_letters(None, Kind::Postgres);
    let refused = server.run(&["dead-letters", "discard", "--why", "no reason"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("say which"), "{}", refused.stderr);
    let refused = server.run(&["dead-letters", "discard", "--all"]);
    assert_ne!(refused.code, Some(0), "without saying why");
    assert_eq!(open(&server), 6);
    let told =
        run(&server, &["dead-letters", "discard", "--consumer", "probe", "--why", "known to be wrong"]);
    assert!(told.contains("2 discarded"), "{told}");
    assert_eq!(open(&server), 4, "of the other consumers");
    let listed = run(&server, &["dead-letters", "list", "--state", "discarded"]);
    let id = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let shown: Value = serde_json::from_str(&run(&server, &["dead-letters", "show", &id])).unwrap();
    assert_eq!(shown["state"], "discarded");
    assert!(shown["payload"].as_str().unwrap().contains("the poisoned one"));
    assert_eq!(server.query("select count(*) from audit_log where action = 'dead-letter.discard'"), ["2"]);
    let missing = server.run(&["dead-letters", "show", "00000000-0000-0000-0000-000000000000"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("there is no dead letter"), "{}", missing.stderr);
}

/// A replay beside live traffic, and a projection that comes out the same. Failure modes 66, 81 and 82.
fn a_projection_is_made_anew_beside_live_traffic(kafka: Option<&Kafka>) {
    let variables = [("FINTECH_PROBE", "1")];
    let server = match kafka {
        Some(kafka) => kafka.server(Kind::Postgres, &variables),
        None => Server::start_with(Kind::Postgres, &variables),
    };
    server.alter(
        "create table probe (number bigserial, event_id text, stream bigint, lane bigint, position bigint)",
    );
    let merchants: Vec<String> = (0..4).map(|_| server.merchant()).collect();
    for merchant in merchants.iter().cycle().take(40) {
        server.completed_payment(merchant, 100);
    }
    effects_are_once_each(&server);
    let told = std::thread::scope(|scope| {
        let live = scope.spawn(|| {
            for merchant in merchants.iter().cycle().take(40) {
                server.completed_payment(merchant, 100);
            }
        });
        let told =
            run(&server, &["replay", "--consumer", "probe", "--from-beginning", "--why", "a new column"]);
        live.join().unwrap();
        told
    });
    assert!(told.contains("events again"), "{told}");
    effects_are_once_each(&server);
    let order = "select count(*) from (select position, lag(position) over (partition by stream, lane order by number) \
         as before from probe) p where position <= before";
    assert_eq!(server.query(order), ["0"], "in order");
    let partial = server.run(&["replay", "--consumer", "probe", "--from", "3"]);
    assert!(partial.stderr.contains("from the beginning only"), "{}", partial.stderr);
    let unknown = server.run(&["replay", "--consumer", "prob", "--from-beginning"]);
    assert!(unknown.stderr.contains("there is no consumer prob"), "{}", unknown.stderr);
    assert_eq!(server.query("select count(*) from replays"), ["0"]);
}

#[test]
fn a_projection_is_made_anew_beside_live_traffic_on_the_log() {
    a_projection_is_made_anew_beside_live_traffic(None);
}

#[test]
fn a_projection_is_made_anew_beside_live_traffic_on_kafka() {
    a_projection_is_made_anew_beside_live_traffic(Some(&Kafka::new()));
}

/// A consumer that may repeat itself is replayed beside the live one, whose positions stay.
#[test]
fn an_event_logger_is_replayed_from_a_position_or_a_time() {
    let server = Server::start(Kind::Sqlite);
    let merchant = server.merchant();
    let first = server.payment(&merchant, 100);
    std::thread::park_timeout(std::time::Duration::from_millis(2));
    server.post_empty(&format!("{first}/complete")).expect(200);
    server.completed_payment(&merchant, 100);
    let positions = "select position from consumer_positions where consumer = 'payment_log' and position > 0";
    eventually("the live consumer", || (server.query(positions) == ["4"]).then_some(()));
    let told = run(&server, &["replay", "--consumer", "payment_log", "--from", "3"]);
    assert!(told.contains("handled 2 events again"), "{told}");
    let completed_at = server.get(&first).json["completedAt"].as_str().unwrap().to_owned();
    let told = run(&server, &["replay", "--consumer", "payment_log", "--from-time", &completed_at]);
    assert!(told.contains("handled 3 events again"), "{told}");
    let told = run(&server, &["replay", "--consumer", "payment_log", "--from-beginning"]);
    assert!(told.contains("handled 4 events again"), "{told}");
    assert_eq!(server.query(positions), ["4"]);
    let wrong = server.run(&["replay", "--consumer", "payment_log", "--from-time", "yesterday"]);
    assert!(wrong.stderr.contains("not a time"), "{}", wrong.stderr);
}

/// After a broker was lost: the topics come back identical to the byte.
#[test]
fn topics_are_rebuilt_byte_for_byte() {
    let kafka = Kafka::new();
    let mut server = kafka.server(Kind::Postgres, &[]);
    let merchant = server.merchant();
    for _ in 0..20 {
        server.completed_payment(&merchant, 100);
    }
    kafka.hold_the_log(&server);
    let running = server.run(&["topics", "rebuild"]);
    assert!(running.stderr.contains("a running relay holds the lease"), "{}", running.stderr);
    let content = |kafka: &Kafka| {
        let records = STREAMS.iter().flat_map(|stream| kafka.records(stream));
        records.map(|r| (r.partition, r.key, r.value, r.headers)).collect::<Vec<_>>()
    };
    let before = content(&kafka);
    server.stop();
    for topic in STREAMS.iter().chain(&["dead-letter-queue"]) {
        kafka.delete_topic(topic);
    }
    let told = run(&server, &["topics", "rebuild"]);
    assert!(told.contains("41 events were published"), "{told}");
    assert_eq!(content(&kafka), before);
    let told = run(&server, &["topics", "rebuild"]);
    assert!(told.contains("0 events were published"), "{told}");
    server.restart();
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
}
