//! Consumers on a real broker: each event's effect once, in order; what is not ours is set aside; lag is the truth.

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

const PROBE: (&str, &str) = ("FINTECH_PROBE", "1");
const PROBE_GROUP: &str = "fintechplatform-probe";
const LOGGERS: [&str; 2] = ["payment-events", "withdrawal-events"];

/// A server whose probe has its table.
pub fn probed(kafka: &Kafka, kind: Kind, further: &[(&str, &str)]) -> Server {
    let variables: Vec<_> = further.iter().copied().chain([PROBE]).collect();
    let server = kafka.server(kind, &variables);
    server.alter("create table probe (event_id text, stream bigint, lane bigint, position bigint)");
    server
}

fn some_payments(server: &Server, count: usize) -> String {
    let merchant = server.merchant();
    for _ in 0..count {
        server.completed_payment(&merchant, 100);
    }
    merchant
}

fn effects(server: &Server) -> i64 {
    server.query("select count(*) from probe")[0].parse().unwrap()
}

/// The effect happens once for each consumer, and Kafka's own arithmetic says that nothing is left: failure modes 46, 47,
/// 61 and 65.
fn everything_is_handled_and_the_lag_is_zero(kind: Kind) {
    let kafka = Kafka::new();
    let server = probed(&kafka, kind, &[]);
    let merchant = some_payments(&server, 5);
    server.withdrawal(&merchant, 100);
    effects_are_once_each(&server);
    eventually("lag 0", || (kafka.lag(PROBE_GROUP, &STREAMS) == 0).then_some(()));
    eventually("lag 0", || (kafka.lag("fintechplatform-api", &LOGGERS) == 0).then_some(()));
    let log = server.log();
    assert_eq!(log.matches("Processing payment event").count(), 10, "each once");
    assert_eq!(log.matches("Processing withdrawal event").count(), 1);
    let shown = server.run(&["consumers"]).stdout;
    let probe = shown.lines().find(|line| line.starts_with("probe")).unwrap();
    assert_eq!(probe.split_whitespace().collect::<Vec<_>>(), ["probe", "0", "0.000", "0"], "{shown}");
}

#[test]
fn everything_is_handled_and_the_lag_is_zero_on_sqlite() {
    everything_is_handled_and_the_lag_is_zero(Kind::Sqlite);
}

#[test]
fn everything_is_handled_and_the_lag_is_zero_on_postgres() {
    everything_is_handled_and_the_lag_is_zero(Kind::Postgres);
}

/// Failure modes 54 and 56: the group's offsets are deleted; the positions in the database decide.
#[test]
fn a_group_whose_offsets_are_deleted_loses_and_doubles_nothing() {
    let kafka = Kafka::new();
    let mut server = probed(&kafka, Kind::Postgres, &[]);
    some_payments(&server, 5);
    effects_are_once_each(&server);
    server.stop();
    let groups = [kafka.group(PROBE_GROUP), kafka.group("fintechplatform-api")];
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    eventually("the groups' end", || {
        let ended =
            kafka.admin(async |client, options| client.delete_groups(&groups, options).await.unwrap());
        ended.iter().all(|group| group.is_ok()).then_some(())
    });
    server.restart();
    some_payments(&server, 3);
    effects_are_once_each(&server);
    eventually("lag 0", || (kafka.lag(PROBE_GROUP, &STREAMS) == 0).then_some(()));
    assert_eq!(
        server.log().matches("Processing payment event").count(),
        16,
        "each once, by the loggers, too"
    );
}

/// Failure modes 54 and 55: what the topic has forgotten before it was read is read from the log.
#[test]
fn events_that_expired_before_they_were_read_come_from_the_log() {
    let kafka = Kafka::new();
    let mut server = probed(&kafka, Kind::Postgres, &[("Server__Roles", "api,relay")]);
    some_payments(&server, 5);
    kafka.hold_the_log(&server);
    for stream in STREAMS {
        kafka.expire(stream);
    }
    server.set("Server__Roles", "api,relay,consumers");
    server.restart();
    some_payments(&server, 1);
    let merchants = server.query("select count(*) from events where event_type = 'MerchantCreated'");
    assert_eq!(merchants, ["2"]);
    // The lane of the first merchant may get nothing new: what follows touches it.
    for merchant in server.query("select cast(id as text) from merchants") {
        server.completed_payment(&merchant, 100);
    }
    eventually("the payments' effects", || {
        let rows = server.query("select count(distinct event_id) from probe where stream = 1");
        (rows == server.query("select count(*) from events where stream = 1")).then_some(())
    });
    assert!(server.log().contains("they are read from the log"), "loudly");
}

/// Failure modes 52 and 55: the same when nothing follows, so that the consumer has no record from which to see that it
/// lacks something. Found by the simulator.
#[test]
fn events_that_expired_are_handled_though_nothing_follows() {
    let kafka = Kafka::new();
    let mut server = probed(&kafka, Kind::Postgres, &[("Server__Roles", "api,relay")]);
    some_payments(&server, 3);
    kafka.hold_the_log(&server);
    for stream in STREAMS {
        kafka.expire(stream);
    }
    server.set("Server__Roles", "api,relay,consumers");
    server.restart();
    effects_are_once_each(&server);
    assert!(server.log().contains("the consumer stands still"), "loudly");
}

/// Failure mode 55: the topic vanishes and comes back while consumers run; what they read again is passed over.
#[test]
fn consumers_survive_a_topic_that_is_made_anew() {
    let kafka = Kafka::new();
    let mut server = probed(&kafka, Kind::Postgres, &[("Server__Roles", "api,relay")]);
    let consumers = server.beside("consumers");
    let merchant = some_payments(&server, 5);
    effects_are_once_each(&server);
    server.stop();
    kafka.delete_topic("payment-events");
    eventually("the group to do without the topic", || {
        consumers.log().contains("partitions were given away").then_some(())
    });
    server.restart();
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    effects_are_once_each(&server);
}

/// A message that is not of our log never has an effect: it is told, set aside with the reason, and what comes
/// after it is handled. Failure modes 45, 67 and 70.
#[test]
fn a_message_that_is_not_of_the_log_is_set_aside() {
    let kafka = Kafka::new();
    let server = probed(&kafka, Kind::Postgres, &[]);
    let merchant = some_payments(&server, 1);
    effects_are_once_each(&server);
    let genuine = kafka.records("payment-events");
    let lane = genuine[0].partition;
    let by_hand = br#"{"eventType":"PaymentCompleted","amountInMinorUnits":99999999}"#;
    kafka.produce("payment-events", lane, &merchant, Some(by_hand), &[("event-type", "PaymentCompleted")]);
    kafka.produce("payment-events", lane, &merchant, Some(b"\xff\xfe not JSON"), &[]);
    kafka.produce("payment-events", lane, &merchant, None, &[]);
    // All headers of a genuine event, at the next position, with another amount.
    let mut forged: Vec<(String, String)> = genuine[1].headers.clone().into_iter().collect();
    for (name, value) in &mut forged {
        if name == "position" {
            *value = "3".to_owned();
        }
    }
    let forged: Vec<(&str, &str)> =
        forged.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    kafka.produce("payment-events", lane, &merchant, Some(genuine[1].value.as_bytes()), &forged);
    let letters = eventually("dead letters", || {
        let letters =
            server.query("select reason from dead_letters where consumer = 'probe' order by kafka_offset");
        (letters.len() == 4).then_some(letters)
    });
    for letter in &letters[..3] {
        assert!(letter.contains("not of this log"), "{letter}");
    }
    assert!(letters[3].contains("does not follow"), "{}", letters[3]);
    server.completed_payment(&merchant, 100);
    effects_are_once_each(&server);
    let bytes = server.query(
        "select encode(payload, 'hex') from dead_letters where consumer = 'probe' and payload is not null \
         order by kafka_offset",
    );
    assert_eq!(bytes[0], hex::encode(by_hand), "verbatim");
    assert_eq!(bytes[1], hex::encode(b"\xff\xfe not JSON"), "verbatim, though it is no text");
    eventually("the dead-letter topic", || {
        let dead = kafka.records("dead-letter-queue");
        let probes: Vec<_> = dead.iter().filter(|record| record.headers["consumer"] == "probe").collect();
        (probes.len() == 4).then_some(())
    });
    eventually("lag 0", || (kafka.lag(PROBE_GROUP, &STREAMS) == 0).then_some(()));
}

/// A client that no longer delivers what it reads, though it is alive to its group, is replaced; nothing is lost with
/// it. Failure mode 52.
#[test]
fn a_client_that_has_gone_deaf_is_replaced() {
    let kafka = Kafka::new();
    let server = probed(&kafka, Kind::Sqlite, &[("FINTECH_FAIL", "client=deaf")]);
    let merchant = server.merchant();
    for _ in 0..5 {
        server.completed_payment(&merchant, 100);
    }
    eventually("the watchdog", || server.log().contains("stands still").then_some(()));
    effects_are_once_each(&server);
    eventually("lag 0", || (kafka.lag(PROBE_GROUP, &STREAMS) == 0).then_some(()));
}

/// A poison event in the middle of a payment: it and the later ones of the payment are set aside, in the table and on
/// the topic with the headers of the contract; others go on, and the pauses between attempts stop nobody from polling.
/// Failure modes 68, 69, 70, 72 and 74.
#[test]
fn a_poison_event_is_set_aside_with_the_rest_of_its_payment() {
    let kafka = Kafka::new();
    let server = probed(&kafka, Kind::Postgres, &[("FINTECH_FAIL", "consumer=poison:the poisoned one")]);
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    let poisoned = json!({"amountInMinorUnits": 100, "currency": "USD", "description": "the poisoned one"});
    let id = server.post(&path, &poisoned).expect(201).id();
    server.post_empty(&format!("{path}/{id}/complete")).expect(200);
    let other = server.completed_payment(&merchant, 200);
    assert!(!other.is_empty());
    eventually("dead letters of the probe", || {
        let letters =
            server.query("select kind from dead_letters where consumer = 'probe' order by position");
        (letters == ["1", "2"]).then_some(())
    });
    eventually("the other payment's effects", || (effects(&server) == 3).then_some(()));
    let dead = eventually("the dead-letter topic", || {
        let dead = kafka.records("dead-letter-queue");
        // Of the probe, of the event logger and of the daily totals, two each.
        (dead.len() >= 6).then_some(dead)
    });
    let genuine = kafka.records("payment-events");
    let dead: Vec<_> = dead.iter().filter(|record| record.headers["consumer"] == "probe").collect();
    assert_eq!(dead.len(), 2);
    for (dead, genuine) in dead.iter().zip(&genuine) {
        assert_eq!(dead.value, genuine.value, "verbatim");
        assert_eq!(dead.key, genuine.key);
        assert_eq!(dead.partition, genuine.partition);
        assert_eq!(dead.headers["original-topic"], "payment-events");
        assert_eq!(dead.headers["original-event-type"], genuine.headers["event-type"]);
        assert_eq!(dead.headers["consumer-group"], kafka.group(PROBE_GROUP));
        assert!(dead.headers["dlq-timestamp"].ends_with('Z'));
        assert!(dead.headers.len() < 12, "headers do not grow");
    }
    assert_eq!(dead[0].headers["retry-count"], "5");
    assert!(dead[0].headers["failure-reason"].contains("poisoned"));
    eventually("lag 0", || (kafka.lag(PROBE_GROUP, &STREAMS) == 0).then_some(()));
}

/// Failure mode 73: what is away for a while is waited for and never dead-lettered; the partition waits, too.
#[test]
fn a_database_that_is_away_pauses_consumers_and_makes_no_dead_letters() {
    let kafka = Kafka::new();
    let server = probed(&kafka, Kind::Postgres, &[("Server__Roles", "api,relay")]);
    let consumers = server.beside("consumers");
    let merchant = some_payments(&server, 3);
    effects_are_once_each(&server);
    for round in 1..=3 {
        // The events are in the topics when the consumers wake up, and the database is not there.
        consumers.signal("STOP");
        server.completed_payment(&merchant, 100);
        kafka.hold_the_log(&server);
        server.let_database_connect(false);
        consumers.signal("CONT");
        eventually("trouble", || {
            let trouble = consumers.log().matches("waits for the database").count();
            (trouble >= round).then_some(())
        });
        server.let_database_connect(true);
        effects_are_once_each(&server);
    }
    kafka.hold_the_log(&server);
    assert_eq!(server.query("select count(*) from dead_letters"), ["0"]);
}

/// Three of each role; work moves between them by SIGKILL. Failure modes 9, 49, 51, 59 and 64.
#[test]
fn three_of_each_role_share_the_work_and_survive_each_other() {
    let kafka = Kafka::new();
    let server = probed(&kafka, Kind::Postgres, &[("Server__Roles", "api")]);
    let _apis = [server.beside("api"), server.beside("api")];
    let mut relays: Vec<_> = (0..3).map(|_| server.beside("relay")).collect();
    let mut consumers: Vec<_> = (0..3).map(|_| server.beside("consumers")).collect();
    let merchants: Vec<String> = (0..6).map(|_| server.merchant()).collect();
    let pay = |times: usize| {
        for merchant in merchants.iter().cycle().take(times) {
            server.completed_payment(merchant, 100);
        }
    };
    pay(12);
    effects_are_once_each(&server);
    eventually("all three to have partitions", || {
        let shared = consumers.iter().filter(|c| c.log().contains("partitions were taken over")).count();
        (shared == 3).then_some(())
    });
    for round in 0..2 {
        // The one that publishes now.
        let leading = eventually("a relay that publishes", || {
            relays.iter().position(|relay| relay.log().contains("publishes the log now"))
        });
        relays[leading].signal("KILL");
        drop(relays.remove(leading));
        consumers[0].signal("KILL");
        drop(consumers.remove(0));
        pay(12);
        relays.push(server.beside("relay"));
        consumers.push(server.beside("consumers"));
        // One leaves in order, which moves its partitions at once.
        if round == 1 {
            consumers[0].stop();
        }
        pay(12);
    }
    kafka.hold_the_log(&server);
    effects_are_once_each(&server);
    server.verify_log();
}

/// More members than partitions: some have nothing to do, and the group settles. The trap of cooperative-sticky.
#[test]
fn a_group_with_more_members_than_partitions_settles() {
    let kafka = Kafka::new();
    let server = probed(&kafka, Kind::Postgres, &[("Ledger__Lanes", "1")]);
    let _others: Vec<_> = (0..4).map(|_| server.beside("consumers")).collect();
    some_payments(&server, 10);
    effects_are_once_each(&server);
}

/// A stop leaves the groups at once: another member has the partitions without waiting for a time-out, which is
/// longer than this test has patience. Failure mode 59.
#[test]
fn a_consumer_that_stops_leaves_its_group_at_once() {
    let kafka = Kafka::new();
    let server = probed(
        &kafka,
        Kind::Postgres,
        &[("Server__Roles", "api,relay"), ("Kafka__SessionTimeoutMilliseconds", "300000")],
    );
    let mut first = server.beside("consumers");
    some_payments(&server, 3);
    effects_are_once_each(&server);
    let _second = server.beside("consumers");
    first.stop();
    some_payments(&server, 3);
    effects_are_once_each(&server);
}

/// The event by itself decides who pays attention: all values that the seed's clients rely on.
#[test]
fn what_a_consumer_logs_is_what_the_record_says() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Sqlite, &[]);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 4200);
    let line = eventually("the logger's line", || {
        let log = server.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["message"] == "Processing payment event")
    });
    assert_eq!(line["merchant_id"], merchant.as_str());
    assert_eq!(line["amount_minor"], 4200);
}
