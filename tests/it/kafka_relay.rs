//! The relay, on a real broker: the topics hold exactly the log, once, in order, whatever is killed when.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::json;

use crate::support::{
    backend::Kind,
    client::{Client, Content},
    eventually,
    kafka::{Kafka, LANES, STREAMS},
    program,
    server::Server,
};

/// Pays until it is told to stop; gives how many payments were acknowledged. A server that is gone for a moment is
/// asked again.
pub fn pay(client: &Client, merchants: &[String], until: &AtomicBool) -> usize {
    let mut paid = 0;
    for merchant in merchants.iter().cycle() {
        if until.load(Ordering::Acquire) {
            break;
        }
        let path = format!("/api/merchants/{merchant}/payments");
        let body = json!({"amountInMinorUnits": 100 + paid, "currency": "USD"});
        match client.try_send("POST", &path, &[], &Content::Json(&body)) {
            Ok(answer) if answer.status == 201 => paid += 1,
            _ => thread::yield_now(),
        }
    }
    paid
}

fn some_life(server: &Server) -> String {
    let merchant = server.merchant();
    let payment = server.completed_payment(&merchant, 5000);
    server.post_empty(&format!("{payment}/refund")).expect(200);
    server.completed_payment(&merchant, 7000);
    server.withdrawal(&merchant, 1000);
    merchant
}

/// Failure mode 18: the bytes of the payload are those that were written with the event.
fn the_topics_hold_the_log(kind: Kind) {
    let kafka = Kafka::new();
    let server = kafka.server(kind, &[]);
    let merchant = some_life(&server);
    some_life(&server);
    kafka.hold_the_log(&server);
    let records = kafka.records("payment-events");
    let created = records.iter().find(|record| record.key == merchant).unwrap();
    for header in [
        "event-type",
        "occurred-at",
        "ce_specversion",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_time",
        "ce_subject",
        "content-type",
        "traceparent",
        "position",
        "sequence",
        "chain-hash",
        "event-version",
        "command-id",
    ] {
        assert!(created.headers.contains_key(header), "{header}: {created:?}");
    }
    assert_eq!(created.headers["event-type"], "PaymentCreated");
    let value: serde_json::Value = serde_json::from_str(&created.value).unwrap();
    assert_eq!(value["eventId"], created.headers["ce_id"].as_str());
    assert_eq!(value["occurredAt"], created.headers["occurred-at"].as_str());
}

/// Whatever it is compressed with, librdkafka reads it.
#[test]
fn every_compression_is_understood() {
    for compression in ["none", "gzip", "lz4", "zstd"] {
        let kafka = Kafka::new();
        let server = kafka.server(Kind::Sqlite, &[("Kafka__CompressionType", compression)]);
        some_life(&server);
        kafka.hold_the_log(&server);
    }
}

#[test]
fn the_topics_hold_the_log_of_sqlite() {
    the_topics_hold_the_log(Kind::Sqlite);
}

#[test]
fn the_topics_hold_the_log_of_postgres() {
    the_topics_hold_the_log(Kind::Postgres);
}

/// The relay ends as by SIGKILL at each step around publishing and around noting; the next start goes on.
/// Failure modes 1, 3, 33, 35 and 107.
#[test]
fn a_relay_that_dies_at_any_step_loses_and_doubles_nothing() {
    let kafka = Kafka::new();
    let mut server = kafka.server(Kind::Postgres, &[("Relay__LeaseMilliseconds", "100")]);
    let merchant = server.merchant();
    for point in ["read", "begun", "sent", "acknowledged", "committed", "settled", "noted"] {
        for nth in [1, 2] {
            server.kill();
            server.set("FINTECH_FAIL", &format!("relay.{point}=abort@{nth}"));
            server.restart();
            let path = format!("/api/merchants/{merchant}/payments");
            // Until the program is gone.
            eventually("the fail point", || {
                let body = json!({"amountInMinorUnits": 100, "currency": "USD"});
                server.try_send("POST", &path, &[], &Content::Json(&body)).is_err().then_some(())
            });
            server.wait();
        }
    }
    server.set("FINTECH_FAIL", "");
    server.restart();
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    server.verify_log();
}

/// SIGKILL at random moments under load, with whatever is in the producer's queue then. Invariants 3 to 5. Failure modes
/// 1, 3, 9, 10, 35, 36 and 37.
#[test]
fn a_relay_that_is_killed_again_and_again_under_load_loses_and_doubles_nothing() {
    const KILLS: u32 = 190;
    let kafka = Kafka::new();
    let server = kafka.server(
        Kind::Postgres,
        &[("Server__Roles", "api"), ("Relay__LeaseMilliseconds", "100"), ("FINTECH_PROBE", "1")],
    );
    server.alter("create table probe (event_id text, stream bigint, lane bigint, position bigint)");
    let merchants: Vec<String> = (0..8).map(|_| server.merchant()).collect();
    let done = AtomicBool::new(false);
    let paid = thread::scope(|scope| {
        let payers: Vec<_> = (0..2).map(|_| scope.spawn(|| pay(&server, &merchants, &done))).collect();
        for kill in 0..KILLS {
            let other = server.beside("relay,consumers");
            // Killed at a different moment each time: while it joins, recovers, or is in full flight.
            let published = kafka_positions(&server);
            let wanted = published + i64::from(kill % 7) * 20;
            let patience =
                std::time::Instant::now() + std::time::Duration::from_millis(u64::from(kill % 11) * 60);
            while kafka_positions(&server) < wanted && std::time::Instant::now() < patience {
                thread::yield_now();
            }
            other.signal("KILL");
        }
        done.store(true, Ordering::Release);
        payers.into_iter().map(|payer| payer.join().unwrap()).sum::<usize>()
    });
    assert!(paid > 0);
    let _last = server.beside("relay,consumers");
    kafka.hold_the_log(&server);
    server.verify_log();
    effects_are_once_each(&server);
}

fn kafka_positions(server: &Server) -> i64 {
    server.query("select cast(coalesce(sum(position), 0) as bigint) from relay_cursors")[0].parse().unwrap()
}

/// The probe has a row for each event of the log, once.
#[track_caller]
pub fn effects_are_once_each(server: &Server) {
    let events = "select count(*) from events";
    let wanted = server.query(events);
    eventually("all effects", || {
        let rows = server.query("select count(distinct event_id) from probe");
        (rows == server.query(events)).then_some(())
    });
    assert_eq!(server.query("select count(*) from probe"), wanted);
}

/// A relay that was stopped for longer than its lease wakes up after another took over: fenced by the lease and by
/// Kafka, it publishes nothing of its own. Failure modes 10, 36 and 106.
#[test]
fn a_relay_that_wakes_after_another_took_over_is_fenced() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Postgres, &[("Relay__LeaseMilliseconds", "500")]);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    let mut api = server.beside("api");
    let address = eventually("the address of the other API", || {
        let log = api.log();
        log.lines().find_map(|line| line.strip_prefix("Listening on ")).map(str::to_owned)
    });
    let client = Client::new(&address);
    for _ in 0..3 {
        server.signal("STOP");
        let other = server.beside("relay");
        eventually("another relay", || other.log().contains("publishes the log now").then_some(()));
        for _ in 0..5 {
            client.completed_payment(&merchant, 100);
        }
        server.signal("CONT");
        for _ in 0..5 {
            client.completed_payment(&merchant, 100);
        }
        kafka.hold_the_log(&server);
    }
    api.stop();
    kafka.hold_the_log(&server);
}

/// As they are configured; the broker's time counts for retention, so that an event that is published late is not
/// deleted at once; and the dead-letter topic has as many partitions as the others. Failure modes 42 and 75.
#[test]
fn topics_are_made_as_they_are_configured() {
    use rdkafka::admin::ResourceSpecifier;
    let kafka = Kafka::new();
    let server =
        kafka.server(Kind::Sqlite, &[("Kafka__RetentionHours", "1"), ("Kafka__ReplicationFactor", "1")]);
    for name in STREAMS.iter().chain(&["dead-letter-queue"]) {
        let topic = kafka.topic(name);
        let (retention, time) = kafka.admin(async |client, options| {
            let specifier = ResourceSpecifier::Topic(&topic);
            let config = client.describe_configs([&specifier], options).await.unwrap().remove(0).unwrap();
            let value = |key: &str| config.get(key).unwrap().value.clone().unwrap();
            (value("retention.ms"), value("message.timestamp.type"))
        });
        assert_eq!((retention.as_str(), time.as_str()), ("3600000", "LogAppendTime"), "{name}");
    }
    // A start with another number of lanes would find other partitions: here they are the lanes.
    let again = server.run(&["migrate"]);
    assert!(again.stdout.contains("The topics are as they should be."), "{}{}", again.stdout, again.stderr);
}

/// Processes learn of each other's commits by notifications, and do without them: failure mode 15.
#[test]
fn a_relay_in_another_process_learns_of_commits_with_and_without_hints() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Postgres, &[("Server__Roles", "api")]);
    let relay = server.beside("relay");
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    // Every listening connection is cut off; what is committed before they are back is found by looking.
    server.alter(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and application_name = 'fintech hints'",
    );
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    assert!(relay.log().contains("publishes the log now"));
}

/// Failure mode 39: events would lie in other partitions than their keys say.
#[test]
fn a_topic_with_other_partitions_stops_the_start() {
    let kafka = Kafka::new();
    kafka.make_topic("payment-events", LANES + 1, &[]);
    let folder = crate::support::backend::Folder::new();
    let variables = [
        ("Kafka__BootstrapServers", kafka.servers.as_str()),
        ("Kafka__Prefix", kafka.prefix.as_str()),
        ("Ledger__Lanes", "4"),
    ];
    let told = program::refusal(folder.path(), &["serve", "--listen", "127.0.0.1:0"], &variables);
    assert!(told.contains("has 5 partitions and the log has 4 lanes"), "{told}");
    assert!(told.contains("topics rebuild"), "what to do: {told}");
}

/// Failure mode 55: filled again from the log's beginning, and loudly.
#[test]
fn a_topic_that_was_made_anew_is_filled_again() {
    let kafka = Kafka::new();
    let mut server = kafka.server(Kind::Postgres, &[]);
    some_life(&server);
    kafka.hold_the_log(&server);
    let before = kafka.records("payment-events");
    server.stop();
    kafka.delete_topic("payment-events");
    server.restart();
    kafka.hold_the_log(&server);
    let after = kafka.records("payment-events");
    let bytes = |records: &[crate::support::kafka::Record]| {
        records.iter().map(|r| (r.key.clone(), r.value.clone(), r.headers.clone())).collect::<Vec<_>>()
    };
    assert_eq!(bytes(&before), bytes(&after), "identical to the byte");
    assert!(server.log().contains("the topic was made anew"), "loudly");
    some_life(&server);
    kafka.hold_the_log(&server);
}

/// The topic vanishes and comes back empty while the relay runs.
#[test]
fn a_topic_that_is_made_anew_under_a_running_relay_is_filled_again() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Postgres, &[]);
    let merchant = some_life(&server);
    kafka.hold_the_log(&server);
    kafka.delete_topic("payment-events");
    kafka.make_topic("payment-events", LANES, &[]);
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
}

/// Failure mode 55: the same when nobody publishes anything that would run into it. Found by the simulator.
#[test]
fn a_topic_that_is_made_anew_in_a_quiet_moment_is_filled_again() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Sqlite, &[]);
    some_life(&server);
    kafka.hold_the_log(&server);
    kafka.delete_topic("payment-events");
    kafka.make_topic("payment-events", LANES, &[]);
    kafka.hold_the_log(&server);
    assert!(server.log().contains("the topic was made anew"), "loudly");
}

/// Records that have expired stay expired: the relay goes on where it was.
#[test]
fn a_topic_whose_records_have_expired_goes_on_where_it_was() {
    let kafka = Kafka::new();
    let mut server = kafka.server(Kind::Postgres, &[]);
    let merchant = some_life(&server);
    kafka.hold_the_log(&server);
    let held = kafka.records("payment-events").len();
    server.stop();
    kafka.expire("payment-events");
    server.restart();
    server.completed_payment(&merchant, 100);
    let records = eventually("the new records", || {
        let records = kafka.records("payment-events");
        (records.len() >= 2).then_some(records)
    });
    assert_eq!(records.len(), 2, "of {held} before: {records:?}");
}

/// Failure mode 16: the log was set back to before what the world has seen. Failure mode 8.
#[test]
fn a_log_that_has_lost_published_events_is_not_published() {
    let kafka = Kafka::new();
    let first = kafka.server(Kind::Postgres, &[]);
    some_life(&first);
    kafka.hold_the_log(&first);
    drop(first);
    let held: Vec<_> = STREAMS.iter().map(|stream| kafka.records(stream)).collect();
    // Another database, on the topics of the first.
    let second = kafka.server(Kind::Postgres, &[]);
    some_life(&second);
    eventually("the refusal", || {
        let log = second.log();
        (log.contains("Nothing is published")).then_some(())
    });
    let after: Vec<_> = STREAMS.iter().map(|stream| kafka.records(stream)).collect();
    assert_eq!(held, after);
}

/// Failure mode 12: an event that is larger than its topic takes does not stand in the way of the others.
#[test]
fn an_event_that_is_too_large_is_published_as_a_claim_check() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Postgres, &[("Kafka__MessageBytesMax", "1000"), ("FINTECH_PROBE", "1")]);
    server.alter("create table probe (event_id text, stream bigint, lane bigint, position bigint)");
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    let large = json!({"amountInMinorUnits": 100, "currency": "USD", "description": "x".repeat(1000)});
    server.post(&path, &large).expect(201);
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    let records = kafka.records("payment-events");
    let claims: Vec<_> = records.iter().filter(|record| record.headers.contains_key("claim-check")).collect();
    assert_eq!(claims.len(), 1, "{records:?}");
    assert!(claims[0].value.len() < 500);
    assert!(server.log().contains("too large for its topic"), "loudly");
    effects_are_once_each(&server);
}

/// Failure mode 43: somebody's open transaction hides what was committed behind it; a relay that starts then waits
/// until it can see the ends.
#[test]
fn an_open_transaction_of_somebody_else_makes_no_doubles() {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    let kafka = Kafka::new();
    let mut server = kafka.server(Kind::Postgres, &[]);
    let merchant = some_life(&server);
    kafka.hold_the_log(&server);
    let second = std::time::Duration::from_secs(1);
    let stranger: BaseProducer = kafka
        .client()
        .set("transactional.id", format!("{}stranger", kafka.prefix))
        .set("transaction.timeout.ms", "6000")
        .create()
        .unwrap();
    stranger.init_transactions(second * 20).unwrap();
    stranger.begin_transaction().unwrap();
    let topic = kafka.topic("payment-events");
    for partition in 0..LANES {
        stranger
            .send(BaseRecord::to(&topic).partition(partition).key("k").payload("v"))
            .map_err(|e| e.0)
            .unwrap();
    }
    stranger.flush(second * 20).unwrap();
    for _ in 0..3 {
        server.completed_payment(&merchant, 100);
    }
    // Published, and hidden behind the stranger's transaction until the broker ends it.
    server.kill();
    server.restart();
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
}
