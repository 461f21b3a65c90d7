//! The values of records: the JSON of an event as the log holds it, or the same in Avro by the schema that a registry has
//! under an id. Whatever is written, both are read: a topic may hold both while a deployment changes from one to the other.

use domain::event::Stream;
use registry::{Codecs, ReadError, RegistryError, Writers};
use store::batch::LogEvent;

/// How values are written and read.
#[derive(Clone)]
pub struct Values {
    codecs: Codecs,
    is_avro: bool,
}

/// What values are written in.
#[derive(Clone)]
pub enum Format {
    Json,
    Avro(Writers),
}

/// Why a value is not that of its event.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ValueError {
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    #[error("its value is a {found} by its schema, and a {expected} by its headers")]
    OtherEvent { found: String, expected: String },
}

impl ValueError {
    /// Whether the registry was away: nothing is wrong with the value.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.may_pass())
    }
}

impl Values {
    pub const fn new(codecs: Codecs, is_avro: bool) -> Self {
        Self { codecs, is_avro }
    }

    /// What events are written in from now on. In Avro every schema must be registered; its id is asked for now, and not
    /// again.
    pub async fn format(&self, topic: impl Fn(Stream) -> String) -> Result<Format, RegistryError> {
        if self.is_avro { self.codecs.writers(topic).await.map(Format::Avro) } else { Ok(Format::Json) }
    }

    /// Whatever a registry's serializer wrote, for people.
    pub(super) async fn decode(&self, value: &[u8]) -> Result<registry::Read, ReadError> {
        self.codecs.read(value).await
    }

    /// An event, all of which is known but its payload, from its value in Avro.
    pub async fn read(&self, event: &LogEvent, value: &[u8]) -> Result<LogEvent, ValueError> {
        let read = self.codecs.read(value).await?;
        if read.event_type != event.event_type {
            let expected = event.event_type.clone();
            return Err(ValueError::OtherEvent { found: read.event_type, expected });
        }
        Ok(LogEvent { payload: read.json, ..event.clone() })
    }
}
