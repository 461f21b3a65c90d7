//! Kafka as a process of the simulation sees it: the relay's side and the consumers' side.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::event::Stream;
use rdkafka::{Timestamp, message::OwnedMessage};
use store::{
    Store,
    fault::{self, Fault},
};
use stream::{
    kafka::{
        ends::{self, End, EndsError, Letters, Noted, Partitions, Record, Start},
        publisher::{Extent, Extents, LastOffsets, Offsets, PublishError, last_offsets, made_anew},
        record::{Outgoing, Topic},
        session::{Change, Client, Polled},
        slot::Item,
        topics::{Checked, TopicError},
    },
    position::{self, Place},
    relay::broker::{Broker, Publish},
};
use tokio::time::Instant;

use crate::{
    chaos::{Chaos, Commit, Machine, latency},
    kafka::Kafka,
};

const AWAY: &str = "Kafka is away";
const LOST: &str = "the connection to Kafka broke";
/// Small enough that every history has claim checks in it.
const MESSAGE_BYTES_MAX: usize = 700;
const FETCH_MAX: usize = 4;

#[derive(Clone)]
pub struct Connection {
    pub kafka: Arc<Kafka>,
    pub chaos: Arc<Chaos>,
    pub machine: Arc<Machine>,
}

impl Connection {
    pub async fn reach(&self) -> Result<(), String> {
        self.machine.pass().await;
        latency().await;
        if self.chaos.has_kafka() { Ok(()) } else { Err(AWAY.to_owned()) }
    }
}

impl Broker for Connection {
    type Publisher = Producer;

    fn topic(&self, stream: Stream) -> String {
        stream.name().to_owned()
    }

    async fn ensure_topics(&self, _: u16) -> Result<Checked, TopicError> {
        let away = |reason| TopicError::Unavailable { servers: "the simulation".to_owned(), reason };
        self.reach().await.map_err(away)?;
        Ok(Checked::default())
    }

    fn limit_message_bytes(&mut self, _: Option<usize>) {}

    fn message_bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX
    }

    async fn publisher(&self) -> Result<Producer, PublishError> {
        self.reach().await.map_err(PublishError::Failed)?;
        let epoch = self.kafka.begin_producer();
        let topics = self.kafka.incarnations();
        Ok(Producer { connection: self.clone(), epoch, topics, open: Mutex::default() })
    }

    async fn ends(
        &self,
        lanes: u16,
        noted: BTreeMap<Place, Noted>,
    ) -> Result<BTreeMap<Place, End>, EndsError> {
        self.reach().await.map_err(EndsError::Unavailable)?;
        ends::find(&View(&self.kafka), lanes, &noted)
    }

    async fn letters(&self, lanes: u16, noted: BTreeMap<i32, i64>) -> Result<Letters, EndsError> {
        self.reach().await.map_err(EndsError::Unavailable)?;
        ends::find_letters(&View(&self.kafka), lanes, &noted)
    }
}

/// The topics in one moment.
struct View<'a>(&'a Kafka);

impl Partitions for View<'_> {
    fn wait_for_open_transactions(&self, topic: Topic, lanes: u16) -> Result<(), EndsError> {
        let held_up = (0..i32::from(lanes)).find(|partition| self.0.is_held_up(topic, *partition));
        match held_up.filter(|_| !fault::is_on(Fault::ReadUncommitted)) {
            Some(partition) => Err(EndsError::OpenTransaction { topic: format!("{topic:?}"), partition }),
            None => Ok(()),
        }
    }

    fn bounds(&self, topic: Topic, partition: i32) -> Result<(i64, i64), EndsError> {
        let (low, end) = self.0.bounds(topic, partition);
        let uncommitted = fault::is_on(Fault::ReadUncommitted);
        Ok((low, if uncommitted { self.0.high(topic, partition) } else { end }))
    }

    fn read_to_end(
        &self,
        topic: Topic,
        starts: &[Start],
        each: &mut dyn FnMut(Record),
    ) -> Result<(), EndsError> {
        for Start { partition, from, .. } in starts {
            for (offset, stored) in
                self.0.read_with(topic, *partition, *from, fault::is_on(Fault::ReadUncommitted))
            {
                let at = (*partition, offset);
                each(Record::new(topic, at, Some(&stored.key), Some(&stored.headers)));
            }
        }
        Ok(())
    }
}

pub struct Producer {
    connection: Connection,
    epoch: u64,
    /// Which topics it began with.
    topics: BTreeMap<Topic, u64>,
    open: Mutex<Open>,
}

/// The transaction that is being filled.
#[derive(Default)]
struct Open {
    transaction: Option<u64>,
    extents: Extents,
    failure: Option<PublishError>,
}

impl Producer {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer {
    fn check(&self) -> Result<(), PublishError> {
        if self.connection.kafka.incarnations() == self.topics { Ok(()) } else { Err(of_another_topic()) }
    }
}

fn of_another_topic() -> PublishError {
    PublishError::TopicMadeAnew("of the simulation".to_owned())
}

fn fenced() -> PublishError {
    PublishError::Fenced("its epoch is over".to_owned())
}

impl Publish for Producer {
    async fn send(&self, records: Vec<Outgoing>) -> Result<(), PublishError> {
        let reached = self.connection.reach().await;
        let mut open = self.open();
        let Open { transaction, extents, failure } = &mut *open;
        if let Err(reason) = reached {
            *failure = Some(PublishError::Failed(reason));
        }
        if failure.is_none() {
            match self.connection.kafka.append(self.epoch, transaction, &records) {
                Ok(offsets) => {
                    for (at, offset) in offsets {
                        let record = Extent { first: offset, last: offset };
                        extents.entry(at).or_insert(record).add(record);
                    }
                }
                Err(_) => *failure = Some(fenced()),
            }
        }
        Ok(())
    }

    async fn commit(&self, behind: Offsets) -> Result<LastOffsets, PublishError> {
        self.connection.reach().await.map_err(PublishError::Failed)?;
        let Open { transaction, extents, failure } = std::mem::take(&mut *self.open());
        if let Some(failure) = failure {
            return Err(failure);
        }
        if made_anew(&extents, &behind).is_some() {
            return Err(of_another_topic());
        }
        // By their ids topics are told apart when they are written to, by their names only now.
        if !extents.is_empty() {
            self.check()?;
        }
        let commit = self.connection.chaos.publish();
        if commit == Commit::Lost {
            return Err(PublishError::Failed(LOST.to_owned()));
        }
        if let Some(transaction) = transaction {
            self.connection.kafka.commit(self.epoch, transaction).map_err(|_| fenced())?;
        }
        if commit == Commit::AnswerLost {
            return Err(PublishError::Failed(LOST.to_owned()));
        }
        latency().await;
        self.connection.machine.pass().await;
        Ok(last_offsets(&extents))
    }

    async fn check_topics(&self) -> Result<(), PublishError> {
        self.connection.reach().await.map_err(PublishError::Failed)?;
        self.check()
    }

    async fn close(self) {}
}

/// A member of a consumer group.
pub struct Member {
    connection: Connection,
    store: Store,
    group: String,
    consumers: Vec<(&'static str, &'static [Stream])>,
    id: u64,
    places: BTreeMap<Place, Reading>,
    changes: VecDeque<Change>,
    handled: BTreeMap<Place, i64>,
}

struct Reading {
    /// The next offset to read.
    next: i64,
    is_held: bool,
    was_at_end: bool,
}

impl Member {
    pub fn join(
        connection: Connection,
        store: Store,
        group: String,
        consumers: Vec<(&'static str, &'static [Stream])>,
    ) -> Self {
        let id = connection.kafka.join(&group);
        Self {
            connection,
            store,
            group,
            consumers,
            id,
            places: BTreeMap::new(),
            changes: VecDeque::new(),
            handled: BTreeMap::new(),
        }
    }

    pub fn leave(self) {
        self.connection.kafka.leave(&self.group, self.id);
    }

    /// Hears from the group, and takes over or gives away.
    async fn coordinate(&mut self) {
        let kafka = self.connection.kafka.clone();
        let owned: BTreeSet<Place> = self.places.keys().copied().collect();
        let assignment = kafka.heartbeat(&self.group, self.id, &owned);
        if assignment.was_lost {
            self.give_away(owned.into_iter().collect());
            self.id = kafka.join(&self.group);
            return;
        }
        if !assignment.too_many.is_empty() {
            self.commit_now_and_then();
            kafka.release(&self.group, self.id, &assignment.too_many);
            self.give_away(assignment.too_many);
        }
        if !assignment.got.is_empty() {
            self.take_over(assignment.got).await;
        }
    }

    fn give_away(&mut self, places: Vec<Place>) {
        for place in &places {
            self.places.remove(place);
            self.handled.remove(place);
        }
        if !places.is_empty() {
            self.changes.push_back(Change::Revoked(places));
        }
    }

    /// As the real member does: where the database says, or where the group says when the database is away.
    async fn take_over(&mut self, places: Vec<Place>) {
        let starts = position::starts(self.store.reads(), &self.consumers).await.ok();
        for place in &places {
            let next = match &starts {
                Some(starts) => starts.get(place).copied().flatten(),
                None => self.connection.kafka.committed_offset(&self.group, *place),
            };
            self.places
                .insert(*place, Reading { next: next.unwrap_or(0), is_held: false, was_at_end: false });
        }
        self.changes.push_back(Change::Assigned(places));
    }

    fn fetch(&mut self) -> Option<Polled> {
        let mut places: Vec<Place> = self.places.keys().copied().collect();
        if !places.is_empty() {
            let first = fastrand::usize(0..places.len());
            places.rotate_left(first);
        }
        for place in places {
            let (stream, lane) = place;
            let (topic, partition) = (Topic::Stream(stream), i32::from(lane.0));
            let reading = self.places.get_mut(&place)?;
            if reading.is_held {
                continue;
            }
            let (low, end) = self.connection.kafka.bounds(topic, partition);
            if reading.next < low || reading.next > end {
                // Out of range: from the beginning, as it is configured.
                reading.next = low;
            }
            let found = self.connection.kafka.read(topic, partition, reading.next, FETCH_MAX);
            if let Some((offset, stored)) = found.into_iter().next() {
                reading.next = offset + 1;
                reading.was_at_end = false;
                let message = OwnedMessage::new(
                    stored.value.clone(),
                    Some(stored.key.clone()),
                    stream.name().to_owned(),
                    Timestamp::NotAvailable,
                    partition,
                    offset,
                    Some(stored.headers.clone()),
                );
                return Some(Polled::Message(place, Item::read(place, &message)));
            }
            if !std::mem::replace(&mut reading.was_at_end, true) {
                return Some(Polled::End(partition));
            }
        }
        None
    }
}

impl Client for Member {
    async fn poll(&mut self, wait: Duration) -> Polled {
        let until = Instant::now() + wait;
        let mut news = self.connection.kafka.news();
        loop {
            news.mark_unchanged();
            if self.connection.reach().await.is_ok() {
                self.coordinate().await;
                if !self.changes.is_empty() {
                    return Polled::Passing;
                }
                if let Some(found) = self.fetch() {
                    return found;
                }
            }
            if Instant::now() >= until {
                return Polled::Nothing;
            }
            // Whether there is news or not is seen at the next look.
            drop(tokio::time::timeout_at(until, news.changed()).await);
        }
    }

    fn changes(&mut self) -> Vec<Change> {
        self.changes.drain(..).collect()
    }

    fn message_came(&mut self, _: Place) {}

    fn end_reached(&mut self, _: i32) {}

    async fn position_at(&mut self, place: Place, offset: i64) -> Result<Option<i64>, String> {
        self.connection.reach().await?;
        let (topic, partition) = (Topic::Stream(place.0), i32::from(place.1.0));
        let found = self.connection.kafka.read(topic, partition, offset, 1).into_iter().next();
        Ok(found.filter(|(at, _)| *at == offset).and_then(|(at, stored)| {
            let record = Record::new(topic, (partition, at), Some(&stored.key), Some(&stored.headers));
            record.published().map(|published| published.position)
        }))
    }

    fn handled(&mut self, place: Place, offset: Option<i64>, _: bool) {
        if let Some(offset) = offset {
            self.handled.insert(place, offset);
        }
    }

    fn hold(&mut self, place: Place, held: bool) {
        if let Some(reading) = self.places.get_mut(&place) {
            reading.is_held = held;
        }
    }

    fn seek(&mut self, place: Place, offset: Option<i64>) -> Result<(), String> {
        if let Some(reading) = self.places.get_mut(&place) {
            reading.next = offset.unwrap_or(0);
            reading.was_at_end = false;
        }
        Ok(())
    }

    fn commit_now_and_then(&mut self) {
        for (place, offset) in &self.handled {
            self.connection.kafka.commit_offset(&self.group, self.id, *place, *offset);
        }
    }

    fn settle_ends(&mut self) {}
}
