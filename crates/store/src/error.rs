//! What can go wrong below the API, by what the caller can do about it.

use domain::refusal::Refusal;

/// Why a command has no outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The domain said no. Nothing was changed, and nothing is kept for the idempotency key.
    #[error("{0}")]
    Refused(Refusal),
    /// The idempotency key was used for another request. Nothing was changed.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// The lane's queue is full. Nothing was changed; try again in a moment.
    #[error("the queue of the merchant's lane is full")]
    Busy,
    /// The database is away, full or restarting. Nothing was changed; try again.
    #[error("the database is not available")]
    Unavailable,
    /// The connection broke at COMMIT and the outcome could not be found out in time. Trying again
    /// with the same idempotency key is safe.
    #[error("the database went away while the change was being committed")]
    OutcomeUnknown,
    /// A table or the log is not what it was: see the log. Nothing was changed.
    #[error("an internal invariant is broken")]
    Broken,
}

/// Why a read, or a consumer's transaction, failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// Worth trying again: no connection, restart, time-out, full disk.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A statement or a row that is wrong, and stays wrong.
    #[error("{0}")]
    Invalid(String),
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open the database at {location}: {reason}")]
    Connect { location: String, reason: String },
    #[error("migration {number} ({name}) failed: {reason}")]
    Migration { number: i64, name: String, reason: String },
    #[error(
        "migration {number} ({name}) was applied with another content than this program holds; \
         run the program that matches the database, or restore it"
    )]
    MigrationChanged { number: i64, name: String },
    #[error(
        "the database has migration {number}, which this program does not know; \
         it was written by a newer version: run that one"
    )]
    DatabaseNewer { number: i64 },
    #[error(
        "the database was initialised with {stored} lanes and Ledger:Lanes asks for {wanted}; \
         lanes cannot be changed afterwards: set Ledger:Lanes to {stored}"
    )]
    Lanes { stored: u16, wanted: u16 },
    #[error("{0}")]
    Read(#[from] ReadError),
}
