//! The small trait behind which the two databases stand for a writer: one connection, one batch at a time.

use std::future::Future;

use domain::lane::Lane;

use crate::batch::{Loaded, Needs, Writes};

/// Why a batch did not become durable, by what the writer can do about it.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Nothing was written; the session is of no more use.
    #[error("{0}")]
    Unavailable(String),
    /// COMMIT was sent and its answer did not arrive; the session is of no more use.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// Nothing was written, and nothing would be if it were tried again.
    #[error("{0}")]
    Broken(String),
}

/// A connection of a writer. Between [`Session::begin`] and the end of the batch it holds the locks of
/// the lanes.
pub trait Session: Send {
    /// Begins a transaction, locks the lanes' heads in ascending order and loads what is named.
    fn begin(&mut self, needs: &Needs) -> impl Future<Output = Result<Loaded, BatchError>> + Send;

    /// Writes all, or nothing, and commits.
    fn commit(&mut self, writes: &Writes) -> impl Future<Output = Result<(), BatchError>> + Send;

    /// Ends a batch that has nothing to write.
    fn rollback(&mut self) -> impl Future<Output = Result<(), BatchError>> + Send;

    /// The ids of the commands whose events stand in a lane behind a sequence. Called under the lanes'
    /// locks, so that a transaction whose outcome is unknown has ended.
    fn commands_behind(
        &mut self,
        lane: Lane,
        sequence: i64,
    ) -> impl Future<Output = Result<Vec<uuid::Uuid>, BatchError>> + Send;
}

/// Makes sessions; a writer makes a new one when it has lost its own.
pub trait Connect: Send + Sync + 'static {
    type Session: Session;
    /// As traces name the database (OpenTelemetry, `db.system.name`).
    const SYSTEM: &'static str;

    fn connect(&self) -> impl Future<Output = Result<Self::Session, BatchError>> + Send;
}
