//! What every phase of a run works with: what it compares, what it has found, and how it goes on.

use std::time::{Duration, Instant};

use domain::{
    lane::{Lane, lane_of},
    ledger::Owner,
    time::Timestamp,
};
use store::{batch::LaneHead, sql::Reads};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Break, Error, Kind, Listener, Place, Summary,
    progress::{Checkpoint, Phase},
    runs::{BREAKS_STORED_MAX, Held, NOTE_INTERVAL},
    sums::Sums,
};

/// Breaks that wait to be stored before they are stored at once.
const BREAKS_WAITING_MAX: usize = 500;
/// A run that pauses for longer looks dead to others. On a machine that is much too busy it takes more than its share.
const PAUSE_MAX: Duration = NOTE_INTERVAL;
/// The share of time is kept over spans of this length.
const PACE_SPAN: Duration = Duration::from_millis(10);

pub(crate) struct Run<'a> {
    pub db: &'a dyn Reads,
    pub watermark: Watermark,
    pub summary: Summary,
    /// What events book, and what entries are there.
    pub booked: Sums,
    pub found: Sums,
    held: Held,
    listener: &'a mut dyn Listener,
    waiting: Vec<Break>,
    /// When the run last said that it lives, and when it last noted a place.
    noted_at: Instant,
    placed_at: Instant,
    pace: Pace,
    stopping: watch::Receiver<bool>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        db: &'a dyn Reads,
        heads: Vec<LaneHead>,
        held: Held,
        listener: &'a mut dyn Listener,
        load_percent_max: u32,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            db,
            summary: Summary { lanes: heads.len(), ..Summary::default() },
            watermark: Watermark::new(heads),
            booked: Sums::new(),
            found: Sums::new(),
            held,
            listener,
            waiting: Vec::new(),
            noted_at: Instant::now(),
            placed_at: Instant::now(),
            pace: Pace::new(load_percent_max),
            stopping,
        }
    }

    pub(crate) const fn id(&self) -> Uuid {
        self.held.id()
    }

    pub(crate) fn tell(&mut self, kind: Kind, place: Place, expected: String, found: String) {
        let found = Break { kind, place, expected, found };
        self.listener.found(&found);
        self.summary.breaks_by_kind[kind.index()] += 1;
        // What is beyond is only counted.
        if self.summary.breaks() <= BREAKS_STORED_MAX {
            self.waiting.push(found);
        }
    }

    pub(crate) fn advanced(&mut self, by: usize) {
        self.listener.advanced(by);
    }

    /// Between two pages, at a place from which another process could go on.
    pub(crate) async fn reached(&mut self, phase: impl FnOnce() -> Phase) -> Result<(), Error> {
        let is_stopping = *self.stopping.borrow();
        if is_stopping || self.placed_at.elapsed() >= NOTE_INTERVAL || self.are_many_waiting() {
            let checkpoint = Checkpoint::new(&self.watermark.heads, self.summary, phase());
            let sums = Sums::pair_to_bytes(&self.booked, &self.found);
            self.held.note(&self.waiting, Some((&checkpoint, sums))).await?;
            self.placed_at = Instant::now();
            self.noted();
        }
        self.go_on(is_stopping).await
    }

    /// Between two pages.
    pub(crate) async fn breathe(&mut self) -> Result<(), Error> {
        let is_stopping = *self.stopping.borrow();
        if self.noted_at.elapsed() >= NOTE_INTERVAL || self.are_many_waiting() {
            self.flush().await?;
        }
        self.go_on(is_stopping).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.held.note(&self.waiting, None).await?;
        self.noted();
        Ok(())
    }

    fn are_many_waiting(&self) -> bool {
        self.waiting.len() >= BREAKS_WAITING_MAX
    }

    fn noted(&mut self) {
        self.waiting.clear();
        self.noted_at = Instant::now();
    }

    async fn go_on(&mut self, is_stopping: bool) -> Result<(), Error> {
        if is_stopping {
            return Err(Error::Stopped);
        }
        self.pace.keep(&mut self.stopping).await;
        Ok(())
    }

    /// Ends the run as it went.
    pub(crate) async fn end(mut self, went: Result<(), Error>, has_topics: bool) -> Result<Summary, Error> {
        let ended = match went {
            Ok(()) => self.flush().await,
            went => went,
        };
        match ended {
            Ok(()) => {
                self.held.end(&self.summary, has_topics).await?;
                Ok(self.summary)
            }
            Err(Error::Stopped) => {
                self.held.leave().await?;
                Err(Error::Stopped)
            }
            Err(error @ (Error::TakenOver(_) | Error::InProgress(_))) => Err(error),
            Err(error) => {
                // Why it failed matters more than that this could not be stored either.
                let stored = async {
                    self.flush().await.map_err(|error| error.to_string())?;
                    self.held.fail(&self.summary, &error.to_string()).await.map_err(|error| error.to_string())
                };
                if let Err(reason) = stored.await {
                    tracing::warn!(reason, "the failure of a reconciliation could not be stored");
                }
                Err(error)
            }
        }
    }
}

/// Up to where the log was read.
pub(crate) struct Watermark {
    /// Before this moment all lanes were read.
    settled: Timestamp,
    pub lanes: u16,
    pub heads: Vec<LaneHead>,
}

impl Watermark {
    pub(crate) fn new(heads: Vec<LaneHead>) -> Self {
        let clocks = heads.iter().filter(|head| head.sequence > 0).map(|head| head.clock);
        let settled = clocks.min().unwrap_or_default();
        Self { settled, lanes: u16::try_from(heads.len()).unwrap_or(u16::MAX), heads }
    }

    /// Whether what was booked for an owner at a moment surely lies before the watermark. Of its very moment only the event
    /// can say.
    pub(crate) fn covers(&self, owner: Owner, at: Timestamp) -> bool {
        if at < self.settled {
            return true;
        }
        let lane = match owner {
            Owner::Merchant(merchant) => lane_of(merchant, self.lanes),
            Owner::Platform(lane) => lane,
        };
        self.head(lane).is_none_or(|head| at < head.clock)
    }

    /// Whether a place of the log was written after the watermark.
    pub(crate) fn is_behind(&self, lane: Lane, sequence: i64) -> bool {
        self.head(lane).is_some_and(|head| sequence > head.sequence)
    }

    /// Heads lie in the order of their lanes, without gaps unless somebody deleted one.
    pub(crate) fn index_of(&self, lane: Lane) -> Option<usize> {
        let is_of = |head: &LaneHead| head.lane == lane;
        let at = usize::from(lane.0);
        if self.heads.get(at).is_some_and(is_of) { Some(at) } else { self.heads.iter().position(is_of) }
    }

    fn head(&self, lane: Lane) -> Option<&LaneHead> {
        self.index_of(lane).map(|index| &self.heads[index])
    }
}

/// Keeps a run to a share of the time, so that it disturbs nobody.
struct Pace {
    percent_max: u32,
    working_since: Instant,
}

impl Pace {
    fn new(percent_max: u32) -> Self {
        Self { percent_max: percent_max.clamp(1, 100), working_since: Instant::now() }
    }

    async fn keep(&mut self, stopping: &mut watch::Receiver<bool>) {
        let worked = self.working_since.elapsed();
        if self.percent_max < 100 && worked >= PACE_SPAN {
            let pause = worked * (100 - self.percent_max) / self.percent_max;
            tokio::select! {
                () = tokio::time::sleep(pause.min(PAUSE_MAX)) => {}
                // Whoever is asked to stop does not wait for the end of a pause.
                Ok(()) = stopping.changed() => {}
            }
            self.working_since = Instant::now();
        }
    }
}
