//! `fintech reconcile` names what somebody else did to the topics, on a real broker.

use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::Offset;

use crate::{
    kafka_relay::pay,
    reconcile::live,
    support::{
        backend::Kind,
        eventually,
        kafka::{Kafka, LANES, Record},
        program::Ended,
        server::Server,
    },
};

/// What may happen to the records of a topic, and what must be said of it. The first three are of one partition.
fn of_the_topic(records: &[Record]) -> Vec<(&'static str, Vec<Record>)> {
    let with = |change: &dyn Fn(&mut Vec<Record>)| {
        let mut records = records.to_vec();
        change(&mut records);
        records
    };
    let header = |name: &'static str, value: &'static str| {
        with(&move |records| {
            let record = &mut records[1];
            if record.headers.insert(name.to_owned(), value.to_owned()).is_none() {
                record.order.push(name.to_owned());
            }
        })
    };
    let first = records[0].partition;
    let last = records.iter().rposition(|record| record.partition == first).unwrap();
    let mut corruptions = vec![
        ("missing", with(&|records| drop(records.remove(0)))),
        ("missing", with(&|records| drop(records.remove(1)))),
        ("missing", with(&|records| drop(records.remove(last)))),
        ("missing", with(&|records| records.retain(|record| record.partition != first))),
        ("missing", Vec::new()),
        ("duplicate", with(&|records| records.insert(2, records[0].clone()))),
        ("duplicate", with(&|records| records.extend(records.clone()))),
        ("out of order", with(&|records| records.swap(0, 1))),
        (
            "altered",
            with(&|records| records[1].bytes = records[1].value.replace("5000", "9000").into_bytes()),
        ),
        ("altered", with(&|records| records[1].bytes.clear())),
        ("altered", with(&|records| records[1].key = records[1].key.replace('-', ""))),
        ("altered", with(&|records| "somebody".clone_into(&mut records[1].key))),
        ("altered", with(&|records| drop(records[1].order.pop()))),
        ("altered", with(&|records| records[1].order.swap(0, 1))),
        ("foreign", with(&|records| records[1].partition = (first + 1) % LANES)),
        ("foreign", with(&|records| records[1].order.clear())),
        (
            "foreign",
            with(&|records| {
                for name in ["ce_id", "chain-hash"] {
                    let of_nobody = records[1].headers[name].replace(char::is_numeric, "a");
                    records[1].headers.insert(name.to_owned(), of_nobody);
                }
            }),
        ),
    ];
    for (name, value) in [
        ("sequence", "77"),
        ("position", "4000"),
        ("position", "-1"),
        ("position", "first"),
        ("chain-hash", "cafe"),
        ("ce_id", "11111111-2222-4333-8444-555555555555"),
        ("event-type", "PaymentCancelled"),
        ("claim-check", "log"),
    ] {
        corruptions.push(("altered", header(name, value)));
    }
    corruptions
}

fn reconcile(server: &Server) -> (Option<i32>, String) {
    let Ended { code, stdout, stderr } = server.run(&["reconcile"]);
    (code, stdout + &stderr)
}

/// Waits until the relay has noted that all of the log is published.
fn published(server: &Server) {
    eventually("the relay's notes", || {
        let noted = server.query("select sum(position) from relay_cursors");
        (noted == server.query("select count(*) from events")).then_some(())
    });
}

/// Failure mode 110.
fn topics_are_compared_with_the_log(kind: Kind) {
    let kafka = Kafka::new();
    let mut server = kafka.server(kind, &[]);
    for _ in 0..3 {
        live(&server);
    }
    kafka.hold_the_log(&server);
    published(&server);
    let (code, said) = reconcile(&server);
    assert_eq!(code, Some(0), "{said}");
    let events = &server.query("select count(*) from events")[0];
    assert!(said.contains(&format!("{events} records on Kafka")), "{said}");

    let records = kafka.records("payment-events");
    server.kill();
    kafka.refill("payment-events", &records);
    let (code, said) = reconcile(&server);
    assert_eq!(code, Some(0), "{said}");
    let topic = kafka.topic("payment-events");
    for (number, (kind, records)) in of_the_topic(&records).into_iter().enumerate() {
        kafka.refill("payment-events", &records);
        let (code, said) = reconcile(&server);
        assert_eq!(code, Some(1), "{number}: {kind}\n{said}");
        let wanted = format!("{kind}: topic {topic} ");
        assert!(said.lines().any(|line| line.starts_with(&wanted)), "{number}: {kind}\n{said}");
    }
    kafka.delete_topic("payment-events");
    let (code, said) = reconcile(&server);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("missing: topic {topic} ")), "{said}");
}

/// What has expired is not missing where records may expire, and is where they are kept for ever.
#[test]
fn expired_records_are_not_missing() {
    let kafka = Kafka::new();
    let mut server = kafka.server(Kind::Sqlite, &[]);
    for _ in 0..3 {
        live(&server);
    }
    kafka.hold_the_log(&server);
    published(&server);
    let records = kafka.records("payment-events");
    server.kill();
    let first = records[0].partition;
    for (retention_ms, code) in [("-1", Some(1)), ("604800000", Some(0))] {
        for offset in [Offset::Offset(2), Offset::End] {
            kafka.refill_with("payment-events", &records, retention_ms);
            kafka.expire_before("payment-events", &[(first, offset)]);
            let (ended, said) = reconcile(&server);
            assert_eq!(ended, code, "{retention_ms} {offset:?}\n{said}");
        }
    }
    // One that is empty, and from which nothing ever expired, holds nothing that was published.
    kafka.refill_with("payment-events", &[], "604800000");
    assert_eq!(reconcile(&server).0, Some(1));
}

/// Neither what is being paid nor what waits to be published is wrong. Failure mode 109.
#[test]
fn a_relay_that_is_behind_is_no_break() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Postgres, &[("Server__Roles", "api,consumers")]);
    let merchants: Vec<String> = (0..4).map(|_| live(&server)).collect();
    let (code, said) = reconcile(&server);
    assert_eq!(code, Some(0), "{said}");
    let relay = server.beside("relay");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let payer = scope.spawn(|| pay(&server, &merchants, &done));
        for run in 0..10 {
            // Stopped in the middle of whatever it does, and behind for the whole run.
            relay.signal(if run % 2 == 0 { "STOP" } else { "CONT" });
            let (code, said) = reconcile(&server);
            assert_eq!(code, Some(0), "{said}");
        }
        done.store(true, Ordering::Release);
        assert!(payer.join().unwrap() > 0);
    });
    kafka.hold_the_log(&server);
}

#[test]
fn topics_are_compared_with_the_log_of_sqlite() {
    topics_are_compared_with_the_log(Kind::Sqlite);
}

#[test]
fn topics_are_compared_with_the_log_of_postgres() {
    topics_are_compared_with_the_log(Kind::Postgres);
}
