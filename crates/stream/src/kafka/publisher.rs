//! The relay's side of the producer: one Kafka transaction for each batch, on a thread of its own, which blocks.
//!
//! After any error the producer is of no more use: whoever owns it makes a new one and looks at what was really
//! published.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use telemetry::{metrics, metrics::KindOf};
use tokio::sync::{mpsc, oneshot};

pub use super::producer::{Extent, Extents};
use super::{
    Settings,
    producer::{ProduceError, Producer},
    record::{Outgoing, Topic},
};
use crate::relay::broker::Publish;

/// Until all records of a transaction are acknowledged, or it is given up.
const ACKS_TIMEOUT: Duration = Duration::from_secs(20);
const INIT_TIMEOUT: Duration = Duration::from_secs(30);
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
const INIT_PAUSE: Duration = Duration::from_millis(100);
/// What waits for the thread; more is not taken.
const JOBS_WAITING_MAX: usize = 1;

#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// The cluster is away, has too few replicas, or changed leaders: a new producer may do better.
    #[error("{0}")]
    Failed(String),
    /// Another producer has the transactional id now.
    #[error("another relay has taken over: {0}")]
    Fenced(String),
    #[error("the topic {0} was made anew while it was published to")]
    TopicMadeAnew(String),
    /// A record, or a batch of them, is larger than the topic takes.
    #[error("{0}")]
    TooLarge(String),
}

/// The last known offset of each topic and partition.
pub type Offsets = BTreeMap<(Topic, i32), i64>;

pub struct Publisher {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

enum Job {
    Send(Vec<Outgoing>),
    Commit { behind: Offsets, reply: oneshot::Sender<Result<LastOffsets, PublishError>> },
    Check { reply: oneshot::Sender<Result<(), PublishError>> },
}

/// Where the last record of each topic and partition lies.
pub type LastOffsets = BTreeMap<(Topic, i32), i64>;

impl Publisher {
    /// Makes a producer. When this returns, every older one with the same transactional id is fenced, and its
    /// open transaction is aborted.
    pub async fn start(settings: &Settings) -> Result<Self, PublishError> {
        let (jobs, inbox) = mpsc::channel(JOBS_WAITING_MAX);
        let (ready, is_ready) = oneshot::channel();
        let settings = settings.clone();
        let thread = thread::Builder::new()
            .name("kafka-publish".to_owned())
            .spawn(move || run(&settings, ready, inbox))
            .map_err(|error| PublishError::Failed(error.to_string()))?;
        let publisher = Self { jobs: Some(jobs), thread: Some(thread) };
        is_ready.await.unwrap_or_else(|_| Err(ended()))?;
        Ok(publisher)
    }

    async fn hand_over(&self, job: Job) -> Result<(), PublishError> {
        self.jobs.as_ref().ok_or_else(ended)?.send(job).await.map_err(|_| ended())
    }
}

impl Publish for Publisher {
    async fn send(&self, records: Vec<Outgoing>) -> Result<(), PublishError> {
        self.hand_over(Job::Send(records)).await
    }

    async fn commit(&self, behind: Offsets) -> Result<LastOffsets, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Job::Commit { behind, reply }).await?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn check_topics(&self) -> Result<(), PublishError> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Job::Check { reply }).await?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn close(mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }
}

fn ended() -> PublishError {
    PublishError::Failed("the producer has ended".to_owned())
}

fn run(
    settings: &Settings,
    ready: oneshot::Sender<Result<(), PublishError>>,
    mut inbox: mpsc::Receiver<Job>,
) {
    let deadline = Instant::now() + INIT_TIMEOUT;
    let mut producer = loop {
        match Producer::init(settings.transactions(), deadline) {
            Ok(producer) => break producer,
            // Fenced by nobody: it is the first word that this producer says.
            Err(_) if Instant::now() < deadline && !ready.is_closed() => {
                count_error();
                thread::sleep(INIT_PAUSE);
            }
            Err(error) => {
                count_error();
                return drop(ready.send(Err(error.into())));
            }
        }
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    let mut open = Open::default();
    while let Some(job) = inbox.blocking_recv() {
        match job {
            Job::Send(records) => open.send(&mut producer, &records),
            Job::Commit { behind, reply } => {
                let result = std::mem::take(&mut open).commit(&mut producer, settings, &behind);
                let has_failed = result.is_err();
                // Nobody waits any more when the relay has been stopped.
                drop(reply.send(result));
                if has_failed {
                    count_error();
                    break;
                }
            }
            Job::Check { reply } => drop(reply.send(producer.check_topics().map_err(PublishError::from))),
        }
    }
}

fn count_error() {
    metrics().kafka_client_errors.get_or_create(&KindOf { kind: "producer" }).inc();
}

/// The transaction that is being filled.
#[derive(Default)]
struct Open {
    #[cfg(debug_assertions)]
    has_begun: bool,
    failure: Option<PublishError>,
}

impl Open {
    fn send(&mut self, producer: &mut Producer, records: &[Outgoing]) {
        if self.failure.is_some() {
            return;
        }
        #[cfg(debug_assertions)]
        if !std::mem::replace(&mut self.has_begun, true) {
            crate::fail::at("relay.begun");
        }
        let now = milliseconds_now();
        let pushed = records.iter().try_for_each(|record| producer.push(record, now));
        self.failure = pushed.err().map(PublishError::from);
        #[cfg(debug_assertions)]
        crate::fail::at("relay.sent");
    }

    fn commit(
        self,
        producer: &mut Producer,
        settings: &Settings,
        behind: &Offsets,
    ) -> Result<LastOffsets, PublishError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let extents = producer.flush(Instant::now() + ACKS_TIMEOUT)?.clone();
        #[cfg(debug_assertions)]
        crate::fail::at("relay.acknowledged");
        if let Some(topic) = made_anew(&extents, behind) {
            // Nothing of it is seen by anybody: the transaction is aborted with this producer.
            return Err(PublishError::TopicMadeAnew(settings.name(topic)));
        }
        producer.commit(Instant::now() + COMMIT_TIMEOUT)?;
        #[cfg(debug_assertions)]
        crate::fail::at("relay.committed");
        Ok(last_offsets(&extents))
    }
}

impl From<ProduceError> for PublishError {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Failed(text) | ProduceError::Passing(text) | ProduceError::Concurrent(text) => {
                Self::Failed(text)
            }
            ProduceError::Fenced(text) => Self::Fenced(text),
            ProduceError::TopicMadeAnew(topic) => Self::TopicMadeAnew(topic),
            ProduceError::TooLarge(text) => Self::TooLarge(text),
        }
    }
}

/// A topic in which records do not lie behind the offsets that are known of it: it is not the one of which they are.
pub fn made_anew(extents: &Extents, behind: &Offsets) -> Option<Topic> {
    let is_before = |place, first: i64| behind.get(place).is_some_and(|known| first <= *known);
    extents.iter().find(|(place, extent)| is_before(place, extent.first)).map(|((topic, _), _)| *topic)
}

pub fn last_offsets(extents: &Extents) -> LastOffsets {
    extents.iter().map(|(place, extent)| (*place, extent.last)).collect()
}

/// The time that Kafka gives to records, for its retention.
fn milliseconds_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
