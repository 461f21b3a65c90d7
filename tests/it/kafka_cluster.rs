//! A cluster that is broken on purpose: outages, lost leaders, too few replicas; and one that asks who comes.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::json;

use crate::{
    kafka_relay::{effects_are_once_each, pay},
    support::{
        backend::Kind,
        eventually,
        kafka::{Kafka, LANES},
        server::Server,
    },
};

const PROBE: [(&str, &str); 1] = [("FINTECH_PROBE", "1")];
const TABLE: &str = "create table probe (event_id text, stream bigint, lane bigint, position bigint)";

const REQUEST: Duration = Duration::from_secs(20);
const OUTAGE: Duration = Duration::from_mins(1);

/// The only broker goes away for a minute while payments go on: none is refused, none is lost, and what has gathered
/// is published in order when it is back. Failure modes 7, 13, 17, 33 and 41.
#[test]
fn payments_go_on_while_the_broker_is_away() {
    // Transactions as before KIP-890: their partitions are named to the coordinator first.
    let kafka = Kafka::cluster_with(1, "transaction.version=0");
    let server = kafka.server(Kind::Postgres, &PROBE);
    server.alter(TABLE);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    kafka.node("stop", 1);
    let path = format!("/api/merchants/{merchant}/payments");
    let stopped_at = Instant::now();
    let mut paid = 0;
    while stopped_at.elapsed() < OUTAGE {
        server.post(&path, &json!({"amountInMinorUnits": 100, "currency": "USD"})).expect(201);
        paid += 1;
    }
    server.get("/health/ready").expect(200);
    let open = "select count(*) from pg_stat_activity where datname = current_database() \
         and state = 'idle in transaction' and now() - xact_start > interval '1 second'";
    assert_eq!(server.query(open), ["0"], "no transaction stays open while Kafka is away");
    eventually("the relay to give its producer up", || {
        server.log().contains("publishing has stopped").then_some(())
    });
    server.completed_payment(&merchant, 100);
    let status = |server: &Server| {
        let shown = server.run(&["relay"]).stdout;
        let row: Vec<String> = shown.lines().nth(1).unwrap().split_whitespace().map(str::to_owned).collect();
        (row[0].clone(), row[2].clone(), row[3].parse::<f64>().unwrap())
    };
    let (lease, unpublished, oldest) = status(&server);
    assert_eq!((lease.as_str(), unpublished.as_str()), ("held", (paid + 2).to_string().as_str()));
    assert!(oldest > 1.0, "the age of the oldest event that is not published: {oldest}");
    kafka.node("start", 1);
    kafka.hold_the_log(&server);
    effects_are_once_each(&server);
    server.verify_log();
    assert_eq!(server.query("select count(*) from dead_letters"), ["0"]);
    eventually("the relay to note it", || (status(&server).1 == "0").then_some(()));
}

/// The leader of everything is killed under load, then another; then two of three are away, which is fewer than
/// `min.insync.replicas`, and come back. Failure modes 34, 40, 41 and 60.
#[test]
fn a_replicated_cluster_may_lose_its_leaders_under_load() {
    let kafka = Kafka::cluster(3);
    let server = kafka.server(Kind::Postgres, &PROBE);
    server.alter(TABLE);
    let merchants: Vec<String> = (0..6).map(|_| server.merchant()).collect();
    kafka.hold_the_log(&server);
    let done = AtomicBool::new(false);
    let paid = thread::scope(|scope| {
        let payer = scope.spawn(|| pay(&server, &merchants, &done));
        for node in 1..=3 {
            let before = published(&server);
            kafka.node("stop", node);
            eventually("publishing to go on without a node", || {
                (published(&server) > before + 50).then_some(())
            });
            kafka.node("start", node);
        }
        kafka.node("stop", 2);
        kafka.node("stop", 3);
        // One replica is not enough: nothing is acknowledged, and nothing is refused to those who pay.
        let held = payments(&server);
        eventually("payments to go on", || (payments(&server) > held + 100).then_some(()));
        kafka.node("start", 2);
        kafka.node("start", 3);
        let before = published(&server);
        eventually("publishing to go on", || (published(&server) > before + 50).then_some(()));
        done.store(true, Ordering::Release);
        payer.join().unwrap()
    });
    assert!(paid > 0);
    kafka.hold_the_log(&server);
    effects_are_once_each(&server);
    server.verify_log();
    let config = topic_settings(&kafka);
    assert_eq!(config, ("2".to_owned(), "false".to_owned()), "as they were made by the program");
}

fn published(server: &Server) -> i64 {
    server.query("select cast(coalesce(sum(position), 0) as bigint) from relay_cursors")[0].parse().unwrap()
}

fn payments(server: &Server) -> i64 {
    server.query("select count(*) from payments")[0].parse().unwrap()
}

/// `min.insync.replicas` and `unclean.leader.election.enable`.
fn topic_settings(kafka: &Kafka) -> (String, String) {
    use rdkafka::admin::ResourceSpecifier;
    let topic = kafka.topic("payment-events");
    kafka.admin(async |client, options| {
        let specifier = ResourceSpecifier::Topic(&topic);
        let config = client.describe_configs([&specifier], options).await.unwrap().remove(0).unwrap();
        let value = |key: &str| config.get(key).unwrap().value.clone().unwrap();
        (value("min.insync.replicas"), value("unclean.leader.election.enable"))
    })
}

/// TLS and each SASL mechanism against a broker that asks for them; a wrong password is told, and payments go on.
#[test]
fn a_broker_may_ask_for_tls_and_a_password() {
    let secure = std::env::var("FINTECH_TEST_KAFKA_SECURE").unwrap();
    let authority = std::env::var("FINTECH_TEST_KAFKA_CA").unwrap();
    for mechanism in ["Plain", "ScramSha256", "ScramSha512"] {
        let kafka = Kafka::new();
        let server = kafka.server(
            Kind::Sqlite,
            &[
                ("Kafka__BootstrapServers", secure.as_str()),
                ("Kafka__SecurityProtocol", "SaslSsl"),
                ("Kafka__SaslMechanism", mechanism),
                ("Kafka__SaslUsername", "fintech"),
                ("Kafka__SaslPassword", "fintech-secret"),
                ("Kafka__SslCaLocation", authority.as_str()),
            ],
        );
        let merchant = server.merchant();
        server.completed_payment(&merchant, 100);
        kafka.hold_the_log(&server);
        eventually("the consumers", || {
            (server.log().matches("Processing payment event").count() == 2).then_some(())
        });
        let shown = server.run(&["config", "show"]).stdout;
        assert!(!shown.contains("fintech-secret") && !server.log().contains("fintech-secret"));
    }
    let kafka = Kafka::new();
    let server = kafka.server(
        Kind::Sqlite,
        &[
            ("Kafka__BootstrapServers", secure.as_str()),
            ("Kafka__SecurityProtocol", "SaslSsl"),
            ("Kafka__SaslUsername", "fintech"),
            ("Kafka__SaslPassword", "wrong"),
            ("Kafka__SslCaLocation", authority.as_str()),
        ],
    );
    server.merchant();
    assert!(server.log().contains("starting without Kafka"));
}

/// The partition of the payments' topic and the node that leads it, by number; `None`: nobody does.
fn leaders(kafka: &Kafka) -> Vec<(i32, Option<u32>)> {
    let consumer: BaseConsumer = kafka.client().create().unwrap();
    let metadata = consumer.fetch_metadata(Some(&kafka.topic("payment-events")), REQUEST).unwrap();
    let partitions = metadata.topics()[0].partitions().iter();
    partitions.map(|partition| (partition.id(), u32::try_from(partition.leader()).ok())).collect()
}

/// A producer with the relay's transactional id, as the relay makes it; every older one is fenced.
fn relays_producer(kafka: &Kafka) -> BaseProducer {
    let producer: BaseProducer = kafka
        .client()
        .set("transactional.id", format!("{}fintechplatform-relay", kafka.prefix))
        .create()
        .unwrap();
    producer.init_transactions(REQUEST).unwrap();
    producer
}

/// The coordinator passes over partitions that have no leader when a transaction is ended, and knows nothing of it
/// afterwards. The relay ends what older relays have left open; without that nothing would ever be published again.
/// Failure mode 43.
#[test]
fn a_transaction_that_the_coordinator_has_forgotten_is_ended() {
    let kafka = Kafka::cluster(3);
    // Without replicas, so that a node takes its partitions with it.
    kafka.make_topic("payment-events", LANES, &[]);
    let mut server = kafka.server(Kind::Postgres, &[]);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    server.kill();

    let open = relays_producer(&kafka);
    open.begin_transaction().unwrap();
    let topic = kafka.topic("payment-events");
    for (partition, _) in leaders(&kafka) {
        let record = BaseRecord::to(&topic).partition(partition).key("k").payload("v");
        open.send(record).map_err(|(error, _)| error).unwrap();
    }
    open.flush(REQUEST).unwrap();
    let (lost, Some(node)) = leaders(&kafka)[0] else { panic!("no leader") };
    kafka.node("stop", node);
    let leader = |partition: i32| leaders(&kafka).iter().find(|(id, _)| *id == partition).unwrap().1;
    eventually("a partition without a leader", || leader(lost).is_none().then_some(()));
    // What is open is ended, as far as the coordinator knows.
    drop(relays_producer(&kafka));
    kafka.node("start", node);
    eventually("a leader", || leader(lost));

    server.restart();
    server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    assert!(server.log().contains("that the coordinator had forgotten was ended"), "it was not forgotten");
    server.verify_log();
    assert_eq!(server.run(&["reconcile"]).code, Some(0));
}
