//! A merchant's live events: each once, in order, whatever breaks off in between.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    kafka_relay::pay,
    support::{
        backend::Kind,
        client::{Client, Content},
        events::{Event, Events},
        eventually,
        fixtures::at_once,
        kafka::{self, Kafka},
        on_both_backends,
        server::Server,
    },
};

on_both_backends!(
    a_merchant_gets_its_events_as_the_topics_have_them_and_nobody_elses,
    reconnects_lose_and_double_nothing_while_payments_are_made,
    a_killed_server_goes_on_where_the_client_was,
    a_listener_that_takes_nothing_for_long_still_gets_everything,
    a_stream_outlasts_the_time_that_a_request_may_take,
    streams_end_when_the_program_stops,
    what_is_no_place_of_the_stream_is_refused,
);

const STREAMS_MAX: usize = 4;
/// Beside the streams, for everything else.
const CONNECTIONS_MAX: usize = 2 * STREAMS_MAX;

fn path(merchant: &str) -> String {
    format!("/api/merchants/{merchant}/events/stream")
}

#[track_caller]
fn open(server: &Server, merchant: &str) -> Events {
    open_at(server, &path(merchant), &[])
}

#[track_caller]
fn open_at(server: &Server, path: &str, headers: &[(&str, &str)]) -> Events {
    let events = Events::open(server.address(), path, headers);
    assert_eq!(events.status, 200, "{}", events.refusal);
    events
}

/// As a browser comes back.
#[track_caller]
fn reopen(server: &Server, merchant: &str, last_id: &str) -> Events {
    open_at(server, &path(merchant), &[("Last-Event-ID", last_id)])
}

/// What the log has of a merchant, in order of the lane.
fn log(server: &Server, merchant: &str) -> Vec<Event> {
    let mut own: Vec<Value> = kafka::log(server);
    own.retain(|event| event["event"]["merchantId"] == merchant);
    own.sort_by_key(|event| event["sequence"].as_i64().unwrap());
    let event = |event: &Value| Event {
        id: event["sequence"].to_string(),
        name: event["event"]["eventType"].as_str().unwrap().to_owned(),
        data: event["event"].clone(),
    };
    own.iter().map(event).collect()
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

fn a_merchant_gets_its_events_as_the_topics_have_them_and_nobody_elses(server: &mut Server) {
    let (merchant, other) = (server.merchant(), server.merchant());
    server.completed_payment(&merchant, 100);
    let mut events = open(server, &merchant);
    assert_eq!(events.headers["content-type"], "text/event-stream");
    assert_eq!(events.headers["cache-control"], "no-store");
    assert!(!events.headers.contains_key("content-encoding"), "{:?}", events.headers);

    let begin = events.opening();
    let payment = server.completed_payment(&merchant, 5000);
    at_once(4, |_| server.completed_payment(&other, 700));
    server.post(&format!("{payment}/refund"), &json!({"reason": "It rains"})).expect(200);
    let withdrawal = server.withdrawal(&merchant, 10);
    server.post_empty(&format!("{withdrawal}/cancel")).expect(200);
    server.patch(&format!("/api/merchants/{merchant}"), &json!({"name": "New"})).expect(200);

    let found = events.take(6);
    let wanted = [
        "PaymentCreated",
        "PaymentCompleted",
        "PaymentRefunded",
        "WithdrawalRequested",
        "WithdrawalCancelled",
        "MerchantUpdated",
    ];
    assert_eq!(names(&found), wanted);
    let log = log(server, &merchant);
    // What happened before the stream was opened is not on it.
    assert_eq!(log[3..], found);

    // From the first event; the same by the id that came before any event.
    assert_eq!(open_at(server, &format!("{}?after=0", path(&merchant)), &[]).take(log.len()), log);
    assert_eq!(reopen(server, &merchant, &begin).take(6), found);
    // Of both, the header counts: it is the later one, when a browser comes back.
    let both = open_at(server, &format!("{}?after=0", path(&merchant)), &[("Last-Event-ID", &begin)]);
    assert_eq!({ both }.take(6), found);
}

/// Clients that leave after a few events and come back with the last id, while others pay.
fn reconnects_lose_and_double_nothing_while_payments_are_made(server: &mut Server) {
    const EVENTS: usize = 150;
    let merchants: Vec<String> = (0..3).map(|_| server.merchant()).collect();
    let is_over = AtomicBool::new(false);
    let server = &*server;
    let found = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| pay(server, &merchants, &is_over));
        }
        let listeners: Vec<_> = merchants
            .iter()
            .enumerate()
            .map(|(number, merchant)| {
                scope.spawn(move || {
                    let mut found = Vec::new();
                    let mut last_id = "0".to_owned();
                    for stay in (1 + number..).step_by(3) {
                        let mut events = reopen(server, merchant, &last_id);
                        found.extend(events.take(stay));
                        last_id = events.last_id.clone().unwrap();
                        if found.len() >= EVENTS {
                            break;
                        }
                    }
                    found
                })
            })
            .collect();
        let found: Vec<_> = listeners.into_iter().map(|listener| listener.join()).collect();
        is_over.store(true, Ordering::Release);
        found.into_iter().map(Result::unwrap).collect::<Vec<Vec<Event>>>()
    });
    for (merchant, found) in merchants.iter().zip(found) {
        assert_eq!(found, log(server, merchant)[..found.len()]);
    }
}

/// Killed in the middle of payments: what the client got is in the log, and what it did not get comes next.
fn a_killed_server_goes_on_where_the_client_was(server: &mut Server) {
    let merchants = vec![server.merchant(), server.merchant()];
    let mut found = Vec::new();
    let mut last_id = "0".to_owned();
    for _ in 0..3 {
        let (client, is_over) = (Client::clone(server), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| pay(&client, &merchants, &is_over));
            let mut events = reopen(server, &merchants[0], &last_id);
            found.extend((0..20).map_while(|_| events.next()));
            server.kill();
            is_over.store(true, Ordering::Release);
            found.extend(std::iter::from_fn(|| events.next()));
            last_id = events.last_id.clone().unwrap();
        });
        server.restart();
    }
    server.completed_payment(&merchants[0], 700);
    let log = log(server, &merchants[0]);
    assert!(found.len() >= 60, "{}", found.len());
    let left = log.len() - found.len();
    found.extend(reopen(server, &merchants[0], &last_id).take(left));
    assert_eq!(found, log);
    server.verify_log();
}

/// More than the buffers between the program and the client hold. The program keeps none of it for the client, and
/// reads it from the log again.
fn a_listener_that_takes_nothing_for_long_still_gets_everything(server: &mut Server) {
    const BULKS: usize = 10;
    const PAYMENTS: usize = 1000;
    let merchant = server.merchant();
    let mut slow = Events::open_unread(server.address(), &path(&merchant), &[]);
    let payment =
        json!({"amountInMinorUnits": 1, "currency": "USD", "description": "long ".repeat(100).trim_end()});
    let body = json!({"payments": vec![payment; PAYMENTS]});
    for _ in 0..BULKS {
        server.post(&format!("/api/merchants/{merchant}/payments/bulk"), &body).expect(201);
    }
    slow.begin();
    let found = slow.take(BULKS * PAYMENTS);
    let log = log(server, &merchant);
    let ids = |events: &[Event]| events.iter().map(|event| event.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&found), ids(&log[1..]));
    assert_eq!(ids(&found).iter().collect::<BTreeSet<_>>().len(), BULKS * PAYMENTS);
}

/// Nor is it cut off by anything that ends what is quiet.
fn a_stream_outlasts_the_time_that_a_request_may_take(server: &mut Server) {
    server.set("Server__RequestTimeoutSeconds", "1");
    server.restart();
    let (merchant, other) = (server.merchant(), server.merchant());
    let mut events = open(server, &merchant);
    let begin: i64 = events.opening().parse().unwrap();
    for _ in 0..40 {
        server.payment(&other, 100);
    }
    assert_eq!(events.comment(), "heartbeat");
    server.payment(&merchant, 5000);
    assert_eq!(names(&events.take(1)), ["PaymentCreated"]);
    let id: i64 = events.last_id.clone().unwrap().parse().unwrap();
    assert!(id > begin);
}

fn streams_end_when_the_program_stops(server: &mut Server) {
    const AT_ONCE: Duration = Duration::from_secs(4);
    let merchant = server.merchant();
    let mut live = open(server, &merchant);
    live.opening();
    let mut from_log = open_at(server, &format!("{}?after=0", path(&merchant)), &[]);
    assert_eq!(names(&from_log.take(1)), ["MerchantCreated"]);
    let (status, took) = server.stop();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(live.next(), None);
    assert_eq!(from_log.next(), None);
    assert!(!server.log().contains("still running when the time to drain was over"));
}

fn what_is_no_place_of_the_stream_is_refused(server: &mut Server) {
    let merchant = server.merchant();
    let refused = |path: &str, headers: &[(&str, &str)]| {
        let events = Events::open(server.address(), path, headers);
        let code = events.refusal["code"].as_str().unwrap_or_default().to_owned();
        (events.status, code)
    };
    let wrong = (400, "validation_failed".to_owned());
    for id in ["x", "-1", "1.5", "99999999999999999999", "1000000"] {
        assert_eq!(refused(&path(&merchant), &[("Last-Event-ID", id)]), wrong, "{id}");
        assert_eq!(refused(&format!("{}?after={id}", path(&merchant)), &[]), wrong, "{id}");
    }
    assert_eq!(refused(&format!("{}?behind=1", path(&merchant)), &[]), wrong);
    let nobody = path(&uuid::Uuid::new_v4().to_string());
    assert_eq!(refused(&nobody, &[]), (404, "merchant_not_found".to_owned()));
    let no_id = [("Last-Event-ID", "")];
    open_at(server, &path(&merchant), &no_id).opening();
}

/// At the limit and beyond it, and below it again.
#[test]
fn no_more_streams_than_half_of_the_connections_are_open() {
    let connections = CONNECTIONS_MAX.to_string();
    let server = Server::start_with(Kind::Sqlite, &[("Server__ConnectionsMax", &connections)]);
    let merchant = server.merchant();
    let mut open_streams: Vec<Events> = (0..STREAMS_MAX).map(|_| open(&server, &merchant)).collect();
    let refused = Events::open(server.address(), &path(&merchant), &[]);
    assert_eq!((refused.status, refused.refusal["code"].as_str()), (503, Some("too_many_streams")));
    assert!(refused.headers.contains_key("retry-after"));
    drop(refused);
    // All others work on.
    server.payment(&merchant, 100);
    for events in &mut open_streams {
        assert_eq!(names(&events.take(1)), ["PaymentCreated"]);
    }
    open_streams.pop();
    eventually("the place of a stream that was closed", || {
        (Events::open(server.address(), &path(&merchant), &[]).status == 200).then_some(())
    });
}

/// Within seconds, in the middle of what happens; nobody else's stream ends with it.
#[test]
fn a_stream_ends_when_its_key_is_revoked() {
    let server = Server::start_with(Kind::Sqlite, &[("Security__Access", "required")]);
    let key = |merchant: &[&str]| {
        let create = ["keys", "create", "--name", "test", "--why", "a test", "--role", "write"];
        let made = server.run(&[&create, merchant].concat());
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let mut words = made.stderr.split_whitespace().map(|word| word.trim_matches('.'));
        let id = words.find_map(|word| uuid::Uuid::parse_str(word).ok()).unwrap();
        (id.to_string(), format!("Bearer {}", made.stdout.trim()))
    };
    let (_, platform) = key(&[]);
    let platform = [("Authorization", platform.as_str())];
    let post = |path: &str, body: &Value| {
        server.send("POST", path, &platform, &Content::Json(body)).expect(201).id()
    };
    let merchant = post("/api/merchants", &json!({"name": "Test", "email": "test@example.com"}));
    let (id, own) = key(&["--merchant", &merchant]);
    let mut events = open_at(&server, &path(&merchant), &[("Authorization", &own)]);
    let mut others = open_at(&server, &path(&merchant), &platform);
    let mut pay = || {
        let payment = json!({"amountInMinorUnits": 5000, "currency": "USD"});
        post(&format!("/api/merchants/{merchant}/payments"), &payment);
        assert_eq!(names(&others.take(1)), ["PaymentCreated"]);
    };
    pay();
    assert_eq!(names(&events.take(1)), ["PaymentCreated"]);
    assert_eq!(server.run(&["keys", "revoke", &id, "--why", "a test"]).code, Some(0));
    eventually("the end of a stream whose key was revoked", || {
        pay();
        events.is_over().then_some(())
    });
}

/// Another process writes; this one is told of it, or looks by itself.
#[test]
fn a_stream_has_what_another_process_did() {
    let server = Server::start(Kind::Postgres);
    let beside = server.beside("api");
    let address = eventually("the address of another process", || {
        beside.log().lines().find_map(|line| line.strip_prefix("Listening on http://").map(str::to_owned))
    });
    let merchant = server.merchant();
    let mut events = Events::open(&address, &path(&merchant), &[]);
    events.opening();
    server.completed_payment(&merchant, 5000);
    assert_eq!(names(&events.take(2)), ["PaymentCreated", "PaymentCompleted"]);
}

#[test]
fn a_stream_follows_with_kafka_what_the_log_has() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let kafka = Kafka::new();
        let server = kafka.server(kind, &[]);
        let merchant = server.merchant();
        let mut events = open_at(&server, &format!("{}?after=0", path(&merchant)), &[]);
        server.completed_payment(&merchant, 5000);
        let found = events.take(3);
        assert_eq!(found, log(&server, &merchant));
        kafka.hold_the_log(&server);
        let records = [kafka.records("merchant-events"), kafka.records("payment-events")].concat();
        let values: Vec<Value> =
            records.iter().map(|record| serde_json::from_str(&record.value).unwrap()).collect();
        assert_eq!(found.into_iter().map(|event| event.data).collect::<Vec<_>>(), values);
    }
}

/// A request that takes no body takes none here either, and nothing but GET is taken.
#[test]
fn a_stream_is_only_read() {
    let server = Server::start(Kind::Sqlite);
    let merchant = server.merchant();
    let answer = server.send("POST", &path(&merchant), &[], &Content::Nothing);
    assert_eq!(answer.expect(405).problem(), "method_not_allowed");
}
