//! Why records could not be published, by what can be done about it.

use kafka_protocol::error::ResponseError;

use super::connection::ConnectionError;

#[derive(Clone, Debug, thiserror::Error)]
pub enum ProduceError {
    #[error("{0}")]
    Failed(String),
    /// A broker or a coordinator is moving: asking again does better.
    #[error("{0}")]
    Passing(String),
    /// The transaction before is still being completed.
    #[error("{0}")]
    Concurrent(String),
    /// Another producer has the transactional id now.
    #[error("{0}")]
    Fenced(String),
    #[error("the topic {0} was made anew while it was published to")]
    TopicMadeAnew(String),
    #[error("{0}")]
    TooLarge(String),
}

impl From<ConnectionError> for ProduceError {
    fn from(error: ConnectionError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl ProduceError {
    pub(super) fn from_code(code: ResponseError, what: &str) -> Self {
        let text = format!("{what}: {code}");
        match code {
            ResponseError::ConcurrentTransactions => Self::Concurrent(text),
            ResponseError::InvalidProducerEpoch
            | ResponseError::ProducerFenced
            | ResponseError::InvalidProducerIdMapping => Self::Fenced(text),
            ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge => Self::TooLarge(text),
            code if code.is_retriable() => Self::Passing(text),
            _ => Self::Failed(text),
        }
    }

    pub(super) const fn is_passing(&self) -> bool {
        matches!(self, Self::Passing(_) | Self::Concurrent(_))
    }
}
