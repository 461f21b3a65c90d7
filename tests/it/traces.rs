//! Traces, from a request to what its events did, as a collector gets them, and log lines that name them.

use serde_json::{Value, json};

use crate::{
    dead_letters::POISON,
    support::{
        backend::Kind,
        client::{Answer, Content},
        collector::{Collector, Kept},
        eventually,
        kafka::Kafka,
        server::Server,
    },
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
/// OTLP's numbers.
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

fn traced(kafka: Option<&Kafka>, kind: Kind, collector: &Collector, further: &[(&str, &str)]) -> Server {
    let variables =
        [&[("Telemetry__OtlpEndpoint", collector.url()), ("Logging__Format", "json")], further].concat();
    match kafka {
        Some(kafka) => kafka.server(kind, &variables),
        None => Server::start_with(kind, &variables),
    }
}

fn send(server: &Server, path: &str, body: &Value, traceparent: Option<&str>) -> Answer {
    let headers: Vec<_> = traceparent.map(|value| ("traceparent", value)).into_iter().collect();
    server.send("POST", path, &headers, &Content::Json(body))
}

/// The lines of the log with this text, each a JSON object.
fn lines(server: &Server, text: &str) -> Vec<Value> {
    let log = server.log();
    log.lines().filter(|line| line.contains(text)).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_trace(collector: &Collector, trace: &str, name: &str) -> Kept {
    collector.wait_for(name, |span| span.trace_id == trace && span.name.starts_with(name))
}

/// From the caller's span to the consumer's log line it is one trace, with Kafka between and without.
fn one_trace_from_the_request_to_the_consumer(kafka: Option<&Kafka>, kind: Kind) {
    let collector = Collector::start();
    let server = traced(kafka, kind, &collector, &[]);
    let path = format!("/api/merchants/{}/payments", server.merchant());
    let payment = json!({"amountInMinorUnits": 100, "currency": "USD"});
    let sent = format!("00-{TRACE}-{CALLER}-01");
    let id = send(&server, &path, &payment, Some(&sent)).expect(201).id();

    let request = of_trace(&collector, TRACE, "POST /api/merchants/{merchantId}/payments");
    assert_eq!(
        (request.kind, request.parent_id.as_str(), request.service.as_str()),
        (SERVER, CALLER, "fintech")
    );
    assert_eq!(request.attributes["http.response.status_code"], "201");
    assert_eq!(request.attributes["http.route"], "/api/merchants/{merchantId}/payments");
    let command = of_trace(&collector, TRACE, "create_payment");
    assert_eq!(command.parent_id, request.id);
    assert!(command.nanos <= request.nanos);
    let part = of_trace(&collector, TRACE, "batch");
    assert_eq!(part.parent_id, command.id);
    // The batch is a trace of its own, which all of its commands are joined to.
    let batch = collector.wait_for("its batch", |span| span.links.contains(&TRACE.to_owned()));
    assert_eq!((batch.name.as_str(), batch.kind), ("commit batch", CLIENT));
    assert_eq!(part.links, [batch.trace_id.as_str()]);
    let system = if kind == Kind::Sqlite { "sqlite" } else { "postgresql" };
    assert_eq!(batch.attributes["db.system.name"], system);

    let handled = of_trace(&collector, TRACE, "process payment-events");
    assert_eq!((handled.kind, handled.parent_id.as_str()), (CONSUMER, command.id.as_str()));
    let system = if kafka.is_some() { "kafka" } else { "fintech" };
    assert_eq!(handled.attributes["messaging.system"], system);
    if let Some(kafka) = kafka {
        let published = of_trace(&collector, TRACE, "send ");
        assert_eq!((published.kind, published.parent_id.as_str()), (PRODUCER, command.id.as_str()));
        assert!(published.attributes["messaging.destination.name"].ends_with("payment-events"));
        let records = kafka.records("payment-events");
        assert_eq!(records[0].headers["traceparent"], format!("00-{TRACE}-{}-01", command.id));
    }
    let logged = eventually("the consumer's line", || {
        lines(&server, "Processing payment event").into_iter().find(|line| line["subject_id"] == id.as_str())
    });
    assert_eq!(logged["trace_id"], TRACE);
    server.verify_log();
    assert_eq!(server.run(&["reconcile"]).code, Some(0));
}

#[test]
fn one_trace_from_the_request_to_the_consumer_on_the_log() {
    one_trace_from_the_request_to_the_consumer(None, Kind::Sqlite);
}

#[test]
fn one_trace_from_the_request_to_the_consumer_on_kafka() {
    one_trace_from_the_request_to_the_consumer(Some(&Kafka::new()), Kind::Postgres);
}

/// Nobody keeps it, so no column does, and the lines of the request and of the consumer name the same trace all the same.
#[test]
fn without_a_collector_a_trace_is_a_name_that_the_lines_share() {
    let server = Server::start_with(Kind::Sqlite, &[("Logging__Format", "json")]);
    let path = format!("/api/merchants/{}/payments", server.merchant());
    let payment = json!({"amountInMinorUnits": 100, "currency": "USD"});
    for (traceparent, expected) in [
        (None, None),
        (Some(format!("00-{TRACE}-{CALLER}-00")), Some(TRACE)),
        // What cannot be read begins a trace anew.
        (Some("00-nothing".to_owned()), None),
    ] {
        let id = send(&server, &path, &payment, traceparent.as_deref()).expect(201).id();
        let logged = eventually("the consumer's line", || {
            lines(&server, "Processing payment event")
                .into_iter()
                .find(|line| line["subject_id"] == id.as_str())
        });
        let of_command = server.query(&format!(
            "select lower(hex(command_id)) || ' ' || coalesce(lower(hex(trace)), '') from events where lower(hex(subject_id)) = '{}'",
            id.replace('-', "")
        ));
        let (command, stored) = of_command[0].split_once(' ').unwrap();
        assert_eq!(logged["trace_id"], expected.unwrap_or(command));
        let kept = expected.map(|trace| format!("{trace}{CALLER}00")).unwrap_or_default();
        assert_eq!(stored, kept);
    }
}

/// A share of nothing keeps nothing; what callers want kept is, up to the limit.
#[test]
fn what_is_kept_is_a_setting() {
    let collector = Collector::start();
    let server = traced(None, Kind::Sqlite, &collector, &[("Telemetry__TracesKeptPercent", "0")]);
    server.merchant();
    let sent = format!("00-{TRACE}-{CALLER}-01");
    let merchant = json!({"name": "kept", "email": "kept@example.com"});
    send(&server, "/api/merchants", &merchant, Some(&sent)).expect(201);
    of_trace(&collector, TRACE, "create_merchant");
    let others = collector
        .spans()
        .into_iter()
        .filter(|span| span.trace_id != TRACE && !span.links.contains(&TRACE.to_owned()));
    assert_eq!(others.count(), 0);
}

/// Callers cannot make the platform keep more than it is told to; the same trace goes on under its name.
#[test]
fn what_callers_want_kept_is_kept_up_to_the_limit() {
    let collector = Collector::start();
    let server = traced(None, Kind::Sqlite, &collector, &[("Telemetry__TracesPerSecondMax", "0")]);
    let path = format!("/api/merchants/{}/payments", server.merchant());
    let payment = json!({"amountInMinorUnits": 100, "currency": "USD"});
    let id = send(&server, &path, &payment, Some(&format!("00-{TRACE}-{CALLER}-01"))).expect(201).id();
    let logged = eventually("the consumer's line", || {
        lines(&server, "Processing payment event").into_iter().find(|line| line["subject_id"] == id.as_str())
    });
    assert_eq!(logged["trace_id"], TRACE);
    let mut server = server;
    assert!(server.stop().0.success());
    assert_eq!(collector.spans().len(), 0);
}

/// A payment's timeline leads to its trace where that is kept.
#[test]
fn the_console_leads_to_a_trace_that_is_kept() {
    let collector = Collector::start();
    let shown = ("Telemetry__TraceUrl", "http://traces.example/trace/{traceId}");
    let server = traced(None, Kind::Sqlite, &collector, &[shown]);
    let path = format!("/api/merchants/{}/payments", server.merchant());
    let payment = json!({"amountInMinorUnits": 100, "currency": "USD"});
    for (flags, is_linked) in [("01", true), ("00", false)] {
        let id =
            send(&server, &path, &payment, Some(&format!("00-{TRACE}-{CALLER}-{flags}"))).expect(201).id();
        let page = server.operations().get(&format!("/payments/{id}")).expect(200).text;
        assert!(page.contains(&format!("<code>{TRACE}</code>")), "{page}");
        let link = format!("<a href=\"http://traces.example/trace/{TRACE}\"");
        assert_eq!(page.contains(&link), is_linked, "{page}");
    }
}

/// A redrive is a trace of its own that names the one of the request, and so is a replay.
#[test]
fn a_redrive_and_a_replay_are_joined_to_the_trace_and_do_not_continue_it() {
    let collector = Collector::start();
    let fail = [("FINTECH_PROBE", "1"), ("FINTECH_FAIL", "consumer=poison:the poisoned one")];
    let fast = [("Consumers__BackoffInitialMilliseconds", "10"), ("Consumers__BackoffMaxMilliseconds", "50")];
    let mut server = traced(None, Kind::Sqlite, &collector, &[fail, fast].concat());
    server.alter("create table probe (event_id text, stream bigint, lane bigint, position bigint)");
    let path = format!("/api/merchants/{}/payments", server.merchant());
    let poisoned = json!({"amountInMinorUnits": 100, "currency": "USD", "description": POISON});
    send(&server, &path, &poisoned, Some(&format!("00-{TRACE}-{CALLER}-01"))).expect(201);
    let open = "select count(*) from dead_letters where state = 1";
    eventually("dead letters", || (server.query(open) == ["3"]).then_some(()));
    collector.wait_for("a failure", |span| {
        span.trace_id == TRACE && span.name.starts_with("process") && span.is_failed
    });
    server.set("FINTECH_FAIL", "");
    server.restart();
    let ended = server.run(&["dead-letters", "redrive", "--all", "--why", "it was mended"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let redriven = collector.wait_for("the redrive", |span| {
        span.name.starts_with("process") && span.links.contains(&TRACE.to_owned())
    });
    assert_ne!(redriven.trace_id, TRACE);
    assert!(!redriven.is_failed);

    let ended = server.run(&["replay", "--consumer", "daily_totals", "--from-beginning", "--why", "a test"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let replayed = collector.wait_for("the replay", |span| {
        let is_of_it =
            span.attributes.get("messaging.consumer.group.name").is_some_and(|c| c == "daily_totals");
        is_of_it && span.id != redriven.id && span.trace_id != TRACE && span.links.contains(&TRACE.to_owned())
    });
    assert_ne!(replayed.trace_id, redriven.trace_id);
}

/// What waits is sent before the end; and a collector that answers nothing holds up neither payments nor the end.
#[test]
fn the_end_sends_what_waits_and_a_collector_that_is_away_holds_up_nothing() {
    let collector = Collector::start();
    let mut server = traced(None, Kind::Sqlite, &collector, &[]);
    let sent = format!("00-{TRACE}-{CALLER}-01");
    let merchant = json!({"name": "last", "email": "last@example.com"});
    send(&server, "/api/merchants", &merchant, Some(&sent)).expect(201);
    // Before the next interval of a second.
    assert!(server.stop().0.success());
    assert!(collector.spans().iter().any(|span| span.trace_id == TRACE && span.kind == SERVER));

    collector.stall();
    server.restart();
    let merchant = server.merchant();
    for _ in 0..200 {
        server.completed_payment(&merchant, 100);
    }
    let (status, _) = server.stop();
    assert!(status.success(), "{}", server.log());
    // Nobody is there at all.
    server.set("Telemetry__OtlpEndpoint", "http://127.0.0.1:9");
    server.restart();
    server.completed_payment(&merchant, 100);
    let lost = eventually("lost spans", || {
        let text = server.operations().get("/metrics").expect(200).text;
        let line =
            text.lines().find_map(|line| line.strip_prefix("fintech_spans_lost_total "))?.parse::<u64>();
        line.ok().filter(|lost| *lost > 0)
    });
    assert!(lost > 0);
    assert!(server.stop().0.success());
}

/// A request that fails says its id in the log once, with its trace.
#[test]
fn the_lines_of_a_request_name_it() {
    let server = Server::start_with(Kind::Postgres, &[("Logging__Format", "json")]);
    let merchant = server.merchant();
    server.let_database_connect(false);
    let headers = [("x-request-id", "the-request"), ("traceparent", &format!("00-{TRACE}-{CALLER}-01"))];
    let path = format!("/api/merchants/{merchant}/payments");
    let payment = json!({"amountInMinorUnits": 100, "currency": "USD"});
    server.send("POST", &path, &headers, &Content::Json(&payment)).expect(503);
    let line = eventually("its line", || lines(&server, "a request was turned away").pop());
    assert_eq!((&line["request_id"], &line["trace_id"]), (&json!("the-request"), &json!(TRACE)));
}
