//! Messages as they come. Who does not keep up loses some, and is told how many.

use std::{collections::VecDeque, time::Duration};

use domain::{event::Stream, lane::Lane};
use store::{
    Commits,
    error::ReadError,
    log::{self, Span},
};
use stream::kafka::browse::{self, Filter, Message};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Wanted, filter, log as of_log};
use crate::{fault::Fault, state::Console};

/// Between two looks at the log, at least.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A commit of another process may not be told.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Events of one look; those before them are passed over, and counted.
const EVENTS_A_LOOK_MAX: i64 = 200;

pub enum Tail {
    Log(Box<LogTail>),
    Kafka(browse::Tail),
}

impl Tail {
    pub async fn of_log(console: &Console, stream: Stream, wanted: &Wanted) -> Result<Self, Fault> {
        let turn = console.tails().clone().try_acquire_owned();
        let turn = turn.map_err(|_| super::kafka::fault(browse::BrowseError::Busy))?;
        let commits = console.store().commits();
        let heads = console.read(log::heads(console.db())).await?;
        let ends = heads
            .iter()
            .filter(|head| wanted.partition.is_none_or(|partition| partition == head.lane.0))
            .map(|head| (head.lane, head.streams[stream.index()].0))
            .collect();
        Ok(Self::Log(Box::new(LogTail {
            console: console.clone(),
            stream,
            filter: wanted.filter.clone(),
            ends,
            found: VecDeque::new(),
            dropped: 0,
            commits,
            _turn: turn,
        })))
    }

    /// The next message; after an error, or its end, nothing more.
    pub async fn next(&mut self) -> Option<Result<Message, Fault>> {
        match self {
            Self::Log(tail) => Some(tail.next().await.map_err(Fault::read)),
            Self::Kafka(tail) => tail.next().await.map(|found| found.map_err(super::kafka::fault)),
        }
    }

    /// Messages that were lost so far.
    pub fn dropped(&self) -> u64 {
        match self {
            Self::Log(tail) => tail.dropped,
            Self::Kafka(tail) => tail.dropped(),
        }
    }
}

pub struct LogTail {
    console: Console,
    stream: Stream,
    filter: Filter,
    /// The last position of each lane that was looked at.
    ends: Vec<(Lane, i64)>,
    found: VecDeque<Message>,
    /// Whether the filter would have let them pass is not known.
    dropped: u64,
    commits: watch::Receiver<Commits>,
    _turn: OwnedSemaphorePermit,
}

impl LogTail {
    async fn next(&mut self) -> Result<Message, ReadError> {
        loop {
            if let Some(message) = self.found.pop_front() {
                return Ok(message);
            }
            self.look().await?;
            if self.found.is_empty() {
                tokio::time::sleep(LOOK_INTERVAL).await;
                // Whoever could tell is gone, or nobody told: it is looked again.
                let _ = tokio::time::timeout(LOOK_INTERVAL_MAX, self.commits.changed()).await;
            }
        }
    }

    async fn look(&mut self) -> Result<(), ReadError> {
        let heads = log::heads(self.console.db()).await?;
        let head_of = |lane: Lane, end: i64| {
            let head = heads.iter().find(|head| head.lane == lane);
            head.map_or(end, |head| head.streams[self.stream.index()].0)
        };
        let busy = self.ends.iter().filter(|(lane, end)| head_of(*lane, *end) > *end).count();
        let a_lane = EVENTS_A_LOOK_MAX / i64::try_from(busy).unwrap_or(i64::MAX).max(1);
        let mut spans = Vec::with_capacity(busy);
        for (lane, end) in &mut self.ends {
            let head = head_of(*lane, *end);
            if head > *end {
                let behind = (head - a_lane.max(1)).max(*end);
                self.dropped += u64::try_from(behind - *end).unwrap_or(0);
                spans.push(Span { stream: self.stream, lane: *lane, behind, until: head });
                *end = head;
            }
        }
        if spans.is_empty() {
            return Ok(());
        }
        let mut events = log::spans(self.console.db(), &spans).await?;
        events.sort_by_key(|event| event.occurred_at);
        let messages = events.iter().map(of_log::message);
        self.found.extend(messages.filter(|message| filter::passes(&self.filter, message)));
        Ok(())
    }
}
