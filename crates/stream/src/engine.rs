//! What a consumer's runtime does whatever feeds it: one transaction for positions and effects, attempts,
//! pauses, dead letters.
//!
//! A failing event holds up its own place only: the others go on, and after the configured attempts it becomes
//! a dead letter, with the later events of the same subject parked behind it. What is merely away (a database, a
//! service) is waited for, for as long as it takes, and never makes a dead letter.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use domain::{event::Stream, lane::Lane};
use futures_util::FutureExt as _;
use store::{
    Store,
    batch::LogEvent,
    error::ReadError,
    fault::{self, Fault},
    sql::Transaction,
};
use telemetry::{
    metrics,
    metrics::KindOf,
    trace::{self, Scope, TraceContext},
};
use tokio::time::Instant;

use crate::{
    consumer::{Consumer, HandleError},
    control::Brake,
    dead_letter::{self, Cause, Foreign},
    measure::{self, Became, Handling, How},
    position::{self, Mark, Place, Positions, Step},
};

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Events in one transaction.
    pub batch_events_max: usize,
    /// How often an event is tried before it becomes a dead letter.
    pub attempts_max: u32,
    pub backoff_initial: Duration,
    pub backoff_max: Duration,
}

/// Why a consumer stopped for good.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error(
        "{consumer} expected position {expected} of {} lane {lane} and found {}: \
         events are missing from {from}; run `fintech events verify`",
        stream.name(),
        found.map_or_else(|| "none".to_owned(), |position| position.to_string())
    )]
    EventsMissing {
        consumer: &'static str,
        stream: Stream,
        lane: Lane,
        expected: i64,
        found: Option<i64>,
        /// The log, or the topic.
        from: &'static str,
    },
}

pub enum Trouble {
    Stopped(Stopped),
    Transient(String),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Self::Transient(error.to_string())
    }
}

/// What is handled in one transaction.
#[derive(Default)]
pub struct Batch {
    /// Those behind the consumer's positions, in order within each place.
    pub events: Vec<LogEvent>,
    pub foreign: Vec<Foreign>,
    /// Where the consumer is in each place afterwards.
    pub to: Positions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    Done,
    /// Another process was there before; the positions are read anew.
    Overtaken,
    /// An event failed; nothing was kept.
    Failed,
}

pub struct Engine {
    store: Store,
    consumer: Arc<dyn Consumer>,
    settings: Settings,
    /// As last known; `None` before the first time and after trouble.
    positions: Option<Positions>,
    failing: BTreeMap<Place, Failing>,
    /// The pause after the last trouble with the database.
    outage: Option<Duration>,
    brake: Brake,
    /// It was paused since somebody asked.
    is_moved: bool,
    how: How,
}

/// The event that a place could not get past.
#[derive(Clone)]
struct Failing {
    position: i64,
    attempts: u32,
    reason: String,
    is_poison: bool,
    pause: Duration,
    retry_at: Instant,
}

/// An event whose handling failed; all of its transaction is rolled back.
struct Failure {
    place: Place,
    position: i64,
    trace: TraceContext,
    error: HandleError,
}

impl Engine {
    pub fn new(store: Store, consumer: Arc<dyn Consumer>, settings: Settings) -> Self {
        Self {
            store,
            consumer,
            settings,
            positions: None,
            failing: BTreeMap::new(),
            outage: None,
            brake: Brake::default(),
            is_moved: false,
            how: How::FromLog,
        }
    }

    /// Of events that come from a topic.
    pub(crate) const fn on_topics(mut self) -> Self {
        self.how = How::FromTopic;
        self
    }

    /// Of events that were handled before.
    pub(crate) const fn again(mut self) -> Self {
        self.how = How::Again;
        self
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn consumer(&self) -> &dyn Consumer {
        self.consumer.as_ref()
    }

    pub const fn batch_events_max(&self) -> usize {
        self.settings.batch_events_max
    }

    /// Whether somebody has paused the consumer, as it was a moment ago.
    pub async fn is_paused(&mut self) -> Result<bool, Trouble> {
        let seen = self.brake.look(self.store.reads(), self.consumer.name()).await?;
        if seen.is_on || seen.is_changed {
            // It may have been set back meanwhile.
            self.positions = None;
            self.failing.clear();
        }
        self.is_moved |= seen.is_changed;
        Ok(seen.is_on)
    }

    /// Whether the consumer was paused since this was asked last, if only between two looks: it may have been moved.
    pub(crate) const fn take_moved(&mut self) -> bool {
        std::mem::replace(&mut self.is_moved, false)
    }

    /// Where the consumer is; read from the database where that is not known.
    pub async fn positions(&mut self) -> Result<Positions, Trouble> {
        if let Some(positions) = &self.positions {
            return Ok(positions.clone());
        }
        let name = self.consumer.name();
        let streams = self.consumer.streams();
        let lanes = 0..self.store.lanes();
        let places: Vec<Place> =
            lanes.flat_map(|lane| streams.iter().map(move |stream| (*stream, Lane(lane)))).collect();
        let mut positions = position::load(self.store.reads(), name).await?;
        if places.iter().any(|place| !positions.contains_key(place)) {
            let mut transaction = self.store.begin().await?;
            position::initialise(transaction.as_mut(), name, &places, self.store.now()).await?;
            transaction.commit().await?;
            positions = position::load(self.store.reads(), name).await?;
        }
        positions.retain(|place, _| places.contains(place));
        self.positions = Some(positions.clone());
        Ok(positions)
    }

    /// Where the consumer is, as far as that is known without asking.
    pub const fn known_positions(&self) -> Option<&Positions> {
        self.positions.as_ref()
    }

    pub fn forget_positions(&mut self) {
        self.positions = None;
    }

    /// The position that a place cannot get past yet.
    pub fn failing_at(&self, place: Place) -> Option<i64> {
        self.failing.get(&place).map(|failing| failing.position)
    }

    /// Places whose failing event is to be tried again now, alone.
    pub fn due(&self) -> Vec<(Place, i64)> {
        let now = Instant::now();
        let due = self.failing.iter().filter(|(_, failing)| failing.retry_at <= now);
        due.map(|(place, failing)| (*place, failing.position)).collect()
    }

    /// One transaction: positions moved, events handled or set aside. An event that fails is noted, to be tried
    /// again after a pause.
    pub async fn handle(&mut self, batch: &Batch) -> Result<Handled, Trouble> {
        let mut outcome = self.attempt(batch, None, batch.events.len().max(1)).await?;
        if outcome.is_err() && batch.events.len() > 1 {
            // Which one it was is found by handling each by itself.
            outcome = self.attempt(batch, None, 1).await?;
        }
        Ok(self.conclude(outcome))
    }

    /// Tries an event again that failed, alone, or sets it aside when its attempts are used up.
    pub async fn retry(&mut self, event: LogEvent, to: Mark) -> Result<Handled, Trouble> {
        let place = (event.stream, event.lane);
        let Some(failing) = self.failing.get(&place).cloned() else {
            return Ok(Handled::Overtaken);
        };
        let give_up = failing.is_poison && failing.attempts >= self.settings.attempts_max;
        let cause = give_up.then(|| Cause::Poison { reason: &failing.reason, attempts: failing.attempts });
        if give_up {
            trace::within_sync(Scope::of(event.trace_context()), || {
                tracing::error!(
                    consumer = self.consumer.name(), stream = event.stream.name(), lane = event.lane.0,
                    position = event.position, event_id = %event.event_id, attempts = failing.attempts,
                    reason = failing.reason, "the event becomes a dead letter"
                );
            });
        }
        let batch = Batch { events: vec![event], foreign: Vec::new(), to: [(place, to)].into() };
        let outcome = self.attempt(&batch, cause.as_ref(), 1).await?;
        if outcome.is_ok() {
            self.failing.remove(&place);
        }
        Ok(self.conclude(outcome))
    }

    /// With a `cause` the events are not handled but become dead letters. Gives whether the positions were still
    /// where this process believed them to be.
    async fn attempt(
        &mut self,
        batch: &Batch,
        cause: Option<&Cause<'_>>,
        at_once: usize,
    ) -> Result<Result<bool, Failure>, Trouble> {
        let name = self.consumer.name();
        let now = self.store.now();
        let mut positions = self.positions().await?;
        let mut steps = Vec::with_capacity(batch.to.len());
        for (place, to) in &batch.to {
            let from = positions.get(place).copied().unwrap_or_default();
            steps.push(Step { place: *place, from, to: *to });
        }
        if fault::is_on(Fault::EffectBeforePosition) && cause.is_none() {
            let mut transaction = self.store.begin().await?;
            if guarded(self.consumer.as_ref(), &batch.events, transaction.as_mut()).await.is_ok() {
                transaction.commit().await?;
            }
        }
        let mut transaction = self.store.begin().await?;
        let moved = position::advance(transaction.as_mut(), name, &steps, now).await?;
        if !moved && !fault::is_on(Fault::SkipPositionCheck) {
            self.positions = None;
            return Ok(Ok(false));
        }
        let handling = Handling::begin(name, &batch.events, self.how);
        if fault::is_on(Fault::PositionBeforeEffect)
            || fault::is_on(Fault::DeadLetterAfterPosition) && cause.is_some()
        {
            transaction.commit().await?;
            transaction = self.store.begin().await?;
        }
        let became = match self.apply(batch, cause, at_once, transaction.as_mut()).await? {
            Ok(became) => became,
            Err(failure) => return Ok(Err(failure)),
        };
        // If the answer to COMMIT is lost, the positions are read anew and tell what happened.
        self.positions = None;
        transaction.commit().await?;
        handling.committed(&became);
        positions.extend(&batch.to);
        self.positions = Some(positions);
        self.outage = None;
        Ok(Ok(true))
    }

    /// What the transaction does beside moving positions: foreign messages and events of blocked payments are set aside, and
    /// the others handled, `at_once` together, or set aside for a `cause`.
    async fn apply(
        &self,
        batch: &Batch,
        cause: Option<&Cause<'_>>,
        at_once: usize,
        transaction: &mut dyn Transaction,
    ) -> Result<Result<Became, Failure>, Trouble> {
        let (name, now) = (self.consumer.name(), self.store.now());
        for message in &batch.foreign {
            dead_letter::park_foreign(transaction, name, message, now).await?;
        }
        let mut blocked = dead_letter::blocked(transaction, name, &batch.events).await?;
        if fault::is_on(Fault::SkipParking) {
            blocked.clear();
        }
        let (parked, free): (Vec<_>, Vec<_>) =
            batch.events.iter().partition(|event| blocked.contains(&event.subject_id));
        for event in &parked {
            dead_letter::park(transaction, name, event, &Cause::Parked, now).await?;
        }
        let mut became = Became { parked: parked.len(), foreign: batch.foreign.len(), ..Became::default() };
        if let Some(cause) = cause {
            became.dead = free.len();
            for event in free {
                dead_letter::park(transaction, name, event, cause, now).await?;
            }
            return Ok(Ok(became));
        }
        became.handled = free.len();
        if fault::is_on(Fault::EffectBeforePosition) {
            return Ok(Ok(became));
        }
        // Copied only when there are dead letters, which is rare.
        let kept: Vec<LogEvent>;
        let events = if free.len() == batch.events.len() {
            &batch.events
        } else {
            kept = free.into_iter().cloned().collect();
            &kept
        };
        for chunk in events.chunks(at_once) {
            if let Err(error) = guarded(self.consumer.as_ref(), chunk, transaction).await {
                let event = &chunk[0];
                let (place, trace) = ((event.stream, event.lane), event.trace_context());
                return Ok(Err(Failure { place, position: event.position, trace, error }));
            }
        }
        Ok(Ok(became))
    }

    fn conclude(&mut self, outcome: Result<bool, Failure>) -> Handled {
        match outcome {
            Ok(true) => Handled::Done,
            Ok(false) => Handled::Overtaken,
            Err(failure) => {
                self.note(failure);
                Handled::Failed
            }
        }
    }

    fn note(&mut self, failure: Failure) {
        let Failure { place, position, trace, error } = failure;
        measure::retried(self.consumer.name());
        let is_poison = matches!(error, HandleError::Poison(_));
        let before = self.failing.remove(&place).filter(|failing| failing.position == position);
        let attempts = before.as_ref().map_or(0, |failing| failing.attempts) + u32::from(is_poison);
        let pause = before.map_or(self.settings.backoff_initial, |failing| failing.pause * 2);
        let pause = pause.min(self.settings.backoff_max);
        trace::within_sync(Scope::of(trace), || {
            tracing::warn!(
                consumer = self.consumer.name(), stream = place.0.name(), lane = place.1.0, position, attempts,
                error = %error, "an event could not be handled; it is tried again"
            );
        });
        self.failing.insert(
            place,
            Failing {
                position,
                attempts,
                reason: error.to_string(),
                is_poison,
                pause,
                retry_at: Instant::now() + jittered(pause),
            },
        );
    }

    /// Forgets failing events of places that are handled elsewhere now, or that have moved on.
    pub fn forget_failing(&mut self, still: impl Fn(Place, i64) -> bool) {
        self.failing.retain(|place, failing| still(*place, failing.position));
    }

    /// Until the next failing event is to be tried again.
    pub fn next_retry(&self) -> Option<Duration> {
        let next = self.failing.values().map(|failing| failing.retry_at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// How long to wait after trouble that passes.
    pub fn back_off(&mut self, reason: &str) -> Duration {
        let pause = self.outage.map_or(self.settings.backoff_initial, |pause| pause * 2);
        let pause = pause.min(self.settings.backoff_max);
        metrics().database_errors.get_or_create(&KindOf { kind: "effect" }).inc();
        tracing::warn!(consumer = self.consumer.name(), reason, "the consumer waits for the database");
        self.outage = Some(pause);
        self.positions = None;
        jittered(pause)
    }
}

/// A panic of a handler is the event's trouble, not the end of the consumer.
async fn guarded(
    consumer: &dyn Consumer,
    events: &[LogEvent],
    transaction: &mut dyn Transaction,
) -> Result<(), HandleError> {
    #[cfg(debug_assertions)]
    crate::fail::handle(events)?;
    AssertUnwindSafe(consumer.handle(events, transaction))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(HandleError::Poison("the handler panicked".to_owned())))
}

/// Between half of the pause and all of it, so that many consumers do not come back at once.
pub fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause.mul_f64(fastrand::f64() / 2.0)
}
