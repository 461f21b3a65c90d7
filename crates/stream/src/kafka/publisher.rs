//! The relay's producer: one Kafka transaction for each batch, on a thread of its own.
//!
//! The thread looks at the delivery reports until nothing is in flight, and commits then: `flush`, and a producer
//! that polls by itself, wait a tenth of a second in front of every commit. It sleeps by itself between two looks:
//! `poll` with a wait of less than two milliseconds spins until that is over. After any error the
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
const ACKS_TIMEOUT: Duration = Duration::from_secs(20);
const INIT_TIMEOUT: Duration = Duration::from_secs(30);
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at the delivery reports.
const POLL_PAUSE: Duration = Duration::from_micros(300);
/// Delivery reports are taken in after so many records.
const SENDS_BETWEEN_POLLS: usize = 1000;
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
}

/// Where the last record of each topic and partition lies.
pub type LastOffsets = Vec<((Topic, i32), i64)>;

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

    /// Hands records over, in their order; they belong to the transaction that the next commit ends. What goes wrong
    /// with them is told by the commit.
    pub async fn send(&self, records: Vec<Outgoing>) -> Result<(), PublishError> {
        self.hand_over(Job::Send(records)).await
    }

    /// Commits what was handed over; nothing of it unless all records lie behind the offsets that are known.
    pub async fn commit(&self, behind: Offsets) -> Result<LastOffsets, PublishError> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Job::Commit { behind, reply }).await?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn hand_over(&self, job: Job) -> Result<(), PublishError> {
        self.jobs.as_ref().ok_or_else(ended)?.send(job).await.map_err(|_| ended())
    }

    /// Waits until the producer is gone.
    pub async fn close(mut self) {
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
    let mut open = Open::default();
    while let Some(job) = inbox.blocking_recv() {
        match job {
            Job::Send(records) => open.send(&producer, &names, records),
            Job::Commit { behind, reply } => {
                let result = std::mem::take(&mut open).commit(&producer, &names, &behind);
                let has_failed = result.is_err();
                drop(reply.send(result));
                if has_failed {
                    break;
                }
            }
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

/// The transaction that is being filled.
#[derive(Default)]
struct Open {
    has_begun: bool,
    places: Vec<(Topic, i32)>,
    failure: Option<PublishError>,
}

impl Open {
    fn send(&mut self, producer: &BaseProducer<Deliveries>, names: &Names, records: Vec<Outgoing>) {
        if self.failure.is_none() {
            self.failure = self.try_send(producer, names, records).err();
        }
    }

    fn try_send(
        &mut self,
        producer: &BaseProducer<Deliveries>,
        names: &Names,
        records: Vec<Outgoing>,
    ) -> Result<(), PublishError> {
        if !self.has_begun {
            producer.context().begin();
            producer.begin_transaction().map_err(failure)?;
            self.has_begun = true;
            #[cfg(debug_assertions)]
            crate::fail::at("relay.begun");
        }
        for (number, record) in records.into_iter().enumerate() {
            let place = (record.topic, record.partition);
            let index = self.index(place);
            send(producer, names.of(record.topic), record, index)?;
            if number % SENDS_BETWEEN_POLLS == SENDS_BETWEEN_POLLS - 1 {
                take_reports(producer);
            }
        }
        #[cfg(debug_assertions)]
        crate::fail::at("relay.sent");
        Ok(())
    }

    /// Records come sorted by place, so the one before is nearly always the same.
    fn index(&mut self, place: (Topic, i32)) -> usize {
        self.places.iter().rposition(|known| *known == place).unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        })
    }

    fn commit(
        self,
        producer: &BaseProducer<Deliveries>,
        names: &Names,
        behind: &Offsets,
    ) -> Result<LastOffsets, PublishError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let deliveries = producer.context();
        let handed_over = Instant::now();
        while !take_reports(producer) {
            thread::sleep(POLL_PAUSE);
            if let Some(error) = deliveries.failure() {
                return Err(error);
            }
            if handed_over.elapsed() > ACKS_TIMEOUT {
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
        let last: LastOffsets = self.places.into_iter().zip(deliveries.offsets()).collect();
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
}

/// Takes in the delivery reports that are there; gives whether nothing is in flight any more.
fn take_reports(producer: &BaseProducer<Deliveries>) -> bool {
    loop {
        let before = producer.in_flight_count();
        producer.poll(Duration::ZERO);
        let now = producer.in_flight_count();
        if now == 0 || now == before {
            return now == 0;
        }
    }
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
                take_reports(producer);
                thread::sleep(POLL_PAUSE);
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
            RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch,
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
