//! Schemas of a registry, made ready for writing and reading events, each asked for once.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use futures_util::future::try_join_all;
use schema::{
    catalogue::{CATALOGUE, Entry},
    codec::{BodyError, Codec},
    frame::{self, FrameError, SchemaId},
};

use tokio::time::Instant;

use crate::{RegistryError, Source, subject};

/// Of the catalogue, in its order.
static CODECS: LazyLock<Vec<Codec>> = LazyLock::new(|| {
    let codec = |entry: &Entry| Codec::parse(entry.avro).expect("the schemas of the catalogue are tested");
    CATALOGUE.iter().map(codec).collect()
});

/// Far more than a platform has; when a topic brings more, they are asked for again.
const CODECS_KEPT_MAX: usize = 1000;
const ASK_AGAIN_PAUSE: Duration = Duration::from_secs(1);

/// Shared by all that read.
#[derive(Clone)]
pub struct Codecs {
    source: Arc<dyn Source>,
    kept: Arc<RwLock<Kept>>,
}

/// What was asked for. A schema never changes under its id.
#[derive(Default)]
struct Kept {
    codecs: HashMap<SchemaId, Arc<Codec>>,
    writers: Option<Writers>,
    /// When the registry did not answer, and what was said of that.
    away: Option<(Instant, RegistryError)>,
}

/// Why a value could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    #[error("its value is not in the format of the registry: {0}")]
    Frame(#[from] FrameError),
    #[error("the registry has no schema with the id {0}")]
    UnknownSchema(SchemaId),
    #[error("the schema with the id {id} is not an event's: {reason}")]
    NotAnEvent { id: SchemaId, reason: String },
    #[error("its value is not what the schema with the id {id} says: {source}")]
    Body { id: SchemaId, source: BodyError },
    /// It may be known later: nothing is wrong with the value.
    #[error(transparent)]
    Registry(RegistryError),
}

impl ReadError {
    /// Whether it is trouble that passes, and not the value's own.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Registry(_))
    }
}

/// An event that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The name of the schema's record.
    pub event_type: String,
    pub json: String,
}

impl Codecs {
    pub fn new(source: Arc<dyn Source>) -> Self {
        Self { source, kept: Arc::default() }
    }

    /// The JSON of a value that a registry's serializer wrote.
    pub async fn read(&self, value: &[u8]) -> Result<Read, ReadError> {
        let (id, body) = frame::open(value)?;
        let codec = self.codec(id).await?;
        let json = codec.read(body).map_err(|source| ReadError::Body { id, source })?;
        Ok(Read { event_type: codec.name().to_owned(), json })
    }

    fn kept(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn codec(&self, id: SchemaId) -> Result<Arc<Codec>, ReadError> {
        if let Some(codec) = self.kept().codecs.get(&id) {
            return Ok(codec.clone());
        }
        let text = self.text(id).await.map_err(ReadError::Registry)?;
        let text = text.ok_or(ReadError::UnknownSchema(id))?;
        let codec =
            Codec::parse(&text).map_err(|error| ReadError::NotAnEvent { id, reason: error.to_string() })?;
        let codec = Arc::new(codec);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.codecs.len() >= CODECS_KEPT_MAX {
            kept.codecs.clear();
        }
        kept.codecs.insert(id, codec.clone());
        Ok(codec)
    }

    /// A registry that does not answer is not asked again at once: whoever waits for one record would keep all others
    /// waiting.
    async fn text(&self, id: SchemaId) -> Result<Option<String>, RegistryError> {
        if let Some((at, error)) = &self.kept().away
            && at.elapsed() < ASK_AGAIN_PAUSE
        {
            return Err(error.clone());
        }
        let answer = self.source.schema(id).await;
        let away = answer.as_ref().err().map(|error| (Instant::now(), error.clone()));
        self.kept.write().unwrap_or_else(PoisonError::into_inner).away = away;
        answer
    }

    /// What writes each event, with the ids that the registry has for its schemas, which are asked for once. Nothing is
    /// registered: that is a step of a deployment.
    pub async fn writers(
        &self,
        topic: impl Fn(domain::event::Stream) -> String,
    ) -> Result<Writers, RegistryError> {
        if let Some(writers) = &self.kept().writers {
            return Ok(writers.clone());
        }
        let ids = CATALOGUE.iter().map(|entry| {
            let subject = subject(&topic(entry.stream), entry);
            async move {
                self.source.id(&subject, entry.avro).await?.ok_or(RegistryError::NotRegistered {
                    subject,
                    event_type: entry.event_type,
                    version: entry.version,
                })
            }
        });
        let writers = Writers { ids: try_join_all(ids).await?.into() };
        self.kept.write().unwrap_or_else(PoisonError::into_inner).writers = Some(writers.clone());
        Ok(writers)
    }
}

/// Writes events by the schemas of the catalogue.
#[derive(Clone, Debug)]
pub struct Writers {
    /// In the order of the catalogue.
    ids: Arc<[SchemaId]>,
}

impl Writers {
    /// The event as a registry's serializer would write it; none, where it would not be read again to the byte: the chain
    /// of hashes is sealed over the JSON.
    pub fn write(&self, event_type: &str, version: u16, json: &str) -> Option<Vec<u8>> {
        let is_it = |entry: &Entry| entry.event_type == event_type && entry.version == version;
        let place = CATALOGUE.iter().position(is_it)?;
        let (id, codec) = (self.ids.get(place)?, CODECS.get(place)?);
        let mut value = Vec::with_capacity(json.len() / 2);
        value.extend_from_slice(&frame::header(*id));
        codec.write(json, &mut value).ok()?;
        let read = codec.read(&value[frame::HEADER_BYTES..]).ok()?;
        (read == json).then_some(value)
    }
}
