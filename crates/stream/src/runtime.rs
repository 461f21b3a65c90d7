//! Consumers on the log table itself.
//!
//! Each consumer is one task. It wakes on commit, reads what is new in every lane, handles it in order
//! and stores effects and positions in one transaction.

use std::{sync::Arc, time::Duration};

use store::{
    Store,
    batch::LogEvent,
    log::{self, Span},
};
use tokio::{sync::watch, time::Instant};

pub use crate::engine::{Settings, Stopped};
use crate::{
    consumer::Consumer,
    control,
    engine::{Batch, Engine, Handled, Trouble},
    position::{Mark, Positions},
};

/// How long a consumer waits for a commit before it looks by itself: another process may have written.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A consumer that has caught up rests so long for every event that was committed meanwhile, its own or not, so that
/// under load it reads many at a time instead of following every commit. Up to the inverse, 5,000 events a second, the
/// rests stay short; above they grow to [`REST_MAX`]. An event that comes after a quiet moment is read at once.
const REST_PER_EVENT: Duration = Duration::from_micros(200);
/// Shorter rests are not worth a timer.
const REST_MIN: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_millis(25);

/// A quiet consumer reads its positions again after this long: somebody may have set them back.
const POSITIONS_AGE_MAX: Duration = Duration::from_secs(5);

/// Runs a consumer until `stopping` turns true; it stops at a batch's end, and handles nothing while it is paused.
pub async fn run(
    store: Store,
    consumer: Arc<dyn Consumer>,
    settings: Settings,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Stopped> {
    let mut commits = store.commits();
    let mut runtime = Runtime { engine: Engine::new(store, consumer, settings) };
    let mut positions_read_at = Instant::now();
    let mut committed = commits.borrow().own;
    while !*stopping.borrow() {
        let committed_before = std::mem::replace(&mut committed, commits.borrow_and_update().own);
        let mut events = committed - committed_before;
        let pause = match runtime.cycle_unless_paused().await {
            Ok(Some(Progress::MoreWaits)) => continue,
            Ok(None) => {
                // Paused. Commits do not wake it: there is nothing that it would do.
                tokio::select! {
                    () = tokio::time::sleep(control::LOOK_INTERVAL) => {}
                    _ = stopping.changed() => {}
                }
                continue;
            }
            Ok(Some(Progress::CaughtUp(handled))) => {
                events = events.max(handled);
                runtime.engine.next_retry().unwrap_or(POLL_INTERVAL).min(POLL_INTERVAL)
            }
            Err(Trouble::Stopped(stopped)) => {
                let consumer = runtime.engine.consumer().name();
                tracing::error!(consumer, error = %stopped, "the consumer has stopped");
                return Err(stopped);
            }
            Err(Trouble::Transient(reason)) => {
                // Not more often than under load, however many commits there are.
                events = u64::MAX;
                runtime.engine.back_off(&reason)
            }
        };
        let caught_up_at = Instant::now();
        if positions_read_at.elapsed() > POSITIONS_AGE_MAX {
            positions_read_at = Instant::now();
            runtime.engine.forget_positions();
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            changed = commits.changed() => if changed.is_err() { break },
            _ = stopping.changed() => {}
        }
        // A timer of the runtime lasts a millisecond or two, also for a moment that is over.
        let rested_at = caught_up_at + rest(events);
        if rested_at > Instant::now() {
            tokio::time::sleep_until(rested_at).await;
        }
    }
    Ok(())
}

fn rest(events: u64) -> Duration {
    let rest = REST_PER_EVENT.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX)).min(REST_MAX);
    if rest < REST_MIN { Duration::ZERO } else { rest }
}

/// Runs a consumer on the log until it has caught up, once, paused or not; for whoever runs it outside the server. Gives how
/// many events were handled, or set aside, in each call of `progress`.
pub async fn catch_up(
    store: Store,
    consumer: Arc<dyn Consumer>,
    settings: Settings,
    mut progress: impl FnMut(&Positions),
) -> Result<(), Stopped> {
    let mut runtime = Runtime { engine: Engine::new(store, consumer, settings).again() };
    loop {
        let pause = match runtime.cycle().await {
            Ok(Progress::MoreWaits) => Duration::ZERO,
            Ok(Progress::CaughtUp(_)) => match runtime.engine.next_retry() {
                Some(pause) => pause,
                None => return Ok(()),
            },
            Err(Trouble::Stopped(stopped)) => return Err(stopped),
            Err(Trouble::Transient(reason)) => runtime.engine.back_off(&reason),
        };
        if let Ok(positions) = runtime.engine.positions().await {
            progress(&positions);
        }
        tokio::time::sleep(pause).await;
    }
}

struct Runtime {
    engine: Engine,
}

enum Progress {
    /// The batch was full, or an event that had failed was handled: there may be more.
    MoreWaits,
    /// Behind so many events.
    CaughtUp(u64),
}

impl Runtime {
    /// `None`: somebody has paused the consumer.
    async fn cycle_unless_paused(&mut self) -> Result<Option<Progress>, Trouble> {
        if self.engine.is_paused().await? { Ok(None) } else { self.cycle().await.map(Some) }
    }

    /// Handles what is new, a batch of it.
    async fn cycle(&mut self) -> Result<Progress, Trouble> {
        let mut progress = self.handle_together().await?;
        for (place, failing) in self.engine.due() {
            let position = self.engine.positions().await?.get(&place).map_or(0, |mark| mark.position);
            if position + 1 < failing {
                continue;
            }
            if position + 1 > failing {
                // Another process was faster.
                self.engine.forget_failing(|other, _| other != place);
                continue;
            }
            let event = log::behind(self.engine.store().reads(), place.0, place.1, position, 1).await?;
            if let Some(event) = event.into_iter().next() {
                let to = Mark { position: event.position, kafka_offset: self.offset_of(place).await? };
                self.engine.retry(event, to).await?;
                progress = Progress::MoreWaits;
            }
        }
        Ok(progress)
    }

    async fn offset_of(&mut self, place: crate::position::Place) -> Result<Option<i64>, Trouble> {
        Ok(self.engine.positions().await?.get(&place).and_then(|mark| mark.kafka_offset))
    }

    /// The news of all lanes in one transaction, up to the events that are known to fail.
    async fn handle_together(&mut self) -> Result<Progress, Trouble> {
        let positions = self.engine.positions().await?;
        let heads = log::heads(self.engine.store().reads()).await?;
        let mut room = i64::try_from(self.engine.batch_events_max()).unwrap_or(i64::MAX);
        let mut wanted = Vec::new();
        for head in &heads {
            for stream in self.engine.consumer().streams() {
                let place = (*stream, head.lane);
                let behind = positions.get(&place).map_or(0, |mark| mark.position);
                let end = head.streams[stream.index()].0;
                let end = self.engine.failing_at(place).map_or(end, |failing| end.min(failing - 1));
                let until = end.min(behind.saturating_add(room));
                if until > behind {
                    room -= until - behind;
                    wanted.push(Span { stream: *stream, lane: head.lane, behind, until });
                }
            }
        }
        if wanted.is_empty() {
            return Ok(Progress::CaughtUp(0));
        }
        wanted.sort_unstable_by_key(|span| (span.lane, span.stream.index()));
        let events = log::spans(self.engine.store().reads(), &wanted).await?;
        check_dense(self.engine.consumer().name(), &wanted, &events)?;
        let to = wanted.iter().map(|span| {
            let place = (span.stream, span.lane);
            let kafka_offset = positions.get(&place).and_then(|mark| mark.kafka_offset);
            (place, Mark { position: span.until, kafka_offset })
        });
        let batch = Batch { to: to.collect(), events, foreign: Vec::new() };
        let handled = self.engine.handle(&batch).await?;
        let events = u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
        Ok(if room == 0 || handled != Handled::Done {
            Progress::MoreWaits
        } else {
            Progress::CaughtUp(events)
        })
    }
}

/// The events are those of the spans, each of them, one behind the other.
pub(crate) fn check_dense(
    consumer: &'static str,
    spans: &[Span],
    events: &[LogEvent],
) -> Result<(), Trouble> {
    let mut found = events.iter().peekable();
    for Span { stream, lane, behind, until } in spans {
        for expected in behind + 1..=*until {
            let event = found.next_if(|event| event.stream == *stream && event.lane == *lane);
            let position = event.map(|event| event.position);
            if position != Some(expected) {
                return Err(Trouble::Stopped(Stopped::EventsMissing {
                    consumer,
                    stream: *stream,
                    lane: *lane,
                    expected,
                    found: position,
                    from: "the log",
                }));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_are_followed_and_many_gathered() {
        assert_eq!(rest(0), Duration::ZERO);
        assert_eq!(rest(4), Duration::ZERO);
        assert_eq!(rest(5), REST_MIN);
        assert_eq!(rest(50), Duration::from_millis(10));
        assert_eq!(rest(u64::MAX), REST_MAX);
    }
}
