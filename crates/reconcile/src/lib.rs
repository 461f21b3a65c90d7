//! Reconciliation: proves that the tables are what the log says, and that the log is what was written.
//!
//! It changes nothing but its own notes, beside a running system. The log is walked up to a watermark, the heads of the lanes when
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
//!
//! What a run finds, and how far it has come, is stored while it runs ([`runs`]); another process can go on with it from
//! there ([`progress`]).

pub mod breaks;
mod chain;
mod keys;
mod ledger;
mod positions;
mod progress;
mod resources;
mod run;
pub mod runs;
mod sums;
mod topics;

use serde::{Deserialize, Serialize};
use store::{Store, error::ReadError, log, sql::Reads};
use stream::kafka::{
    self,
    ends::EndsError,
    values::{ValueError, Values},
};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::breaks::{Area, Break, Kind, Place};
use self::{
    progress::Phase,
    run::Run,
    runs::{Held, Left},
};

/// Readers that a run keeps busy: one reads ahead while another answers what is asked of what was read.
pub const READERS: usize = 2;
/// Rows or events that are read at once.
const PAGE: usize = 1000;

#[derive(Clone)]
pub struct Settings {
    /// `None`: there are none.
    pub topics: Option<Topics>,
    /// The share of one core's time that a run may take.
    pub load_percent_max: u32,
}

/// Where the topics are, and how what lies there is read.
#[derive(Clone)]
pub struct Topics {
    pub kafka: kafka::Settings,
    pub values: Values,
}

/// What a run tells while it goes on.
pub trait Listener: Send + Sync {
    fn found(&mut self, found: &Break);
    /// Events or rows that were looked at.
    fn advanced(&mut self, by: usize);
}

/// What was looked at, and how many breaks of each kind were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    /// By [`Kind::index`].
    pub breaks_by_kind: [u64; 7],
}

impl Summary {
    pub fn breaks(&self) -> u64 {
        self.breaks_by_kind.iter().sum()
    }
}

/// Why it could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the topics could not be read: {0}")]
    Topics(#[from] EndsError),
    #[error("what lies on the topics could not be read: {0}")]
    Values(#[from] ValueError),
    /// Asked to stop; the run can be gone on with.
    #[error("stopped before the end")]
    Stopped,
    #[error("another process works on run {0}")]
    InProgress(Uuid),
    #[error("another process has taken run {0} over")]
    TakenOver(Uuid),
}

/// How many events and rows there are about; for a progress bar.
pub async fn size(db: &dyn Reads) -> Result<u64, ReadError> {
    let events: i64 = log::heads(db).await?.iter().map(|head| head.sequence).sum();
    // The chain, and the events again in the order of their subjects.
    Ok(u64::try_from(events).unwrap_or(0) * 2)
}

/// Compares everything once. `db` is asked by nobody else, so that a run does not stand in anybody's way.
pub async fn run(
    store: &Store,
    db: &dyn Reads,
    settings: &Settings,
    listener: &mut dyn Listener,
    stopping: watch::Receiver<bool>,
) -> Result<(Uuid, Summary), Error> {
    let held = Held::begin(store).await?;
    work(db, settings, listener, stopping, held, None).await
}

/// Goes on with the newest run, when it was left before its end; `None` when it has ended.
pub async fn resume(
    store: &Store,
    db: &dyn Reads,
    settings: &Settings,
    listener: &mut dyn Listener,
    stopping: watch::Receiver<bool>,
) -> Result<Option<(Uuid, Summary)>, Error> {
    let Some((held, left)) = Held::take_over(store, db).await? else { return Ok(None) };
    work(db, settings, listener, stopping, held, left).await.map(Some)
}

async fn work(
    db: &dyn Reads,
    settings: &Settings,
    listener: &mut dyn Listener,
    stopping: watch::Receiver<bool>,
    held: Held,
    left: Option<Left>,
) -> Result<(Uuid, Summary), Error> {
    let heads = match &left {
        Some(left) => left.checkpoint.heads(),
        None => log::heads(db).await?,
    };
    let mut run = Run::new(db, heads, held, listener, settings.load_percent_max, stopping);
    let mut phase = chain::first(&run);
    if let Some(Left { checkpoint, booked, found }) = left {
        run.summary = checkpoint.summary;
        phase = checkpoint.phase;
        (run.booked, run.found) = (booked, found);
    }
    let id = run.id();
    let went = phases(&mut run, phase, settings.topics.as_ref()).await;
    let summary = run.end(went, settings.topics.is_some()).await?;
    Ok((id, summary))
}

/// Each phase hands over to the next.
async fn phases(run: &mut Run<'_>, from: Phase, topics: Option<&Topics>) -> Result<(), Error> {
    let mut phase = Some(from);
    while let Some(now) = phase {
        phase = match now {
            Phase::Log { lanes_done } => {
                chain::walk(run, lanes_done).await?;
                Some(Phase::Rows { after: None })
            }
            Phase::Appended(appended) => {
                Some(Phase::Suspects { lanes: chain::appended(run, appended).await? })
            }
            Phase::Suspects { lanes } => {
                chain::walk_again(run, &lanes).await?;
                Some(Phase::Rows { after: None })
            }
            Phase::Rows { after } => {
                resources::walk(run, after).await?;
                Some(Phase::Entries { after: None })
            }
            Phase::Entries { after } => {
                ledger::entries(run, after).await?;
                Some(Phase::Accounts { after: None })
            }
            Phase::Accounts { after } => {
                ledger::accounts(run, after).await?;
                Some(Phase::Differing)
            }
            Phase::Differing => {
                ledger::differing(run).await?;
                Some(Phase::Keys)
            }
            Phase::Keys => {
                keys::check(run).await?;
                Some(Phase::Positions)
            }
            Phase::Positions => {
                positions::check(run).await?;
                topics.map(|_| Phase::Topics { partitions_done: 0 })
            }
            Phase::Topics { partitions_done } => {
                if let Some(topics) = topics {
                    self::topics::check(run, topics, partitions_done).await?;
                }
                None
            }
        };
        if let Some(next) = &phase {
            run.reached(|| next.clone()).await?;
        }
    }
    Ok(())
}
