//! The consumer runtime on the log table.
//!
//! Each consumer is one task. It wakes on commit, reads what is new in every lane, handles it in order
//! and stores effects and positions in one transaction. A failing event holds up its own lane only: the
//! others go on, and after the configured attempts it becomes a dead letter, with the later events of
//! the same payment parked behind it.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{event::Stream, lane::Lane};
use futures_util::FutureExt as _;
use store::{
    Store,
    batch::LogEvent,
    error::ReadError,
    log::{self, Span},
    sql::Transaction,
};
use tokio::sync::watch;

use crate::{
    consumer::{Consumer, HandleError},
    dead_letter::{self, Cause},
    position::{self, Place, Positions},
};

/// How long a consumer waits for a commit before it looks by itself: another process may have written.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A consumer that has caught up looks at most this often, so that under load it reads many events at a
/// time instead of following every commit. An event that comes after a quiet moment is read at once.
const CYCLE_INTERVAL_MIN: Duration = Duration::from_millis(25);

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
         events are missing from the log; run `fintech events verify`",
        stream.name(),
        found.map_or_else(|| "none".to_owned(), |position| position.to_string())
    )]
    EventsMissing { consumer: &'static str, stream: Stream, lane: Lane, expected: i64, found: Option<i64> },
}

/// Runs a consumer until `stopping` turns true; it stops at a batch's end.
pub async fn run(
    store: Store,
    consumer: Arc<dyn Consumer>,
    settings: Settings,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Stopped> {
    let mut commits = store.commits();
    let mut runtime =
        Runtime { store, consumer, settings, positions: None, failing: BTreeMap::new(), outage: None };
    while !*stopping.borrow() {
        commits.mark_unchanged();
        let begun_at = tokio::time::Instant::now();
        let pause = match runtime.cycle().await {
            Ok(Progress::MoreWaits) => continue,
            Ok(Progress::CaughtUp) => runtime.next_retry().unwrap_or(POLL_INTERVAL),
            Err(Trouble::Stopped(stopped)) => {
                tracing::error!(consumer = runtime.consumer.name(), error = %stopped, "the consumer has stopped");
                return Err(stopped);
            }
            Err(Trouble::Transient(reason)) => runtime.back_off(&reason),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = commits.changed() => if changed.is_err() { break },
            _ = stopping.changed() => {}
        }
        tokio::time::sleep_until(begun_at + CYCLE_INTERVAL_MIN).await;
    }
    Ok(())
}

struct Runtime {
    store: Store,
    consumer: Arc<dyn Consumer>,
    settings: Settings,
    /// As last read under the lock; `None` before the first time and after trouble.
    positions: Option<Positions>,
    failing: BTreeMap<Place, Failing>,
    /// The pause after the last trouble with the database.
    outage: Option<Duration>,
}

/// The event that a (stream, lane) could not get past.
#[derive(Clone)]
struct Failing {
    position: i64,
    attempts: u32,
    reason: String,
    is_poison: bool,
    pause: Duration,
    retry_at: Instant,
}

enum Progress {
    /// The batch was full, or an event that had failed was handled: there may be more.
    MoreWaits,
    CaughtUp,
}

enum Trouble {
    Stopped(Stopped),
    Transient(String),
}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Self::Transient(error.to_string())
    }
}

/// An event whose handling failed; all of its transaction is rolled back.
struct Failure {
    place: Place,
    position: i64,
    error: HandleError,
}

impl Runtime {
    /// Handles what is new, a batch of it.
    async fn cycle(&mut self) -> Result<Progress, Trouble> {
        let positions = match self.positions.clone() {
            Some(positions) => positions,
            None => self.load_positions().await?,
        };
        let mut progress = self.handle_together(&positions).await?;
        let due: Vec<Place> = self.failing.keys().copied().collect();
        for place in due {
            if self.handle_failing(place).await? {
                progress = Progress::MoreWaits;
            }
        }
        self.outage = None;
        Ok(progress)
    }

    async fn load_positions(&mut self) -> Result<Positions, Trouble> {
        let streams = self.consumer.streams();
        let lanes = 0..self.store.lanes();
        let places: Vec<Place> =
            lanes.flat_map(|lane| streams.iter().map(move |stream| (*stream, Lane(lane)))).collect();
        let now = self.store.now();
        let mut transaction = self.store.begin().await?;
        position::initialise(transaction.as_mut(), self.consumer.name(), &places, now).await?;
        let positions = position::lock(transaction.as_mut(), self.consumer.name(), now).await?;
        transaction.commit().await?;
        self.positions = Some(positions.clone());
        Ok(positions)
    }

    /// The news of all lanes in one transaction, up to the events that are known to fail.
    async fn handle_together(&mut self, positions: &Positions) -> Result<Progress, Trouble> {
        let heads = log::heads(self.store.reads()).await?;
        let mut room = i64::try_from(self.settings.batch_events_max).unwrap_or(i64::MAX);
        let mut wanted = Vec::new();
        for head in &heads {
            for stream in self.consumer.streams() {
                let place = (*stream, head.lane);
                let behind = positions.get(&place).copied().unwrap_or(0);
                let end = head.streams[stream.index()].0;
                let end = self.failing.get(&place).map_or(end, |failing| end.min(failing.position - 1));
                let until = end.min(behind.saturating_add(room));
                if until > behind {
                    room -= until - behind;
                    wanted.push(Span { stream: *stream, lane: head.lane, behind, until });
                }
            }
        }
        if wanted.is_empty() {
            return Ok(Progress::CaughtUp);
        }
        wanted.sort_unstable_by_key(|span| (span.lane, span.stream.index()));
        let events = log::spans(self.store.reads(), &wanted).await?;
        self.check_dense(&wanted, &events)?;
        match self.handle(&events, positions, None).await? {
            Ok(()) => {}
            Err(failure) => self.note(failure),
        }
        Ok(if room == 0 { Progress::MoreWaits } else { Progress::CaughtUp })
    }

    /// Tries the event again that a place could not get past, alone, when its pause is over; and sets it
    /// aside when its attempts are used up.
    async fn handle_failing(&mut self, place: Place) -> Result<bool, Trouble> {
        let Some(positions) = self.positions.clone() else {
            return Ok(false);
        };
        let Some(failing) = self.failing.get(&place).cloned() else {
            return Ok(false);
        };
        let position = positions.get(&place).copied().unwrap_or(0);
        if position + 1 != failing.position || failing.retry_at > Instant::now() {
            return Ok(false);
        }
        let event = log::behind(self.store.reads(), place.0, place.1, position, 1).await?;
        let give_up = failing.is_poison && failing.attempts >= self.settings.attempts_max;
        let cause = give_up.then(|| Cause::Poison { reason: &failing.reason, attempts: failing.attempts });
        if let (Some(event), true) = (event.first(), give_up) {
            tracing::error!(
                consumer = self.consumer.name(), stream = event.stream.name(), lane = event.lane.0,
                position = event.position, event_id = %event.event_id, attempts = failing.attempts,
                reason = failing.reason, "the event becomes a dead letter"
            );
        }
        match self.handle(&event, &positions, cause.as_ref()).await? {
            Ok(()) => {
                self.failing.remove(&place);
            }
            Err(failure) => self.note(failure),
        }
        Ok(true)
    }

    /// One transaction: positions locked, events handled or set aside, positions stored. With a `cause`
    /// the events are not handled but become dead letters.
    async fn handle(
        &mut self,
        events: &[LogEvent],
        expected: &Positions,
        cause: Option<&Cause<'_>>,
    ) -> Result<Result<(), Failure>, Trouble> {
        let name = self.consumer.name();
        let now = self.store.now();
        let mut transaction = self.store.begin().await?;
        let mut positions = position::lock(transaction.as_mut(), name, now).await?;
        if positions != *expected {
            // Another process that runs this consumer was faster: go on from where it came to.
            self.positions = Some(positions);
            return Ok(Ok(()));
        }
        let mut blocked = dead_letter::blocked(transaction.as_mut(), name, events).await?;
        let mut moved = BTreeMap::new();
        for event in events {
            let place = (event.stream, event.lane);
            if blocked.contains(&event.subject_id) {
                dead_letter::park(transaction.as_mut(), name, event, &Cause::Parked, now).await?;
            } else if let Some(cause) = cause {
                dead_letter::park(transaction.as_mut(), name, event, cause, now).await?;
                blocked.insert(event.subject_id);
            } else if let Err(error) = guarded(self.consumer.as_ref(), event, transaction.as_mut()).await {
                return Ok(Err(Failure { place, position: event.position, error }));
            }
            moved.insert(place, event.position);
        }
        position::store(transaction.as_mut(), name, &moved, now).await?;
        // If the answer to COMMIT is lost, the positions are read anew and tell what happened.
        self.positions = None;
        transaction.commit().await?;
        positions.extend(moved);
        self.positions = Some(positions);
        Ok(Ok(()))
    }

    /// The events are those of the spans, each of them, one behind the other.
    fn check_dense(&self, spans: &[Span], events: &[LogEvent]) -> Result<(), Trouble> {
        let mut found = events.iter().peekable();
        for Span { stream, lane, behind, until } in spans {
            for expected in behind + 1..=*until {
                let event = found.next_if(|event| event.stream == *stream && event.lane == *lane);
                let position = event.map(|event| event.position);
                if position != Some(expected) {
                    return Err(Trouble::Stopped(Stopped::EventsMissing {
                        consumer: self.consumer.name(),
                        stream: *stream,
                        lane: *lane,
                        expected,
                        found: position,
                    }));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, failure: Failure) {
        let Failure { place, position, error } = failure;
        let is_poison = matches!(error, HandleError::Poison(_));
        let before = self.failing.remove(&place).filter(|failing| failing.position == position);
        let attempts = before.as_ref().map_or(0, |failing| failing.attempts) + u32::from(is_poison);
        let pause = before.map_or(self.settings.backoff_initial, |failing| failing.pause * 2);
        let pause = pause.min(self.settings.backoff_max);
        tracing::warn!(
            consumer = self.consumer.name(), stream = place.0.name(), lane = place.1.0, position, attempts,
            error = %error, "an event could not be handled; it is tried again"
        );
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

    fn next_retry(&self) -> Option<Duration> {
        let next = self.failing.values().map(|failing| failing.retry_at).min()?;
        Some(next.saturating_duration_since(Instant::now()).min(POLL_INTERVAL))
    }

    fn back_off(&mut self, reason: &str) -> Duration {
        let pause = self.outage.map_or(self.settings.backoff_initial, |pause| pause * 2);
        let pause = pause.min(self.settings.backoff_max);
        tracing::warn!(consumer = self.consumer.name(), reason, "the consumer waits for the database");
        self.outage = Some(pause);
        self.positions = None;
        jittered(pause)
    }
}

/// A panic of a handler is the event's trouble, not the end of the consumer.
async fn guarded(
    consumer: &dyn Consumer,
    event: &LogEvent,
    transaction: &mut dyn Transaction,
) -> Result<(), HandleError> {
    AssertUnwindSafe(consumer.handle(event, transaction))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(HandleError::Poison("the handler panicked".to_owned())))
}

/// Between half of the pause and all of it, so that many consumers do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_bytes()[0];
    pause / 2 + pause.mul_f64(f64::from(random) / 510.0)
}
