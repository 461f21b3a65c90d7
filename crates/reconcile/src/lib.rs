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
//! - [`keys`]: the log holds what each idempotency key answers with.
//! - [`positions`]: no consumer, and nothing that the relay has noted, stands behind the log's end.
//! - [`topics`]: what lies on Kafka is what the log says, in order, once, the same to the byte.
//!
//! Memory does not grow with the log or the tables: everything is read in pages, in the order of an index, and what the
//! log and the ledger have in common is compared by sums of hashes in a fixed number of buckets. Only where the sums
//! of a bucket differ is it looked which entries they are.

pub mod breaks;
mod chain;
mod keys;
mod ledger;
mod positions;
mod resources;
mod sums;
mod topics;

use domain::{lane::Lane, time::Timestamp};
use store::{batch::LaneHead, error::ReadError, log, sql::Reads};
use stream::kafka::{self, ends::EndsError};

pub use self::breaks::{Area, Break, Kind, Place};
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
    /// Idempotency keys.
    pub keys: u64,
    /// Records on Kafka.
    pub records: u64,
    pub breaks: u64,
}

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the topics could not be read: {0}")]
    Topics(#[from] EndsError),
}

/// Counts breaks on their way.
struct Report<'a> {
    listener: &'a mut dyn Listener,
    summary: Summary,
}

impl Report<'_> {
    fn tell(&mut self, kind: Kind, place: Place, expected: String, found: String) {
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

/// Compares everything once; the topics, where the settings of Kafka are given.
pub async fn run(
    db: &dyn Reads,
    kafka: Option<&kafka::Settings>,
    listener: &mut dyn Listener,
) -> Result<Summary, Error> {
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
    keys::check(db, &mut report).await?;
    positions::check(db, &mut report).await?;
    if let Some(kafka) = kafka {
        topics::check(db, kafka, lanes, &mut report).await?;
    }
    Ok(report.summary)
}

/// Up to where the log was read.
struct Watermark {
    lanes: u16,
    heads: Vec<LaneHead>,
}

impl Watermark {
    /// Whether what was booked in a lane at a moment surely lies before the watermark. Of its very moment only the event
    /// can say.
    fn covers(&self, lane: Lane, at: Timestamp) -> bool {
        self.heads.iter().find(|head| head.lane == lane).is_none_or(|head| at < head.clock)
    }

    /// Whether a place of the log was written after the watermark.
    fn is_behind(&self, lane: Lane, sequence: i64) -> bool {
        self.heads.iter().any(|head| head.lane == lane && sequence > head.sequence)
    }
}
