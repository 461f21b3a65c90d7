//! Looking into Kafka, for people: which topics there are and who reads them, and what lies on them.
//!
//! Nothing that is done here changes anything: partitions are assigned, no group is joined and no offset committed. Each
//! look has a client of its own on a thread that may block, of which there are a few at once; it takes a few seconds at
//! most, looks at a bounded number of records and bytes, and says how far it came. Topics and groups of others are not
//! shown: a name must begin with the platform's prefix. What was not committed is not seen.

mod cursor;
mod filter;
mod message;
mod offsets;
mod page;
mod scan;
mod tail;
mod topics;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::{sync::Semaphore, task::JoinError, time::timeout};

pub use cursor::{Cursor, CursorError, Order};
pub use filter::Filter;
pub use message::{Avro, Header, Message};
pub use offsets::{Offsets, POSITIONS_MAX};
pub use page::{Ended, MESSAGES_A_PAGE_MAX, Page, Wanted};
pub use tail::{TAIL_MAX, Tail};
pub use topics::{Entry, Group, GroupPartition, Member, Partition, Topic};

use super::{Context, Settings, topics::drop_in_background, values::Values};

/// Looks at once in one process; each has a client with connections of its own.
const LOOKS_AT_ONCE_MAX: usize = 4;
/// Live tails at once in one process.
const TAILS_AT_ONCE_MAX: usize = 8;
/// How long a look waits for its turn.
const TURN_PATIENCE: Duration = Duration::from_secs(2);
/// How long a question to the cluster may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);
/// Until somebody leads a partition that is being moved.
const MOVING_PAUSE: Duration = Duration::from_millis(100);
/// Topics of Kafka itself.
const INTERNAL_PREFIX: &str = "__";

#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    #[error("Kafka at {servers} does not answer: {reason}")]
    Unavailable { servers: String, reason: String },
    #[error("there is no topic {0}")]
    UnknownTopic(String),
    #[error("the topic {topic} has no partition {partition}")]
    UnknownPartition { topic: String, partition: i32 },
    #[error("the platform's user may not read the topic {0}")]
    NotAllowed(String),
    #[error("the cursor is of a list in the other order")]
    OtherOrder,
    /// Try again in a moment.
    #[error("too many look into Kafka at this moment")]
    Busy,
    #[error("the look into Kafka was cut off: {0}")]
    Cut(#[from] JoinError),
}

/// Somebody who looks. Clones share the limits.
#[derive(Clone)]
pub struct Browser {
    settings: Settings,
    values: Values,
    looks: Arc<Semaphore>,
    tails: Arc<Semaphore>,
}

impl Browser {
    pub fn new(settings: Settings, values: Values) -> Self {
        let (looks, tails) = (Semaphore::new(LOOKS_AT_ONCE_MAX), Semaphore::new(TAILS_AT_ONCE_MAX));
        Self { settings, values, looks: Arc::new(looks), tails: Arc::new(tails) }
    }

    /// Runs what blocks on a thread that may, when it is its turn.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Settings) -> Result<T, BrowseError> + Send + 'static,
    ) -> Result<T, BrowseError> {
        let turn = timeout(TURN_PATIENCE, self.looks.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| BrowseError::Busy)?.map_err(|_| BrowseError::Busy)?;
        let settings = self.settings.clone();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&settings)
        })
        .await?
    }
}

/// Whether a name is the platform's own.
fn is_shown(settings: &Settings, name: &str) -> bool {
    name.starts_with(&settings.prefix) && !name.starts_with(INTERNAL_PREFIX)
}

fn unavailable(settings: &Settings, error: &KafkaError) -> BrowseError {
    let reason = match error.rdkafka_error_code() {
        // What librdkafka says of a cluster that is away tells people little.
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::AllBrokersDown,
        ) => format!("no broker could be reached within {} seconds", ANSWER_PATIENCE.as_secs()),
        _ => error.to_string(),
    };
    BrowseError::Unavailable { servers: settings.bootstrap_servers.clone(), reason }
}

/// A client that reads without a group, and goes without keeping anybody waiting.
struct Client(Option<BaseConsumer<Context>>);

impl Client {
    fn new(settings: &Settings, further: &[(&str, &str)]) -> Result<Self, BrowseError> {
        let mut config = settings.reader();
        for (key, value) in further {
            config.set(*key, *value);
        }
        let client = config.create_with_context(Context).map_err(|error| unavailable(settings, &error))?;
        Ok(Self(Some(client)))
    }

    fn get(&self) -> &BaseConsumer<Context> {
        self.0.as_ref().expect("the client is there until it is dropped")
    }

    /// The partitions of a topic.
    fn partitions(&self, settings: &Settings, topic: &str) -> Result<Vec<i32>, BrowseError> {
        let unknown = || BrowseError::UnknownTopic(topic.to_owned());
        if !is_shown(settings, topic) {
            return Err(unknown());
        }
        let metadata = self.get().fetch_metadata(Some(topic), ANSWER_PATIENCE);
        let metadata = metadata.map_err(|error| unavailable(settings, &error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or_else(unknown)?;
        match found.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err(BrowseError::NotAllowed(topic.to_owned()));
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Err(unknown());
            }
            Some(code) => {
                return Err(BrowseError::Unavailable {
                    servers: settings.bootstrap_servers.clone(),
                    reason: code.to_string(),
                });
            }
        }
        Ok(found.partitions().iter().map(|partition| partition.id()).collect())
    }

    /// An offset of each partition: its beginning, its end, or the first one that is not earlier than a time, in
    /// milliseconds. Without those of which none could be found out.
    fn offsets(&self, places: &[(&str, i32)], at: Offset) -> Result<Vec<Option<i64>>, KafkaError> {
        let mut asked = TopicPartitionList::with_capacity(places.len());
        for (topic, partition) in places {
            asked.add_partition(topic, *partition);
        }
        asked.set_all_offsets(at)?;
        let until = Instant::now() + ANSWER_PATIENCE;
        let found = loop {
            match self.get().offsets_for_times(asked.clone(), ANSWER_PATIENCE) {
                // Of a topic that is new, or whose broker has just gone: the client asks who leads it by now.
                Err(error) if is_moving(&error) && Instant::now() < until => thread::sleep(MOVING_PAUSE),
                answered => break answered?,
            }
        };
        let offset = |(topic, partition): &(&str, i32)| {
            let element = found.find_partition(topic, *partition)?;
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => Some(offset),
                // There is nothing later.
                _ => None,
            }
        };
        Ok(places.iter().map(offset).collect())
    }
}

/// Whether partitions have no leader at the moment, or another one than the client believes.
fn is_moving(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition};
    matches!(error.rdkafka_error_code(), Some(LeaderNotAvailable | NotLeaderForPartition))
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop_in_background(client);
        }
    }
}
