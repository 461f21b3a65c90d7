//! Events in Avro on a real broker: written by the ids of a registry, read beside JSON, and by the clients of others.

use std::process::Command;

use serde_json::{Map, Value, json};

use crate::{
    kafka_consumers::probed,
    kafka_relay::effects_are_once_each,
    support::{
        backend::Kind,
        eventually,
        kafka::{Kafka, LANES, Record, STREAMS, log},
        server::Server,
    },
};

const AVRO: (&str, &str) = ("Schemas__Format", "avro");
const CONTENT_TYPE: &str = "application/vnd.apache.avro";

/// What becomes of a value.
type Damage = fn(&mut Vec<u8>);

/// Something of each stream.
fn some_of_each(server: &Server, count: usize) -> String {
    let merchant = server.merchant();
    for _ in 0..count {
        server.completed_payment(&merchant, 100);
    }
    server.withdrawal(&merchant, 50);
    merchant
}

fn all_records(kafka: &Kafka) -> Vec<Record> {
    STREAMS.iter().flat_map(|stream| kafka.records(stream)).collect()
}

fn is_avro(record: &Record) -> bool {
    record.headers["content-type"] == CONTENT_TYPE
}

#[track_caller]
fn nothing_is_wrong(server: &Server) {
    let reconciled = server.run(&["reconcile"]);
    assert_eq!(reconciled.code, Some(0), "{}{}", reconciled.stdout, reconciled.stderr);
}

/// A deployment changes from JSON to Avro and back, while payments go on: nothing is lost, nothing doubled, and every
/// consumer reads both on one topic. Failure modes 18, 77 and 108.
fn a_running_deployment_changes_its_format(kind: Kind) {
    let kafka = Kafka::new();
    let mut server = probed(&kafka, kind, &[]);
    some_of_each(&server, 3);
    effects_are_once_each(&server);
    assert!(all_records(&kafka).iter().all(|record| !is_avro(record)));
    for format in ["avro", "json", "avro"] {
        server.set("Schemas__Format", format);
        server.kill();
        server.restart();
        some_of_each(&server, 3);
        effects_are_once_each(&server);
    }
    let records = all_records(&kafka);
    let (avro, json): (Vec<_>, Vec<_>) = records.iter().partition(|record| is_avro(record));
    assert!(avro.len() > 10 && json.len() > 10, "{} in Avro, {} in JSON", avro.len(), json.len());
    let log = log(&server);
    for record in &avro {
        assert_eq!(record.bytes[0], 0, "the magic byte");
        let dataschema = format!(
            "urn:fintechplatform:event:{}:v{}",
            record.headers["event-type"], record.headers["event-version"]
        );
        assert_eq!(record.headers["ce_dataschema"], dataschema);
    }
    nothing_is_wrong(&server);
    // On the whole half of the size, and less.
    let in_json = |record: &Record| {
        let event = log.iter().find(|event| event["event"]["eventId"] == record.headers["ce_id"].as_str());
        event.unwrap()["event"].to_string().len()
    };
    let (size, size_in_json) =
        avro.iter().fold((0, 0), |(size, json), record| (size + record.bytes.len(), json + in_json(record)));
    assert!(size * 2 < size_in_json, "{size} bytes in Avro, {size_in_json} in JSON");
}

#[test]
fn a_running_deployment_changes_its_format_on_sqlite() {
    a_running_deployment_changes_its_format(Kind::Sqlite);
}

#[test]
fn a_running_deployment_changes_its_format_on_postgres() {
    a_running_deployment_changes_its_format(Kind::Postgres);
}

/// What cannot be read is set aside with the reason and its bytes; the event, where it is one of the log, has its effect
/// all the same. Failure modes 67, 70 and 79.
#[test]
fn what_cannot_be_read_is_set_aside_and_its_event_is_handled() {
    let kafka = Kafka::new();
    let mut server = probed(&kafka, Kind::Postgres, &[AVRO, ("Server__Roles", "api,relay,registry")]);
    let merchant = server.merchant();
    for _ in 0..8 {
        server.completed_payment(&merchant, 100);
    }
    let published = || kafka.records("payment-events").len();
    eventually("the topic to hold the log", || (published() == 16).then_some(()));
    server.stop();
    let mut records = kafka.records("payment-events");
    let damages: [(&str, Damage); 8] = [
        ("ends within", |bytes| bytes.truncate(bytes.len() - 3)),
        ("bytes behind its last field", |bytes| bytes.extend([1, 2, 3])),
        ("no schema with the id 4294967295", |bytes| bytes[1..5].fill(0xff)),
        ("not with the magic byte", |bytes| bytes[0] = b'{'),
        ("the header alone takes", |bytes| bytes.truncate(3)),
        ("schema", |bytes| bytes[1..5].copy_from_slice(&1_u32.to_be_bytes())),
        ("is not UTF-8", |bytes| bytes[7] = 0xff),
        // A character of the event's id: it can be read, and is not what was sealed.
        ("does not follow", |bytes| bytes[12] = if bytes[12] == b'0' { b'1' } else { b'0' }),
    ];
    let damaged: Vec<Vec<u8>> = damages
        .iter()
        .zip(&mut records)
        .map(|((_, damage), record)| {
            damage(&mut record.bytes);
            record.bytes.clone()
        })
        .collect();
    kafka.refill("payment-events", &records);
    let consumers = server.beside("consumers");
    eventually("dead letters", || {
        let letters = server.query("select count(*) from dead_letters where consumer = 'probe'");
        (letters == [damages.len().to_string()]).then_some(())
    });
    let letters = server.query(
        "select encode(payload, 'hex') || ' ' || reason from dead_letters where consumer = 'probe' \
         order by kafka_offset",
    );
    for (bytes, (reason, _)) in damaged.iter().zip(&damages) {
        let found =
            letters.iter().any(|letter| letter.starts_with(&hex::encode(bytes)) && letter.contains(reason));
        assert!(found, "{reason}: {letters:#?}");
    }
    effects_are_once_each(&server);
    assert!(consumers.log().contains("set aside"), "loudly");
}

/// The registry goes away: what is known goes on, what is not waits for it, and is no poison. Failure mode 78.
#[test]
fn a_registry_that_is_away_is_trouble_that_passes() {
    let kafka = Kafka::new();
    let mut other = Server::start(Kind::Sqlite);
    let url = other.registry_url();
    let port = url.rsplit(':').next().unwrap().to_owned();
    let variables = [AVRO, ("Schemas__RegistryUrl", url.as_str())];
    let mut server = probed(&kafka, Kind::Postgres, &variables);
    assert!(!server.log().contains("Schema registry on"), "its own is not served");
    // Nothing is registered under these topics: events wait, and nothing is registered by itself.
    let merchant = server.merchant();
    eventually("the relay to say what is missing", || {
        server.log().contains("run fintech schemas register").then_some(())
    });
    let registered = server.run(&["schemas", "register"]);
    assert_eq!(registered.code, Some(0), "{}{}", registered.stdout, registered.stderr);
    server.completed_payment(&merchant, 100);
    effects_are_once_each(&server);
    other.kill();
    server.completed_payment(&merchant, 100);
    effects_are_once_each(&server);
    // A relay that begins anew does not ask for what it knows.
    kafka.delete_topic("withdrawal-events");
    eventually("the relay to begin anew", || server.log().contains("publishing has stopped").then_some(()));
    server.completed_payment(&merchant, 100);
    effects_are_once_each(&server);
    // A process that begins while the registry is away knows no id: it waits, and gives nothing up.
    server.restart();
    server.completed_payment(&merchant, 100);
    eventually("the trouble to be told", || {
        server.log().contains("the registry does not answer").then_some(())
    });
    assert_eq!(server.query("select count(*) from dead_letters"), ["0"]);
    other.set("Server__RegistryAddress", &format!("127.0.0.1:{port}"));
    other.restart();
    effects_are_once_each(&server);
    assert!(all_records(&kafka).iter().all(is_avro));
    nothing_is_wrong(&server);
}

/// The lines that a client of others printed.
#[track_caller]
fn run(mut command: Command) -> Vec<Value> {
    let output = command.output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test, or eval \"$(scripts/clients)\" && cargo test")
    })
}

fn python(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(variable("FINTECH_TEST_PYTHON"));
    command.arg(format!("{}/../../tests/clients/{script}", env!("CARGO_MANIFEST_DIR"))).args(arguments);
    command
}

fn java(class: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xshare:auto", "-cp", &variable("FINTECH_TEST_JAVA_CLASSPATH"), class]).args(arguments);
    command
}

/// Confluent's own client, in a whole session, gets every answer and every error that it expects.
#[test]
fn confluents_client_gets_what_it_expects() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let server = Server::start(kind);
        run(python(
            "registry_session.py",
            &["--registry", &server.registry_url(), "--subject", "session-value"],
        ));
    }
}

/// Confluent's deserializer and Apache's own Avro read from our topics, through our registry, what the log holds: by the
/// schemas that events were written with, and a reader of version 1 what version 2 wrote.
#[test]
fn clients_of_others_read_our_topics() {
    let kafka = Kafka::new();
    let server = probed(&kafka, Kind::Postgres, &[AVRO]);
    let merchant = some_of_each(&server, 2);
    let bulk = json!({"payments": [
        {"amountInMinorUnits": 100, "currency": "EUR"},
        {"amountInMinorUnits": 200, "currency": "EUR", "description": "ü € 😀"},
    ]});
    server.post(&format!("/api/merchants/{merchant}/payments/bulk"), &bulk).expect(201);
    effects_are_once_each(&server);
    let log = log(&server);
    let registry = server.registry_url();
    for stream in STREAMS {
        let wanted: Vec<&Value> = log.iter().filter(|event| event["stream"] == stream).collect();
        let (topic, count) = (kafka.topic(stream), wanted.len().to_string());
        let arguments =
            ["--bootstrap", &kafka.servers, "--registry", &registry, "--topic", &topic, "--count", &count];
        for command in [python("read_avro.py", &arguments), java("ReadAvro", &arguments)] {
            let found = run(command);
            assert_eq!(found.len(), wanted.len());
            for partition in 0..LANES {
                let lines = found.iter().filter(|line| line["partition"] == partition);
                let events = wanted.iter().filter(|event| event["lane"] == partition);
                for (line, event) in lines.zip(events) {
                    as_the_log_has_it(line, event);
                }
            }
        }
        let events = run(python(
            "cloud_events.py",
            &["--bootstrap", &kafka.servers, "--topic", &topic, "--count", &count],
        ));
        for event in &events {
            assert_eq!(event["source"], "/fintechplatform");
            assert_eq!(event["datacontenttype"], CONTENT_TYPE);
            assert!(
                event["dataschema"].as_str().unwrap().starts_with("urn:fintechplatform:event:"),
                "{event}"
            );
        }
        assert_eq!(events.len(), wanted.len());
    }
    let reader =
        format!("{}/../../schemas/payment-events/PaymentCreated.v1.avsc", env!("CARGO_MANIFEST_DIR"));
    let topic = kafka.topic("payment-events");
    let count = log.iter().filter(|event| event["stream"] == "payment-events").count().to_string();
    let found = run(python(
        "read_avro.py",
        &[
            "--bootstrap",
            &kafka.servers,
            "--registry",
            &registry,
            "--topic",
            &topic,
            "--count",
            &count,
            "--reader-schema",
            &reader,
        ],
    ));
    let created: Vec<_> =
        found.iter().filter(|line| line["record"] == "com.fintechplatform.PaymentCreated").collect();
    assert!(!created.is_empty());
    for line in created {
        assert!(line["value"].get("bulkId").is_none(), "a reader of version 1 knows no bulk: {line}");
    }
}

/// The SDK of `CloudEvents` takes our JSON records for what they are.
#[test]
fn the_sdk_of_cloud_events_reads_our_json() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Sqlite, &[]);
    some_of_each(&server, 1);
    kafka.hold_the_log(&server);
    let topic = kafka.topic("payment-events");
    let arguments = ["--bootstrap", &kafka.servers, "--topic", &topic, "--count", "2"];
    for event in run(python("cloud_events.py", &arguments)) {
        assert_eq!(event["data"], "parsed", "{event}");
        assert_eq!(event["datacontenttype"], "application/json");
        assert_eq!(event["specversion"], "1.0");
        assert!(event["type"].as_str().unwrap().starts_with("com.fintechplatform.Payment"), "{event}");
    }
}

/// A line of a client and an event of the log are one, in all but how times and what is left out are shown.
#[track_caller]
fn as_the_log_has_it(line: &Value, event: &Value) {
    assert_eq!(line["format"], "avro", "{line}");
    let payload = event["event"].as_object().unwrap();
    let type_name = payload["eventType"].as_str().unwrap();
    assert_eq!(line["record"], format!("com.fintechplatform.{type_name}"));
    let mut found: Map<String, Value> = line["value"].as_object().unwrap().clone();
    found.retain(|_, value| !value.is_null());
    for moment in ["occurredAt", "completedAt", "refundedAt"] {
        let Some(micros) = found.get(moment).and_then(Value::as_i64) else { continue };
        let shown = domain::time::Timestamp::from_micros(micros).to_string();
        found.insert(moment.to_owned(), shown.into());
    }
    assert_eq!(Value::Object(found), event["event"], "{line}");
}
