//! The relay's producer: one Kafka transaction for each batch, on a thread of its own.
//!
//! The thread polls in steps of a millisecond until nothing is in flight, and commits then: `flush`, and a
//! producer that polls by itself, wait a tenth of a second in front of every commit. After any error the
//! producer is of no more use: whoever owns it makes a new one and looks at what was really published.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Message as _},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Context, Settings,
    record::{Outgoing, Topic},
};

/// Until all records of a transaction are acknowledged, or it is given up.
const ACKS_TIMEOUT: Duration = Duration::from_secs(30);
const INIT_TIMEOUT: Duration = Duration::from_secs(30);
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_STEP: Duration = Duration::from_millis(1);
/// Delivery reports are taken in after so many records.
const SENDS_BETWEEN_POLLS: usize = 1000;
/// Batches that wait for the thread.
const BATCHES_WAITING_MAX: usize = 1;

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

/// Where the last record of each topic and partition lies.
pub type LastOffsets = Vec<((Topic, i32), i64)>;

pub struct Publisher {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Job {
    records: Vec<Outgoing>,
    behind: Offsets,
    reply: oneshot::Sender<Result<LastOffsets, PublishError>>,
}

impl Publisher {
    /// Makes a producer. When this returns, every older one with the same transactional id is fenced, and its
    /// open transaction is aborted.
    pub async fn start(settings: &Settings) -> Result<Self, PublishError> {
        let (jobs, inbox) = mpsc::channel(BATCHES_WAITING_MAX);
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

    /// Hands a batch over, to be published in one transaction in its order; nothing of it unless its records come to
    /// lie behind the offsets that are known.
    pub async fn publish(
        &self,
        records: Vec<Outgoing>,
        behind: Offsets,
    ) -> Result<oneshot::Receiver<Result<LastOffsets, PublishError>>, PublishError> {
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(Job { records, behind, reply }).await.map_err(|_| ended())?;
        Ok(answer)
    }

    /// Waits until the producer is gone.
    pub async fn close(mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }
}

pub fn ended() -> PublishError {
    PublishError::Failed("the producer has ended".to_owned())
}

fn run(
    settings: &Settings,
    ready: oneshot::Sender<Result<(), PublishError>>,
    mut inbox: mpsc::Receiver<Job>,
) {
    let config = settings.producer(&settings.transactional_id());
    let names = Names::new(settings);
    let producer: BaseProducer<Deliveries> = match config.create_with_context(Deliveries::default()) {
        Ok(producer) => producer,
        Err(error) => return drop(ready.send(Err(PublishError::Failed(error.to_string())))),
    };
    let deadline = Instant::now() + INIT_TIMEOUT;
    loop {
        match producer.init_transactions(deadline.saturating_duration_since(Instant::now())) {
            Ok(()) => break,
            Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {}
            Err(error) => return drop(ready.send(Err(failure(error)))),
        }
        if ready.is_closed() {
            return;
        }
    }
    if ready.send(Ok(())).is_err() {
        return;
    }
    while let Some(Job { records, behind, reply }) = inbox.blocking_recv() {
        let result = transaction(&producer, &names, records, &behind);
        let failed = result.is_err();
        drop(reply.send(result));
        if failed {
            break;
        }
    }
}

struct Names {
    streams: [String; 3],
    dead_letters: String,
}

impl Names {
    fn new(settings: &Settings) -> Self {
        Self {
            streams: domain::event::Stream::ALL.map(|stream| settings.topic(stream)),
            dead_letters: settings.dead_letter_topic(),
        }
    }

    fn of(&self, topic: Topic) -> &str {
        match topic {
            Topic::Stream(stream) => &self.streams[stream.index()],
            Topic::DeadLetters => &self.dead_letters,
        }
    }
}

fn transaction(
    producer: &BaseProducer<Deliveries>,
    names: &Names,
    records: Vec<Outgoing>,
    behind: &Offsets,
) -> Result<LastOffsets, PublishError> {
    let deliveries = producer.context().clone();
    deliveries.begin();
    producer.begin_transaction().map_err(failure)?;
    #[cfg(debug_assertions)]
    crate::fail::at("relay.begun");
    let mut places: Vec<(Topic, i32)> = Vec::new();
    for (number, record) in records.into_iter().enumerate() {
        let place = (record.topic, record.partition);
        // Records come sorted by place, so the one before is nearly always the same.
        let index = match places.iter().rposition(|known| *known == place) {
            Some(index) => index,
            None => {
                places.push(place);
                places.len() - 1
            }
        };
        send(producer, names.of(record.topic), record, index)?;
        if number % SENDS_BETWEEN_POLLS == SENDS_BETWEEN_POLLS - 1 {
            producer.poll(Duration::ZERO);
        }
    }
    #[cfg(debug_assertions)]
    crate::fail::at("relay.sent");
    let deadline = Instant::now() + ACKS_TIMEOUT;
    while producer.in_flight_count() > 0 {
        producer.poll(POLL_STEP);
        if let Some(error) = deliveries.failure() {
            return Err(error);
        }
        if Instant::now() > deadline {
            return Err(PublishError::Failed(format!(
                "records were not acknowledged within {} s",
                ACKS_TIMEOUT.as_secs()
            )));
        }
    }
    if let Some(error) = deliveries.failure() {
        return Err(error);
    }
    #[cfg(debug_assertions)]
    crate::fail::at("relay.acknowledged");
    let offsets = deliveries.offsets();
    let last: LastOffsets = places.into_iter().zip(offsets).collect();
    for ((topic, partition), offset) in &last {
        if behind.get(&(*topic, *partition)).is_some_and(|known| offset <= known) {
            // Nothing of it is seen by anybody: the transaction is aborted with this producer.
            return Err(PublishError::TopicMadeAnew(names.of(*topic).to_owned()));
        }
    }
    commit(producer)?;
    #[cfg(debug_assertions)]
    crate::fail::at("relay.committed");
    Ok(last)
}

fn send(
    producer: &BaseProducer<Deliveries>,
    topic: &str,
    outgoing: Outgoing,
    index: usize,
) -> Result<(), PublishError> {
    let Outgoing { partition, key, value, headers, .. } = outgoing;
    let mut record = BaseRecord::with_opaque_to(topic, index).partition(partition).key(&key).headers(headers);
    if let Some(value) = &value {
        record = record.payload(value);
    }
    let deadline = Instant::now() + ACKS_TIMEOUT;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            // The queue is full: what is in it leaves it as it is acknowledged.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), rejected))
                if Instant::now() < deadline =>
            {
                producer.poll(POLL_STEP);
                record = rejected;
            }
            Err((error, _)) => return Err(failure(error)),
        }
    }
}

/// The answer to a commit may be lost; asking again is safe as long as the error says so.
fn commit(producer: &BaseProducer<Deliveries>) -> Result<(), PublishError> {
    let deadline = Instant::now() + COMMIT_TIMEOUT;
    loop {
        match producer.commit_transaction(deadline.saturating_duration_since(Instant::now())) {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {}
            Err(error) => return Err(failure(error)),
        }
    }
}

fn failure(error: KafkaError) -> PublishError {
    let code = match &error {
        KafkaError::Transaction(error) => Some(error.code()),
        error => error.rdkafka_error_code(),
    };
    classify(code, error.to_string())
}

fn classify(code: Option<RDKafkaErrorCode>, text: String) -> PublishError {
    match code {
        Some(
            RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch,
        ) => PublishError::Fenced(text),
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            PublishError::TooLarge(text)
        }
        _ => PublishError::Failed(text),
    }
}

/// What was reported about the records of one transaction.
#[derive(Default)]
struct Deliveries {
    reported: Arc<Mutex<Reported>>,
}

#[derive(Default)]
struct Reported {
    /// By the number of the place within the transaction.
    offsets: Vec<i64>,
    failure: Option<PublishError>,
}

impl Deliveries {
    fn begin(&self) {
        *self.reported.lock().unwrap_or_else(PoisonError::into_inner) = Reported::default();
    }

    fn failure(&self) -> Option<PublishError> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).failure.clone()
    }

    fn offsets(&self) -> Vec<i64> {
        std::mem::take(&mut self.reported.lock().unwrap_or_else(PoisonError::into_inner).offsets)
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Context.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => {
                if reported.offsets.len() <= place {
                    reported.offsets.resize(place + 1, -1);
                }
                reported.offsets[place] = reported.offsets[place].max(message.offset());
            }
            Err((error, _)) => {
                reported.failure.get_or_insert_with(|| failure(error.clone()));
            }
        }
    }
}
