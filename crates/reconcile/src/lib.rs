//! Reconciliation: proves that the tables are what the log says, and that the log is what was written.
//!
//! It reads and never writes, beside a running system. The log is walked up to a watermark, the heads of the lanes when
//! it began; what comes later is left to the next run. A row that does not fit is looked at again together with its
//! events, so that what is being written while it is read is never called a break.
//!
//! - [`chain`]: sequences and positions have no gaps, every event is sealed with the one before, time never ran back;
//!   what each event books is summed up.
//! - [`resources`]: each merchant, payment and withdrawal is the fold of its events, by the domain's own functions.
//! - [`ledger`]: each account's entries are numbered without gaps, each balance follows from the one before, the account
//!   has the last one; and the entries are those that the events book, no more and no less.
//! - [`positions`]: no consumer, and nothing that the relay has noted, stands behind the log's end.
//!
//! Memory does not grow with the log or the tables: everything is read in pages, in the order of an index, and what the
//! log and the ledger have in common is compared by sums of hashes in a fixed number of buckets. Only where the sums
//! of a bucket differ is it looked which entries they are.

pub mod breaks;
mod chain;
mod ledger;
mod positions;
mod resources;
mod sums;

use std::cmp::Ordering;

use domain::lane::Lane;
use store::{
    batch::{LaneHead, LogEvent},
    error::ReadError,
    log,
    sql::Reads,
};

pub use self::breaks::{Break, Kind};
use self::sums::Sums;

/// Rows or events that are read at once.
const PAGE: usize = 1000;

/// What a run tells while it goes on.
pub trait Listener: Send {
    fn found(&mut self, found: Break);
    /// Events or rows that were looked at.
    fn advanced(&mut self, by: usize);
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub lanes: usize,
    pub events: u64,
    pub resources: u64,
    pub accounts: u64,
    pub entries: u64,
    pub breaks: u64,
}

/// Counts breaks on their way.
struct Report<'a> {
    listener: &'a mut dyn Listener,
    summary: Summary,
}

impl Report<'_> {
    fn tell(&mut self, kind: Kind, place: String, expected: String, found: String) {
        self.summary.breaks += 1;
        self.listener.found(Break { kind, place, expected, found });
    }
}

/// How many events and rows there are about; for a progress bar.
pub async fn size(db: &dyn Reads) -> Result<u64, ReadError> {
    let events: i64 = log::heads(db).await?.iter().map(|head| head.sequence).sum();
    // The chain, and the events again in the order of their subjects.
    Ok(u64::try_from(events).unwrap_or(0) * 2)
}

/// Compares everything once.
pub async fn run(db: &dyn Reads, listener: &mut dyn Listener) -> Result<Summary, ReadError> {
    let heads = log::heads(db).await?;
    let lanes = u16::try_from(heads.len()).unwrap_or(u16::MAX);
    let mut report = Report { listener, summary: Summary { lanes: heads.len(), ..Summary::default() } };
    let mut booked = Sums::new();
    for head in &heads {
        chain::walk(db, head, &mut booked, &mut report).await?;
    }
    let watermark = Watermark { lanes, heads };
    resources::walk(db, &mut report).await?;
    ledger::walk(db, &watermark, &booked, &mut report).await?;
    positions::check(db, &mut report).await?;
    Ok(report.summary)
}

/// Up to where the log was read.
struct Watermark {
    lanes: u16,
    heads: Vec<LaneHead>,
}

impl Watermark {
    /// Whether what was booked in a lane at a moment lies before the watermark; `None` when only its event can say,
    /// because it is of the watermark's very moment.
    fn covers(&self, lane: Lane, at: domain::time::Timestamp) -> Option<bool> {
        let Some(head) = self.heads.iter().find(|head| head.lane == lane) else { return Some(true) };
        match at.cmp(&head.clock) {
            Ordering::Less => Some(true),
            Ordering::Greater => Some(false),
            Ordering::Equal => None,
        }
    }

    /// Whether an event was written after the watermark.
    fn is_behind(&self, event: &LogEvent) -> bool {
        let head = self.heads.iter().find(|head| head.lane == event.lane);
        head.is_some_and(|head| event.sequence > head.sequence)
    }
}
