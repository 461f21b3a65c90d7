//! A transactional producer that speaks Kafka's protocol itself.
//!
//! librdkafka sends one request for each partition; the broker answers them one after the other, and lets each
//! wait until it has asked the coordinator about the transaction. The relay's small transactions, over all lanes,
//! spent most of their time there. This one sends one request to each broker, whatever the number of partitions, and
//! where the cluster knows transactions of version 2 (KIP-890) the request itself adds them to the transaction.
//!
//! It is made for the relay alone. Batches that the broker sends away for a passing reason are sent again, in
//! their order, under their old sequence numbers. After anything else the producer is of no more use: a new one fences
//! it, ends its transaction, and looks at what was really published.

mod answer;
mod batch;
mod cluster;
mod connection;
mod error;
mod extent;
mod forgotten;
mod sasl;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::{
    error::{ParseResponseErrorCode as _, ResponseError},
    messages::{
        AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest,
        ProducerId as WireId, TopicName, TransactionalId,
        add_partitions_to_txn_request::AddPartitionsToTxnTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::StrBytes,
};

pub use self::{
    batch::Compression,
    connection::Security,
    error::ProduceError,
    extent::{Extent, Extents},
};
use self::{
    batch::{Building, ProducerId},
    cluster::Cluster,
};
use super::record::{Outgoing, Topic};

/// A request is sent when it holds so many bytes, before compression.
const REQUEST_BYTES: usize = 1_000_000;
/// Requests that one broker has not answered; it remembers as many batches of a partition.
const IN_FLIGHT_MAX: usize = 5;
/// How long a broker waits for its replicas.
const REPLICATION_TIMEOUT: Duration = Duration::from_secs(15);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The transaction before is still being completed; that takes a moment.
const CONCURRENT_PAUSE: Duration = Duration::from_millis(2);

const ACKS_ALL: i16 = -1;
const PRODUCE_VERSION_MAX: i16 = 13;
/// From this version on topics go by their ids.
const PRODUCE_BY_ID: i16 = 13;
/// The newest versions that do not ask for transactions of version 2.
const PRODUCE_VERSION_1: i16 = 11;
const END_VERSION_MAX: i16 = 5;
const END_VERSION_1: i16 = 4;
const INIT_VERSION_MAX: i16 = 5;
const ADD_PARTITIONS_VERSION_MAX: i16 = 3;
/// Transactions of this version number their epochs anew with every end.
const EPOCHS_BY_TRANSACTION: i16 = 2;

pub struct Config {
    pub servers: String,
    pub security: Security,
    pub transactional_id: String,
    pub transaction_timeout: Duration,
    pub compression: Compression,
    /// Records of one partition in one batch, before compression.
    pub batch_bytes_max: usize,
    /// How often a batch is sent again that was sent away for a passing reason.
    pub retries: u64,
    /// By the number of [`Topic::number`].
    pub topics: Vec<String>,
}

/// A partition of a topic.
type Place = (Topic, i32);

pub struct Producer {
    config: Config,
    cluster: Cluster,
    coordinator: i32,
    id: ProducerId,
    transaction_version: i16,
    /// The sequence number of the next batch.
    sequences: BTreeMap<Place, i32>,
    building: BTreeMap<Place, Building>,
    building_bytes: usize,
    in_flight: BTreeMap<i32, VecDeque<InFlight>>,
    /// Sent away for a passing reason.
    rejected: Vec<Sealed>,
    rejection: Option<ProduceError>,
    /// Partitions of the open transaction.
    added: BTreeSet<Place>,
    /// Where the records of the open transaction lie.
    extents: Extents,
    /// Whether the last request named topics by their ids, so that none is published to that was made anew.
    goes_by_ids: bool,
}

struct InFlight {
    version: i16,
    batches: Vec<Sealed>,
}

/// A batch as it goes over the wire.
struct Sealed {
    place: Place,
    count: i32,
    bytes: Bytes,
}

impl Producer {
    /// Fences every older producer with the transactional id and ends its open transaction, also where the coordinator has
    /// forgotten it; tried until `deadline`.
    pub fn init(config: Config, deadline: Instant) -> Result<Self, ProduceError> {
        let mut cluster = Cluster::new(&config.servers, config.security.clone(), config.topics.clone());
        cluster.refresh()?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional(&config.transactional_id)))
            .with_transaction_timeout_ms(milliseconds(config.transaction_timeout))
            .with_producer_id(WireId(-1))
            .with_producer_epoch(-1);
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let asked = cluster.coordinator(&config.transactional_id).and_then(|coordinator| {
                let connection = cluster.broker(coordinator)?;
                let answer = connection.call(&request, INIT_VERSION_MAX)?;
                if let Some(error) = answer.error_code.err() {
                    return Err(ProduceError::from_code(error, "the producer was not admitted"));
                }
                let id = ProducerId { id: answer.producer_id.0, epoch: answer.producer_epoch };
                Ok((coordinator, id, connection.transaction_version()))
            });
            match asked {
                Ok((coordinator, id, transaction_version)) => {
                    forgotten::end(&mut cluster, id);
                    return Ok(Self {
                        config,
                        cluster,
                        coordinator,
                        id,
                        transaction_version,
                        sequences: BTreeMap::new(),
                        building: BTreeMap::new(),
                        building_bytes: 0,
                        in_flight: BTreeMap::new(),
                        rejected: Vec::new(),
                        rejection: None,
                        added: BTreeSet::new(),
                        extents: Extents::new(),
                        goes_by_ids: false,
                    });
                }
                Err(error) if error.is_passing() && Instant::now() + pause < deadline => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds a record to the open transaction. It is sent when enough of them are there, or by [`Self::flush`].
    pub fn push(&mut self, record: &Outgoing, now: i64) -> Result<(), ProduceError> {
        let place = (record.topic, record.partition);
        let room = Building::room_for(record);
        let is_full = self
            .building
            .get(&place)
            .is_some_and(|building| building.bytes() + room > self.config.batch_bytes_max);
        if is_full || self.building_bytes + room > REQUEST_BYTES {
            self.send_building()?;
        }
        let building = self.building.entry(place).or_default();
        let before = building.bytes();
        building.push(record, now);
        self.building_bytes += building.bytes() - before;
        Ok(())
    }

    /// Waits until all records of the open transaction are acknowledged by all replicas in sync. Gives where they lie.
    pub fn flush(&mut self, deadline: Instant) -> Result<&Extents, ProduceError> {
        self.send_building()?;
        self.receive_all()?;
        self.send_rejected_again(deadline)?;
        if !self.goes_by_ids && !self.added.is_empty() {
            // A broker that takes names says nothing when one of them is another topic now.
            self.check_topics()?;
        }
        Ok(&self.extents)
    }

    /// Whether the topics are still those that this producer began with.
    pub fn check_topics(&mut self) -> Result<(), ProduceError> {
        self.cluster.check_topics()
    }

    /// Until what was sent away for a passing reason is there, or the attempts are used up.
    fn send_rejected_again(&mut self, deadline: Instant) -> Result<(), ProduceError> {
        let mut attempts = 0;
        let mut pause = RETRY_PAUSE_MIN;
        while !self.rejected.is_empty() {
            let rejection = self.rejection.take().unwrap_or_else(|| ProduceError::Failed(String::new()));
            if matches!(rejection, ProduceError::Concurrent(_)) {
                std::thread::sleep(CONCURRENT_PAUSE);
            } else {
                attempts += 1;
                if attempts > self.config.retries {
                    return Err(rejection);
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
                self.cluster.forget_leaders();
            }
            if Instant::now() > deadline {
                return Err(rejection);
            }
            self.send_rejected(deadline)?;
        }
        Ok(())
    }

    /// Commits what was flushed. When the answer does not come, the outcome is unknown: the next producer with this id
    /// ends the transaction one way or the other.
    pub fn commit(&mut self, deadline: Instant) -> Result<(), ProduceError> {
        if self.added.is_empty() {
            return Ok(());
        }
        let max = self.by_transaction_version(END_VERSION_1, END_VERSION_MAX);
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional(&self.config.transactional_id))
            .with_producer_id(WireId(self.id.id))
            .with_producer_epoch(self.id.epoch)
            .with_committed(true);
        let mut pause = CONCURRENT_PAUSE;
        loop {
            let answer = self.cluster.broker(self.coordinator)?.call(&request, max)?;
            let Some(code) = answer.error_code.err() else {
                if self.transaction_version >= EPOCHS_BY_TRANSACTION && answer.producer_id.0 >= 0 {
                    self.id = ProducerId { id: answer.producer_id.0, epoch: answer.producer_epoch };
                    self.sequences.clear();
                }
                break;
            };
            let error = ProduceError::from_code(code, "the transaction was not committed");
            if !error.is_passing() || Instant::now() + pause > deadline {
                return Err(error);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
            self.coordinator = self.cluster.coordinator(&self.config.transactional_id)?;
        }
        self.added.clear();
        self.extents.clear();
        Ok(())
    }

    const fn by_transaction_version(&self, first: i16, newest: i16) -> i16 {
        if self.transaction_version >= EPOCHS_BY_TRANSACTION { newest } else { first }
    }

    fn send_building(&mut self) -> Result<(), ProduceError> {
        if !self.rejected.is_empty() {
            // Nothing may overtake what was sent away.
            self.receive_all()?;
            self.send_rejected_again(Instant::now() + REPLICATION_TIMEOUT)?;
        }
        self.building_bytes = 0;
        let mut sealed = Vec::new();
        for (place, building) in std::mem::take(&mut self.building) {
            let sequence = self.sequences.entry(place).or_insert(0);
            let (bytes, count) = building
                .seal(self.config.compression, self.id, *sequence)
                .map_err(|error| ProduceError::Failed(format!("a batch could not be made: {error}")))?;
            sealed.push(Sealed { place, count, bytes: bytes.into() });
            *sequence = after(*sequence, count);
        }
        self.send(sealed, Instant::now() + RETRY_PAUSE_MAX)
    }

    /// The first batch of each partition again; those behind it come when it is there.
    fn send_rejected(&mut self, deadline: Instant) -> Result<(), ProduceError> {
        let mut rejected = std::mem::take(&mut self.rejected);
        rejected.sort_by_key(|sealed| sealed.place);
        let mut waiting: BTreeMap<Place, VecDeque<Sealed>> = BTreeMap::new();
        for sealed in rejected {
            waiting.entry(sealed.place).or_default().push_back(sealed);
        }
        while !waiting.is_empty() && self.rejected.is_empty() {
            let firsts = waiting.values_mut().filter_map(VecDeque::pop_front).collect();
            self.send(firsts, deadline)?;
            self.receive_all()?;
            waiting.retain(|_, sealed| !sealed.is_empty());
        }
        // A rejected first stays in front of those that have waited for it.
        self.rejected.extend(waiting.into_values().flatten());
        Ok(())
    }

    /// One request for each broker; one batch of a partition in each.
    fn send(&mut self, batches: Vec<Sealed>, deadline: Instant) -> Result<(), ProduceError> {
        let mut by_leader: BTreeMap<i32, Vec<Sealed>> = BTreeMap::new();
        for sealed in batches {
            let (topic, partition) = sealed.place;
            let leader = self.cluster.leader(topic.number(), partition, deadline)?;
            by_leader.entry(leader).or_default().push(sealed);
        }
        for (leader, batches) in by_leader {
            self.add_to_transaction(&batches)?;
            if self.in_flight.get(&leader).is_some_and(|waiting| waiting.len() >= IN_FLIGHT_MAX) {
                self.receive(leader)?;
            }
            let max = self.by_transaction_version(PRODUCE_VERSION_1, PRODUCE_VERSION_MAX);
            let version = self.cluster.broker(leader)?.version::<ProduceRequest>(max)?;
            self.goes_by_ids = version >= PRODUCE_BY_ID;
            let request = self.request(&batches, version);
            self.cluster.broker(leader)?.send(&request, version)?;
            self.in_flight.entry(leader).or_default().push_back(InFlight { version, batches });
        }
        Ok(())
    }

    fn request(&self, batches: &[Sealed], version: i16) -> ProduceRequest {
        let mut by_topic: BTreeMap<Topic, Vec<PartitionProduceData>> = BTreeMap::new();
        for sealed in batches {
            let (topic, partition) = sealed.place;
            let data = PartitionProduceData::default()
                .with_index(partition)
                .with_records(Some(sealed.bytes.clone()));
            by_topic.entry(topic).or_default().push(data);
        }
        let topics = by_topic.into_iter().map(|(topic, data)| {
            let named = TopicProduceData::default().with_partition_data(data);
            if version >= PRODUCE_BY_ID {
                named.with_topic_id(self.cluster.id(topic.number()))
            } else {
                named.with_name(self.name(topic))
            }
        });
        ProduceRequest::default()
            .with_transactional_id(Some(transactional(&self.config.transactional_id)))
            .with_acks(ACKS_ALL)
            .with_timeout_ms(milliseconds(REPLICATION_TIMEOUT))
            .with_topic_data(topics.collect())
    }

    /// Says which partitions belong to the transaction, where the request for them does not.
    fn add_to_transaction(&mut self, batches: &[Sealed]) -> Result<(), ProduceError> {
        let new: BTreeSet<Place> =
            batches.iter().map(|sealed| sealed.place).filter(|place| !self.added.contains(place)).collect();
        if self.transaction_version < EPOCHS_BY_TRANSACTION && !new.is_empty() {
            // Answers come in the order of requests.
            self.receive_all()?;
            let mut by_topic: BTreeMap<Topic, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in &new {
                by_topic.entry(*topic).or_default().push(*partition);
            }
            let topics = by_topic.into_iter().map(|(topic, partitions)| {
                AddPartitionsToTxnTopic::default().with_name(self.name(topic)).with_partitions(partitions)
            });
            let request = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(transactional(&self.config.transactional_id))
                .with_v3_and_below_producer_id(WireId(self.id.id))
                .with_v3_and_below_producer_epoch(self.id.epoch)
                .with_v3_and_below_topics(topics.collect());
            let deadline = Instant::now() + REPLICATION_TIMEOUT;
            while let Err(error) = self.try_add_to_transaction(&request) {
                if !error.is_passing() || Instant::now() > deadline {
                    return Err(error);
                }
                std::thread::sleep(CONCURRENT_PAUSE);
            }
        }
        self.added.extend(new);
        Ok(())
    }

    fn try_add_to_transaction(&mut self, request: &AddPartitionsToTxnRequest) -> Result<(), ProduceError> {
        let answer = self.cluster.broker(self.coordinator)?.call(request, ADD_PARTITIONS_VERSION_MAX)?;
        let results = answer.results_by_topic_v3_and_below.iter();
        let codes = results.flat_map(|topic| &topic.results_by_partition);
        for code in codes.filter_map(|partition| partition.partition_error_code.err()) {
            // Of those that were not even tried another one tells why.
            if code != ResponseError::OperationNotAttempted {
                return Err(ProduceError::from_code(code, "partitions were not added to the transaction"));
            }
        }
        Ok(())
    }

    fn name(&self, topic: Topic) -> TopicName {
        TopicName(StrBytes::from_string(self.cluster.topic(topic.number()).to_owned()))
    }
}

/// Sequence numbers begin anew behind the largest.
fn after(sequence: i32, count: i32) -> i32 {
    let next = i64::from(sequence) + i64::from(count);
    i32::try_from(next % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn sequence_numbers_go_round() {
        assert_eq!(after(0, 3), 3);
        assert_eq!(after(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(after(i32::MAX, 1), 0);
        assert_eq!(after(i32::MAX - 1, 3), 1);
    }
}
