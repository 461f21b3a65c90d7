//! What a consumer is.

use domain::event::Stream;
use futures_util::future::BoxFuture;
use store::{batch::LogEvent, error::ReadError, sql::Transaction};

/// A named reader of streams, with an effect.
///
/// Events of one lane arrive in order. What the handler writes goes into the transaction that it is
/// given, which also stores the consumer's position: effect and position are durable together or not at
/// all, so the effect happens once for each event.
pub trait Consumer: Send + Sync + 'static {
    /// Unique, and stable over versions: positions are stored under it.
    fn name(&self) -> &'static str;

    fn streams(&self) -> &'static [Stream];

    fn handle<'a>(
        &'a self,
        event: &'a LogEvent,
        transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>>;
}

/// Why an event was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// Something that the consumer needs is away: wait and try again, for as long as it takes.
    #[error("{0}")]
    Transient(String),
    /// The event itself is the trouble. After the configured attempts it becomes a dead letter.
    #[error("{0}")]
    Poison(String),
}

impl From<ReadError> for HandleError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(reason) => Self::Transient(reason),
            ReadError::Invalid(reason) => Self::Poison(reason),
        }
    }
}
