//! What `/metrics` says of the platform, beside what the platform has done.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::json;
use telemetry::metrics::{ALL, Kind as MetricKind, Metric, PROCESS, RUNTIME, TASKS};

use crate::{
    dead_letters::with_dead_letters,
    support::{
        PATIENCE,
        backend::{Folder, Kind},
        client::{Client, Content},
        eventually,
        kafka::{Kafka, STREAMS},
        program,
        server::Server,
    },
};

/// The program looks every fifteen seconds; asking it more often than this only takes its time.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// These count trouble, or what people do about it: a run without any may leave them at nothing.
const ONLY_IN_TROUBLE: [&str; 9] = [
    "fintech_dead_letters_redriven_total",
    "fintech_database_errors_total",
    "fintech_kafka_client_errors_total",
    "fintech_spans_lost_total",
    "fintech_traces_not_kept_total",
    "fintech_log_lines_lost_total",
    "fintech_requests_not_kept_total",
    "fintech_task_slow_polls_total",
    "tokio_forced_yields_total",
];
/// A collector is there in no test of this file.
const ONLY_WITH_A_COLLECTOR: [&str; 1] = ["fintech_spans_exported_total"];
/// At rest they are zero.
const ZERO_AT_REST: [&str; 5] = [
    "fintech_commands_waiting",
    "fintech_http_requests_in_flight",
    "tokio_global_queue_depth",
    "tokio_local_queue_depth",
    "tokio_blocking_queue_depth",
];
/// What nothing sets yet: a metric that is declared and never has a value is a promise that is not kept. The list may only
/// become shorter.
const NOT_YET: [&str; 0] = [];

/// What was shown at one moment: the value of each series, by its name with its labels.
struct Shown(BTreeMap<String, f64>);

impl Shown {
    fn by(operations: &Client) -> Self {
        let text = operations.get("/metrics").expect(200).text;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let series = samples.map(|line| {
            // Without the exemplar.
            let sample = line.split(" # ").next().unwrap();
            let (series, value) = sample.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number in {line}")))
        });
        Self(series.collect())
    }

    fn get(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    #[track_caller]
    fn expect(&self, series: &str, value: i32) {
        assert_eq!(self.get(series), Some(f64::from(value)), "{series} among {:#?}", self.like(series));
    }

    /// The series of the same metric.
    fn like(&self, series: &str) -> Vec<(&String, &f64)> {
        let name = series.split('{').next().unwrap();
        self.0.iter().filter(|(known, _)| known.split('{').next() == Some(name)).collect()
    }

    fn of(&self, name: &str) -> impl Iterator<Item = (&String, &f64)> {
        self.0.iter().filter(move |(series, _)| {
            let known = series.split('{').next().unwrap();
            known == name || known.strip_suffix("_count") == Some(name)
        })
    }
}

/// Looks until there is something; what is missing is told when there is nothing in time.
#[track_caller]
fn until<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let mut missing = String::new();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match look() {
            Ok(found) => return found,
            Err(told) => missing = told,
        }
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
    panic!("waited {PATIENCE:?} in vain: {missing}");
}

/// Waits until each series has its value.
#[track_caller]
fn wait_for(server: &Server, wanted: &[(&str, i32)]) -> Shown {
    let operations = server.operations();
    until(|| {
        let shown = Shown::by(&operations);
        let is_missing = |(series, value): &&(&str, i32)| shown.get(series) != Some(f64::from(*value));
        let missing: Vec<_> = wanted.iter().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(shown);
        }
        let found: Vec<_> = missing.iter().map(|(series, _)| shown.get(series)).collect();
        Err(format!("{missing:?} were {found:?}"))
    })
}

#[track_caller]
fn run(server: &Server, arguments: &[&str]) {
    let ended = server.run(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
}

fn number(server: &Server, sql: &str) -> i64 {
    server.query(sql)[0].parse().unwrap()
}

/// A refund and a withdrawal that was paid out, of a new merchant's payment.
fn refund_and_pay_out(server: &Server) -> String {
    let merchant = server.merchant();
    let payment = server.completed_payment(&merchant, 1000);
    server.post(&format!("{payment}/refund"), &json!({"refundAmountInMinorUnits": 400})).expect(200);
    let withdrawal = server.withdrawal(&merchant, 250);
    server.post_empty(&format!("{withdrawal}/process")).expect(200);
    server.post_empty(&format!("{withdrawal}/complete")).expect(200);
    merchant
}

/// Balances of the platform, dead letters, a paused consumer and its lag, and a reconciliation that another process made.
fn the_platform_is_told_as_it_is(kafka: Option<&Kafka>, kind: Kind) {
    let (server, _) = with_dead_letters(kafka, kind);
    let merchant = refund_and_pay_out(&server);
    run(&server, &["reconcile"]);
    let handled =
        "select sum(position) from consumer_positions where consumer = 'payment_log' and stream = 1";
    let events = "select count(*) from events where stream = 1";
    eventually("the logger", || (number(&server, handled) == number(&server, events)).then_some(()));
    run(&server, &["consumers", "pause", "payment_log", "--why", "a test"]);
    let seen = "what is wanted of the consumer has changed";
    eventually("the pause to be seen", || server.log().contains(seen).then_some(()));
    server.completed_payment(&merchant, 60);

    let shown = wait_for(
        &server,
        &[
            ("fintech_platform_balance_minor_units{account=\"Clearing\",currency=\"USD\"}", -960),
            ("fintech_platform_balance_minor_units{account=\"Payouts\",currency=\"USD\"}", 250),
            ("fintech_consumer_lag_events{consumer=\"payment_log\"}", 2),
            ("kafka_consumer_lag{consumer_group=\"payment_log\",topic=\"payment-events\"}", 2),
            ("fintech_consumer_paused{consumer=\"payment_log\"}", 1),
            ("fintech_consumer_lag_events{consumer=\"probe\"}", 0),
            ("fintech_consumer_lag_seconds{consumer=\"probe\"}", 0),
        ],
    );
    for (consumer, letters) in [("probe", 2), ("payment_log", 2), ("daily_totals", 2), ("withdrawal_log", 0)]
    {
        shown.expect(&format!("fintech_dead_letters_open{{consumer=\"{consumer}\"}}"), letters);
        if consumer != "payment_log" {
            shown.expect(&format!("fintech_consumer_paused{{consumer=\"{consumer}\"}}"), 0);
        }
    }
    let lag = shown.get("fintech_consumer_lag_seconds{consumer=\"payment_log\"}").unwrap();
    assert!(lag > 0.0 && lag < 60.0, "{lag}");
    shown.expect("kafka_consumer_lag{consumer_group=\"probe\",topic=\"merchant-events\"}", 0);
    shown.expect("fintech_database_up", 1);
    shown.expect("fintech_reconciliation_breaks{kind=\"drifted balance\"}", 0);
    // It was not this process that ran it.
    shown.expect("fintech_reconciliation_runs_total{outcome=\"clean\"}", 0);
    shown.expect("fintech_reconciliation_runs_total{outcome=\"failed\"}", 0);
    let ran_at = shown.get("fintech_reconciliation_last_run_timestamp_seconds").unwrap();
    let looked_at = shown.get("fintech_balances_looked_at_timestamp_seconds").unwrap();
    assert!(ran_at > 1_700_000_000.0 && looked_at > ran_at, "{ran_at} {looked_at}");
    // Begun at zero, so that the first one is a rise.
    shown.expect("fintech_consumer_events_total{consumer=\"probe\",outcome=\"foreign\"}", 0);
    shown.expect("fintech_dead_letters_redriven_total{consumer=\"probe\",outcome=\"failed\"}", 0);
    assert!(shown.get("fintech_commands_waiting_max").unwrap() >= 1.0);
    assert_eq!(shown.of("fintech_build_info").count(), 1);
    if kafka.is_some() {
        shown.expect("fintech_kafka_up", 1);
        assert_eq!(shown.of("fintech_oldest_unpublished_event_timestamp_seconds").count(), 3);
        assert_eq!(shown.of("fintech_events_unpublished").count(), 3);
    } else {
        for absent in ["fintech_kafka_up", "fintech_events_unpublished"] {
            assert_eq!(shown.of(absent).count(), 0, "{absent} without Kafka");
        }
    }
}

#[test]
fn the_platform_is_told_as_it_is_on_the_log_of_sqlite() {
    the_platform_is_told_as_it_is(None, Kind::Sqlite);
}

#[test]
fn the_platform_is_told_as_it_is_on_the_log_of_postgres() {
    the_platform_is_told_as_it_is(None, Kind::Postgres);
}

#[test]
fn the_platform_is_told_as_it_is_on_kafka_and_sqlite() {
    the_platform_is_told_as_it_is(Some(&Kafka::new()), Kind::Sqlite);
}

#[test]
fn the_platform_is_told_as_it_is_on_kafka_and_postgres() {
    the_platform_is_told_as_it_is(Some(&Kafka::new()), Kind::Postgres);
}

/// Without a relay events gather, and their age is told; with one they are gone from the count. Failure: an alert on
/// freshness that nothing can raise.
fn events_that_nobody_publishes_are_seen(kind: Kind) {
    let kafka = Kafka::new();
    let mut server = kafka.server(kind, &[("Server__Roles", "api")]);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    // The first look is made at the start.
    server.restart();
    let shown = wait_for(
        &server,
        &[
            ("fintech_events_unpublished{stream=\"payment-events\"}", 2),
            ("fintech_events_unpublished{stream=\"merchant-events\"}", 1),
            ("fintech_events_unpublished{stream=\"withdrawal-events\"}", 0),
            // Nobody reads them either.
            ("fintech_consumer_lag_events{consumer=\"payment_log\"}", 2),
            ("fintech_kafka_up", 1),
        ],
    );
    let at = |shown: &Shown, stream| {
        let series = format!("fintech_oldest_unpublished_event_timestamp_seconds{{stream=\"{stream}\"}}");
        shown.get(&series).unwrap()
    };
    let looked_at = |shown: &Shown| shown.get("fintech_balances_looked_at_timestamp_seconds").unwrap();
    let [payments, withdrawals, merchants] = STREAMS.map(|stream| at(&shown, stream));
    assert!(merchants < payments && payments < looked_at(&shown), "{merchants} {payments}");
    assert!((withdrawals - looked_at(&shown)).abs() < 0.001, "nothing waits");
    server.set("Server__Roles", "api,relay,consumers");
    server.restart();
    let shown = wait_for(
        &server,
        &[
            ("fintech_events_unpublished{stream=\"payment-events\"}", 0),
            ("fintech_events_unpublished{stream=\"merchant-events\"}", 0),
            ("fintech_consumer_lag_events{consumer=\"payment_log\"}", 0),
            ("fintech_relay_leads", 1),
        ],
    );
    assert!((at(&shown, STREAMS[0]) - looked_at(&shown)).abs() < 0.001, "nothing waits");
}

#[test]
fn events_that_nobody_publishes_are_seen_on_postgres() {
    events_that_nobody_publishes_are_seen(Kind::Postgres);
}

#[test]
fn events_that_nobody_publishes_are_seen_on_sqlite() {
    events_that_nobody_publishes_are_seen(Kind::Sqlite);
}

#[test]
fn a_database_that_is_away_is_told_and_the_rest_stays_as_it_was() {
    let mut server = Server::start(Kind::Postgres);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 700);
    server.restart();
    let clearing = "fintech_platform_balance_minor_units{account=\"Clearing\",currency=\"USD\"}";
    let before = wait_for(&server, &[("fintech_database_up", 1), (clearing, -700)]);
    server.let_database_connect(false);
    let path = format!("/api/merchants/{merchant}/payments");
    server.post(&path, &json!({"amountInMinorUnits": 1, "currency": "USD"})).expect(503);
    let away = wait_for(&server, &[("fintech_database_up", 0), (clearing, -700)]);
    // It is told that it failed, and not how long a durable answer took.
    away.expect("fintech_commands_total{command=\"create_payment\",outcome=\"failed\"}", 1);
    assert_eq!(away.get("fintech_command_duration_seconds_count{command=\"create_payment\"}"), None);
    assert!(away.get("fintech_database_errors_total{kind=\"look\"}").unwrap() >= 1.0);
    let looked_at = "fintech_balances_looked_at_timestamp_seconds";
    assert_eq!(away.get(looked_at), before.get(looked_at), "its age is seen");
    server.let_database_connect(true);
    let back = wait_for(&server, &[("fintech_database_up", 1)]);
    assert!(back.get(looked_at) > away.get(looked_at), "the task goes on");
}

/// Nobody listens there, so no broker answers; payments go on.
#[test]
fn a_kafka_that_is_away_is_told() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Sqlite, &[("Kafka__BootstrapServers", "127.0.0.1:9")]);
    server.merchant();
    wait_for(&server, &[("fintech_kafka_up", 0), ("fintech_database_up", 1)]);
    let operations = server.operations();
    eventually("errors of the consumers' clients", || {
        let errors = Shown::by(&operations).get("fintech_kafka_client_errors_total{kind=\"consumer\"}");
        (errors > Some(0.0)).then_some(())
    });
}

#[test]
fn who_is_refused_is_counted_by_the_reason() {
    let limits = [("Requests__KeptPerSecondMax", "1")];
    let server = Server::start_with(Kind::Sqlite, &limits);
    let ask = |key: &str| {
        let headers = [("Authorization", key)];
        server.send("GET", "/api/merchants", &headers, &Content::Nothing)
    };
    ask(&format!("Bearer fk_live_{}", "a".repeat(32))).expect(401);
    ask("Basic YTpi").expect(401);
    for _ in 0..20 {
        server.get("/api/merchants").expect(200);
    }
    let shown = wait_for(
        &server,
        &[
            ("fintech_access_refused_total{reason=\"unknown\"}", 1),
            ("fintech_access_refused_total{reason=\"malformed\"}", 1),
        ],
    );
    let refused = shown.of("fintech_access_refused_total").filter(|(_, count)| **count > 0.0);
    assert_eq!(refused.count(), 2);
    let operations = server.operations();
    eventually("requests that are not kept", || {
        (Shown::by(&operations).get("fintech_requests_not_kept_total") > Some(0.0)).then_some(())
    });
}

/// Each metric of the catalogue is shown, and each has a value once things have happened to the platform.
#[test]
fn every_metric_of_the_catalogue_gets_a_value() {
    let kafka = Kafka::new();
    let (mut server, payment) = with_dead_letters(Some(&kafka), Kind::Postgres);
    server.set("Reconcile__IntervalSeconds", "1");
    server.restart();
    let merchant = refund_and_pay_out(&server);
    let path = format!("/api/merchants/{merchant}/payments");
    for _ in 0..2 {
        let body = json!({"amountInMinorUnits": 5, "currency": "USD"});
        server.post_with_key(&path, "once", &body).expect(201);
    }
    // It joins the dead letters of its payment.
    server.post_empty(&format!("{payment}/refund")).expect(200);
    server.send("GET", "/api/merchants", &[("Authorization", "Basic YTpi")], &Content::Nothing).expect(401);
    let excused: BTreeSet<&str> =
        [&ONLY_IN_TROUBLE[..], &ONLY_WITH_A_COLLECTOR, &ZERO_AT_REST].concat().into_iter().collect();
    let operations = server.operations();
    let shown = until(|| {
        let shown = Shown::by(&operations);
        let unset: Vec<String> = every_metric()
            .filter(|metric| !has_value(&shown, metric))
            .map(Metric::full_name)
            .filter(|name| !excused.contains(name.as_str()) && !NOT_YET.contains(&name.as_str()))
            .collect();
        if unset.is_empty() { Ok(shown) } else { Err(format!("no value of {unset:?}")) }
    });
    for metric in every_metric() {
        let name = metric.full_name();
        let is_listed = NOT_YET.contains(&name.as_str());
        assert!(!is_listed || !has_value(&shown, metric), "{name} has a value now: take it from the list");
        assert!(!metric.labels.is_empty() || shown.of(&name).count() > 0, "{name} is not shown");
    }
}

fn every_metric() -> impl Iterator<Item = &'static Metric> {
    ALL.iter().chain(PROCESS).chain(RUNTIME).chain(TASKS)
}

/// What counts has counted something. A gauge with labels may be zero, but is there.
fn has_value(shown: &Shown, metric: &Metric) -> bool {
    let may_be_zero = metric.kind == MetricKind::Gauge && !metric.labels.is_empty();
    shown.of(&metric.full_name()).any(|(_, value)| may_be_zero || *value != 0.0)
}

/// What the repository has is what the program says of itself.
#[test]
fn the_program_prints_the_page_of_its_metrics() {
    let folder = Folder::new();
    let printed = program::run(folder.path(), &["metrics"], &[]);
    let page = include_str!("../../docs/metrics.md");
    assert_eq!((printed.code, printed.stdout.as_str()), (Some(0), page), "{}", printed.stderr);
}

/// A label that took what merchants bring would make a series of each.
fn the_number_of_series_does_not_grow_with_the_number_of_merchants(kind: Kind) {
    // Which lane a merchant has is by chance, and each lane has a series.
    let server = Server::start_with(kind, &[("Ledger__Lanes", "1")]);
    let operations = server.operations();
    let (mut merchants, mut others) = (0, 0);
    let url = format!("http://{}", server.address());
    let mut series_with = |wanted: i32, wanted_others: i32| {
        while merchants < wanted {
            refund_and_pay_out(&server);
            merchants += 1;
        }
        // Each with a payment.
        let count = wanted_others.to_string();
        let load = ["bench", "run", "--url", &url, "--merchants", &count, "--requests", &count];
        let ended = program::run(server.folder(), &load, &[]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        others += wanted_others;
        wait_for(
            &server,
            &[
                ("fintech_platform_balance_minor_units{account=\"Payouts\",currency=\"USD\"}", 250 * wanted),
                ("fintech_consumer_lag_events{consumer=\"payment_log\"}", 0),
                ("fintech_consumer_lag_events{consumer=\"withdrawal_log\"}", 0),
                ("fintech_consumer_lag_events{consumer=\"daily_totals\"}", 0),
            ],
        );
        let shown = Shown::by(&operations);
        shown.expect("fintech_events_committed_total{event_type=\"MerchantCreated\"}", wanted + others);
        shown.0.into_keys().collect::<BTreeSet<String>>()
    };
    let with_few = series_with(3, 10);
    let with_ten_thousand = series_with(100, 9_900);
    let new: Vec<&String> = with_ten_thousand.difference(&with_few).collect();
    assert!(new.is_empty() && with_ten_thousand.len() == with_few.len(), "{new:#?}");
}

#[test]
fn the_number_of_series_does_not_grow_with_the_number_of_merchants_on_sqlite() {
    the_number_of_series_does_not_grow_with_the_number_of_merchants(Kind::Sqlite);
}

#[test]
fn the_number_of_series_does_not_grow_with_the_number_of_merchants_on_postgres() {
    the_number_of_series_does_not_grow_with_the_number_of_merchants(Kind::Postgres);
}
