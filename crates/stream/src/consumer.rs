//! What a consumer is.

use domain::{event::Stream, lane::Lane};
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

    /// The Kafka consumer group that it belongs to. Consumers of one group share a client.
    fn group(&self) -> Group;

    /// What running it again over old events means.
    fn replay(&self) -> Replay;

    /// Handles several events, in their order. After an error, or a panic, nothing of them is kept and each
    /// is handled again by itself, so that the one that fails is found.
    fn handle<'a>(
        &'a self,
        events: &'a [LogEvent],
        transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>>;

    /// Takes back all effects in a lane, for consumers that are [`Replay::Rebuilds`].
    fn reset<'a>(
        &'a self,
        _lane: Lane,
        _transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async { Ok(()) })
    }
}

/// A consumer group, by its name in Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The one that the setting `Kafka:GroupId` names.
    Platform,
    Named(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Its effect may be repeated: a replay runs beside it, with positions of its own.
    Repeats,
    /// Its effect is made of all events: a replay takes it back and makes it anew from the beginning.
    Rebuilds,
    /// Its effect leaves the database and cannot be taken back: a replay is refused.
    Refused,
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
