//! A log that an earlier program has written is read, published and gone on with as it is.

use std::fs;

use serde_json::json;

use crate::support::{
    backend::Kind,
    eventually,
    kafka::{Kafka, Record},
    server::Server,
};

/// A database of the program of 2026-11-25 before `PaymentCreated` had its second version: 4 lanes, 3 merchants, 48 events.
const OF_VERSION_1: &[u8] = include_bytes!("data/events-v1.db.zst");
const EVENTS_OF_VERSION_1: i64 = 48;

/// A server on Kafka whose database was written by an earlier program.
fn of_an_earlier_program(kafka: &Kafka) -> Server {
    let mut server = kafka.server(Kind::Sqlite, &[]);
    server.stop();
    let data = server.folder().join("data");
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    let database = zstd::stream::decode_all(OF_VERSION_1).unwrap();
    fs::write(data.join("fintech.db"), database).unwrap();
    server.restart();
    server
}

/// Failure modes 18, 77 and 108: the log is not rewritten, the chain holds over both versions, and each record says which
/// version it is.
#[test]
fn a_log_with_events_of_an_old_version_goes_on_with_the_new_one() {
    let kafka = Kafka::new();
    let server = of_an_earlier_program(&kafka);
    let before = server.query("select payload from events order by lane, sequence");
    assert_eq!(i64::try_from(before.len()), Ok(EVENTS_OF_VERSION_1));
    let merchant = server.get("/api/merchants").expect(200).json[0]["id"].as_str().unwrap().to_owned();
    let payments = server.get(&format!("/api/merchants/{merchant}/payments")).expect(200);
    assert_eq!(payments.json.as_array().unwrap().len(), 6, "they are read as they were written");

    let bulk = format!("/api/merchants/{merchant}/payments/bulk");
    let two = json!({ "payments": [
        { "amountInMinorUnits": 100, "currency": "EUR" }, { "amountInMinorUnits": 200, "currency": "EUR" }
    ] });
    server.post(&bulk, &two).expect(201);
    server.completed_payment(&merchant, 5000);

    let records = eventually("all records", || {
        let records: Vec<Record> =
            crate::support::kafka::STREAMS.iter().flat_map(|stream| kafka.records(stream)).collect();
        (i64::try_from(records.len()) == Ok(EVENTS_OF_VERSION_1 + 4)).then_some(records)
    });
    let created = |version: &str| -> Vec<&Record> {
        let is = |record: &&Record| {
            record.headers["event-type"] == "PaymentCreated" && record.headers["event-version"] == version
        };
        records.iter().filter(is).collect()
    };
    assert_eq!((created("1").len(), created("2").len()), (18, 3));
    assert!(created("1").iter().all(|record| before.contains(&record.value)), "to the byte");
    assert!(created("1").iter().all(|record| !record.value.contains("bulkId")));
    let bulks: Vec<serde_json::Value> = created("2")
        .iter()
        .map(|record| {
            let value: serde_json::Value = serde_json::from_str(&record.value).unwrap();
            assert!(value["bulkId"].is_null() || value["bulkId"] == *record.headers["command-id"]);
            value["bulkId"].clone()
        })
        .collect();
    assert_eq!(bulks.iter().filter(|bulk| !bulk.is_null()).count(), 2, "a payment alone has none");

    server.verify_log();
    let reconciled = server.run(&["reconcile"]);
    assert_eq!(reconciled.code, Some(0), "{}{}", reconciled.stdout, reconciled.stderr);
    let after = server.query("select payload from events order by lane, sequence");
    assert!(before.iter().all(|payload| after.contains(payload)), "nothing in the log was rewritten");
}
