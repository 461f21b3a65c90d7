//! The metrics that are looked up, and not counted: what is true of the whole platform, whichever process is asked, and
//! whether the database and Kafka answer this one.
//!
//! A look is made at once and then every [`LOOK_INTERVAL`], by every process. While the database does not answer, what was
//! seen last stays; how old it is, `fintech_balances_looked_at_timestamp_seconds` says.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{event::Stream, time::Timestamp};
use futures_util::future::join;
use reconcile::{
    Kind,
    runs::{self, StoredRun},
};
use store::{
    Location, Store,
    error::ReadError,
    statement::{self, PlatformBalance},
};
use stream::{
    consumer::Consumer,
    kafka::{self, presence},
    lag::{self, Lag},
    relay::status::{self, Published},
};
use telemetry::{
    metrics,
    metrics::{
        Build, Consumer as ConsumerLabel, DeadLetter, GroupTopic, Handled, KindOf, Letters, Outcome,
        PlatformAccount, Reason, Stream as StreamLabel,
    },
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::settings::Settings;

const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// A database that takes longer for all of a look does not count as one that answers.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
const KAFKA_TIMEOUT: Duration = Duration::from_secs(3);

/// As the help of the metrics has them: each begins at zero, so that the first one that is counted is a rise.
const BATCH_OUTCOMES: [&str; 4] = ["committed", "empty", "failed", "unknown"];
const PUBLISH_OUTCOMES: [&str; 2] = ["committed", "failed"];
const DATABASE_KINDS: [&str; 4] = ["write", "read", "effect", "look"];
const KAFKA_KINDS: [&str; 2] = ["producer", "consumer"];
const KEY_OUTCOMES: [&str; 3] = ["first", "replayed", "reused"];
const REFUSALS: [&str; 8] =
    ["no_key", "malformed", "unknown", "expired", "revoked", "not_yours", "role", "rate"];
const RUN_OUTCOMES: [&str; 3] = ["clean", "broken", "failed"];
const EVENT_OUTCOMES: [&str; 5] = ["handled", "retried", "dead", "parked", "foreign"];
const LETTER_KINDS: [&str; 3] = ["poison", "parked", "foreign"];
const REDRIVE_OUTCOMES: [&str; 2] = ["handled", "failed"];

/// Says what is known already, and gives what looks until the program ends.
pub fn begin(
    store: &Store,
    settings: &Settings,
    stopping: &watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + use<> {
    let consumers = consumers::all();
    show_at_begin(store, settings, &consumers);
    run(store.clone(), settings.kafka.clone(), consumers, stopping.clone())
}

async fn run(
    store: Store,
    kafka: Option<kafka::Settings>,
    consumers: Vec<Arc<dyn Consumer>>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // Whoever could say it is gone: that is the same.
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        // One that is away must not hold up the look at the other.
        let looks =
            join(look_at_database(&store, &consumers, kafka.is_some()), look_at_kafka(kafka.as_ref()));
        tokio::select! {
            ((), ()) = looks => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// What is known before anything was looked at.
fn show_at_begin(store: &Store, settings: &Settings, consumers: &[Arc<dyn Consumer>]) {
    let metrics = metrics();
    let (version, rust_version) = (env!("CARGO_PKG_VERSION"), env!("FINTECH_RUST_VERSION"));
    let build = Build { version, revision: env!("FINTECH_REVISION"), rust_version };
    metrics.build_info.get_or_create(&build).set(1);
    let writers = match settings.store.location {
        Location::Sqlite(_) => 1,
        Location::Postgres(_) => settings.store.writers.clamp(1, usize::from(store.lanes())),
    };
    metrics.commands_waiting_max.set(integer(writers.saturating_mul(settings.store.queue_commands_max)));
    for outcome in BATCH_OUTCOMES {
        drop(metrics.batches.get_or_create(&Outcome { outcome }));
    }
    for kind in DATABASE_KINDS {
        drop(metrics.database_errors.get_or_create(&KindOf { kind }));
    }
    if settings.kafka.is_some() {
        for outcome in PUBLISH_OUTCOMES {
            drop(metrics.publish_transactions.get_or_create(&Outcome { outcome }));
        }
        for kind in KAFKA_KINDS {
            drop(metrics.kafka_client_errors.get_or_create(&KindOf { kind }));
        }
    }
    for outcome in KEY_OUTCOMES {
        drop(metrics.idempotency.get_or_create(&Outcome { outcome }));
    }
    for reason in REFUSALS {
        drop(metrics.access_refused.get_or_create(&Reason { reason }));
    }
    for outcome in RUN_OUTCOMES {
        drop(metrics.reconciliation_runs.get_or_create(&Outcome { outcome }));
    }
    for consumer in consumers {
        let consumer = consumer.name();
        for outcome in EVENT_OUTCOMES {
            drop(metrics.consumer_events.get_or_create(&Handled { consumer, outcome }));
        }
        for kind in LETTER_KINDS {
            drop(metrics.dead_letters.get_or_create(&DeadLetter { consumer, kind }));
        }
        for outcome in REDRIVE_OUTCOMES {
            drop(metrics.dead_letters_redriven.get_or_create(&Handled { consumer, outcome }));
        }
        let consumer = ConsumerLabel { consumer };
        drop(metrics.dlq_messages.get_or_create(&consumer));
        metrics.consumer_duration.touch(&consumer);
        drop(metrics.dead_letters_open.get_or_create(&consumer));
        drop(metrics.consumer_paused.get_or_create(&consumer));
    }
}

async fn look_at_kafka(kafka: Option<&kafka::Settings>) {
    let Some(kafka) = kafka else { return };
    metrics().kafka_up.set(presence::answers(kafka, KAFKA_TIMEOUT).await.into());
}

async fn look_at_database(store: &Store, consumers: &[Arc<dyn Consumer>], is_published: bool) {
    let metrics = metrics();
    let began = Instant::now();
    let failure = match timeout(LOOK_TIMEOUT, look(store, consumers, is_published)).await {
        Ok(Ok(seen)) => {
            metrics.database_look_duration.observe(began.elapsed());
            metrics.database_up.set(1);
            return show(&seen, consumers);
        }
        // It answers, with what only a newer program understands.
        Ok(Err(error @ ReadError::Invalid(_))) => {
            metrics.database_up.set(1);
            return tracing::warn!(%error, "what metrics say of the platform is not brought up to date");
        }
        Ok(Err(error @ ReadError::Unavailable(_))) => error.to_string(),
        Err(_) => format!("no answer within {} seconds", LOOK_TIMEOUT.as_secs()),
    };
    metrics.database_up.set(0);
    metrics.database_errors.get_or_create(&KindOf { kind: "look" }).inc();
    tracing::debug!(failure, "the database was not looked at");
}

/// All of one look, so that it is shown as a whole or not at all.
struct Seen {
    at: Timestamp,
    balances: Vec<PlatformBalance>,
    lags: Vec<Lag>,
    /// `None` without Kafka, where nothing is published.
    published: Option<Vec<Published>>,
    run: Option<StoredRun>,
}

async fn look(store: &Store, consumers: &[Arc<dyn Consumer>], is_published: bool) -> Result<Seen, ReadError> {
    let (db, at) = (store.reads(), store.now());
    let mut lags = lag::lags(db, at).await?;
    for consumer in consumers {
        if lags.iter().all(|lag| lag.consumer != consumer.name()) {
            lags.push(lag_of_new(store, consumer.as_ref(), at).await?);
        }
    }
    Ok(Seen {
        at,
        balances: statement::platform_balances(db).await?,
        lags,
        published: if is_published { Some(status::places(db, at).await?) } else { None },
        run: runs::newest_ended(db).await?,
    })
}

/// Of a consumer that has never run: it is behind by the whole of its streams, which nobody would see if it were left out.
async fn lag_of_new(store: &Store, consumer: &dyn Consumer, at: Timestamp) -> Result<Lag, ReadError> {
    let mut events_by_stream = [0; 3];
    let mut micros = 0;
    for place in lag::places(store.reads(), consumer.name(), consumer.streams(), at).await? {
        events_by_stream[place.place.0.index()] += place.events();
        micros = micros.max(place.micros);
    }
    Ok(Lag {
        consumer: consumer.name().to_owned(),
        events: events_by_stream.iter().sum(),
        events_by_stream,
        micros,
        dead_letters: 0,
        is_paused: false,
    })
}

fn show(seen: &Seen, consumers: &[Arc<dyn Consumer>]) {
    let metrics = metrics();
    for PlatformBalance { kind, currency, balance_minor } in &seen.balances {
        let label = PlatformAccount { account: kind.name(), currency: Letters::of(currency.code()) };
        let balance = (*balance_minor).clamp(i64::MIN.into(), i64::MAX.into());
        metrics.platform_balance.get_or_create(&label).set(integer(balance));
    }
    metrics.balances_looked_at.set(seconds(seen.at.as_micros()));
    for consumer in consumers {
        if let Some(lag) = seen.lags.iter().find(|lag| lag.consumer == consumer.name()) {
            show_lag(consumer.as_ref(), lag);
        }
    }
    if let Some(published) = &seen.published {
        show_published(published, seen.at);
    }
    if let Some(run) = &seen.run {
        show_run(run);
    }
}

fn show_lag(consumer: &dyn Consumer, lag: &Lag) {
    let metrics = metrics();
    let label = ConsumerLabel { consumer: consumer.name() };
    metrics.consumer_lag_events.get_or_create(&label).set(lag.events);
    // An event may carry a time that this process has not reached yet.
    metrics.consumer_lag_seconds.get_or_create(&label).set(seconds(lag.micros.max(0)));
    metrics.consumer_paused.get_or_create(&label).set(lag.is_paused.into());
    metrics.dead_letters_open.get_or_create(&label).set(lag.dead_letters);
    for stream in consumer.streams() {
        let label = GroupTopic { consumer_group: consumer.name(), topic: stream.name() };
        metrics.kafka_consumer_lag.get_or_create(&label).set(lag.events_by_stream[stream.index()]);
    }
}

fn show_published(places: &[Published], at: Timestamp) {
    for stream in Stream::ALL {
        let (mut unpublished, mut micros) = (0, 0);
        for place in places.iter().filter(|published| published.place.0 == stream) {
            unpublished += place.unpublished().max(0);
            micros = micros.max(place.micros);
        }
        let label = StreamLabel { stream: stream.name() };
        metrics().events_unpublished.get_or_create(&label).set(unpublished);
        metrics().oldest_unpublished.get_or_create(&label).set(seconds(at.as_micros() - micros));
    }
}

/// Whichever process made the run. A run of this process may have ended while the look was made: that is the newer one.
fn show_run(run: &StoredRun) {
    let metrics = metrics();
    let ended_at = run.ended_at.map_or(0.0, |at| seconds(at.as_micros()));
    if ended_at <= metrics.reconciliation_last_run.get() {
        return;
    }
    for kind in Kind::ALL {
        let breaks = integer(run.summary.breaks_by_kind[kind.index()]);
        metrics.reconciliation_breaks.get_or_create(&KindOf { kind: kind.name() }).set(breaks);
    }
    metrics.reconciliation_last_run.set(ended_at);
}

/// What does not fit is shown as the largest that does.
fn integer(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// Exact to the microsecond for some hundred years.
#[allow(clippy::cast_precision_loss)]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
