//! The client of a group's member: subscribes, takes partitions over where the database says that the consumers
//! stand, gives them away, commits offsets, and finds the true ends of partitions.
//!
//! Offsets that are committed to the group are for people and their tools. What decides is the database: the
//! offset that is stored with the position, in the transaction of the effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::{event::Stream, lane::Lane};
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    message::Message as _,
    types::RDKafkaRespErr,
};
use store::Store;
use telemetry::{metrics, metrics::KindOf};
use tokio::runtime::Handle;

use super::{
    Context, REQUEST_TIMEOUT, Settings, reader,
    session::{Change, Client, Polled},
    slot::Item,
};
use crate::{
    consumer::Group,
    position::{self, Place},
};

/// How long a take-over waits for the database; afterwards the group's own offsets must do, and the positions
/// sort out what is read twice.
const POSITIONS_TIMEOUT: Duration = Duration::from_secs(10);
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// An end that was asked for, behind which nothing came for this long, is the true one.
const END_SETTLED: Duration = Duration::from_millis(250);

pub struct Member {
    client: BaseConsumer<Rebalances>,
    settings: Settings,
    shared: Arc<Mutex<Shared>>,
    topics: Vec<(String, Stream)>,
    paused: BTreeSet<Place>,
    committed_at: Instant,
}

/// What the callbacks of librdkafka, which run within `poll`, share with the loop.
#[derive(Default)]
struct Shared {
    changes: Vec<Change>,
    assigned: BTreeSet<Place>,
    /// The next offset to read by place, as far as all consumers have come.
    handled: BTreeMap<Place, i64>,
    committed: BTreeMap<Place, i64>,
    /// Places where something waits to be handled.
    busy: BTreeSet<Place>,
    /// An end and when it was asked for.
    ends: BTreeMap<Place, (i64, Instant)>,
    /// Ends up to which everything has been read.
    true_ends: BTreeMap<Place, i64>,
    /// Partitions whose end was reached after their last message. The event does not name the topic.
    at_end: BTreeSet<i32>,
}

struct Rebalances {
    shared: Arc<Mutex<Shared>>,
    topics: Vec<(String, Stream)>,
    store: Store,
    consumers: Vec<(&'static str, &'static [Stream])>,
    runtime: Handle,
    group: String,
}

impl Member {
    /// Joins the group.
    pub fn join(
        settings: &Settings,
        group: Group,
        store: &Store,
        consumers: &[(&'static str, &'static [Stream])],
        runtime: &Handle,
    ) -> KafkaResult<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let streams: BTreeSet<Stream> =
            consumers.iter().flat_map(|(_, streams)| streams.iter().copied()).collect();
        let topics: Vec<(String, Stream)> =
            streams.into_iter().map(|stream| (settings.topic(stream), stream)).collect();
        let context = Rebalances {
            shared: shared.clone(),
            topics: topics.clone(),
            store: store.clone(),
            consumers: consumers.to_vec(),
            runtime: runtime.clone(),
            group: settings.group(group),
        };
        let client: BaseConsumer<Rebalances> = settings.member(group).create_with_context(context)?;
        let names: Vec<&str> = topics.iter().map(|(name, _)| name.as_str()).collect();
        client.subscribe(&names)?;
        Ok(Self {
            client,
            settings: settings.clone(),
            shared,
            topics,
            paused: BTreeSet::new(),
            committed_at: Instant::now(),
        })
    }

    /// Commits everything and leaves the group at once, so that others take over without waiting for a time-out.
    pub fn leave(self) {
        let news = lock(&self.shared).uncommitted(|_| true);
        if !news.is_empty() {
            let list = self.list(news.iter().map(|(place, offset)| (*place, Some(*offset))));
            if let Err(error) = self.client.commit(&list, CommitMode::Sync) {
                tracing::debug!(%error, "offsets could not be committed at the end; the database has them");
            }
        }
        drop(self.client);
    }

    fn list(&self, places: impl Iterator<Item = (Place, Option<i64>)>) -> TopicPartitionList {
        list(&self.topics, places)
    }
}

impl Client for Member {
    /// Blocks: the thread is this member's own.
    async fn poll(&mut self, wait: Duration) -> Polled {
        match self.client.poll(wait) {
            Some(Ok(message)) => match place_of(&self.topics, message.topic(), message.partition()) {
                Some(place) => Polled::Message(place, Item::read(place, &message)),
                None => Polled::Passing,
            },
            Some(Err(KafkaError::PartitionEOF(partition))) => Polled::End(partition),
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => Polled::Fatal(code.to_string()),
            Some(Err(error)) => {
                // The broker is away, or a topic is not there yet: librdkafka tries again by itself.
                tracing::debug!(%error, "reading from Kafka met trouble");
                Polled::Passing
            }
            None => Polled::Nothing,
        }
    }

    fn changes(&mut self) -> Vec<Change> {
        let changes = std::mem::take(&mut lock(&self.shared).changes);
        for change in &changes {
            let (Change::Assigned(places) | Change::Revoked(places)) = change;
            self.paused.retain(|place| !places.contains(place));
        }
        changes
    }

    fn message_came(&mut self, place: Place) {
        let mut shared = lock(&self.shared);
        shared.forget_end(place);
        shared.at_end.remove(&i32::from(place.1.0));
    }

    fn end_reached(&mut self, partition: i32) {
        lock(&self.shared).at_end.insert(partition);
    }

    /// Blocks, as [`Self::poll`] does.
    async fn position_at(&mut self, place: Place, offset: i64) -> Result<Option<i64>, String> {
        reader::position_at(&self.settings, place, offset).map_err(|error| error.to_string())
    }

    fn handled(&mut self, place: Place, offset: Option<i64>, is_busy: bool) {
        let mut shared = lock(&self.shared);
        if is_busy {
            shared.busy.insert(place);
        } else {
            shared.busy.remove(&place);
        }
        if let Some(offset) = offset.filter(|_| shared.assigned.contains(&place)) {
            shared.handled.insert(place, offset);
        }
    }

    fn hold(&mut self, place: Place, held: bool) {
        if self.paused.contains(&place) == held {
            return;
        }
        let list = self.list(std::iter::once((place, None)));
        let done = if held { self.client.pause(&list) } else { self.client.resume(&list) };
        match done {
            Ok(()) if held => drop(self.paused.insert(place)),
            Ok(()) => drop(self.paused.remove(&place)),
            Err(error) => tracing::debug!(%error, "a partition could not be paused or resumed"),
        }
    }

    /// Blocks, as [`Self::poll`] does.
    fn seek(&mut self, place: Place, offset: Option<i64>) -> Result<(), String> {
        let mut list = self.list(std::iter::once((place, offset)));
        if offset.is_none() {
            list.set_all_offsets(Offset::Beginning).map_err(|error| error.to_string())?;
        }
        let sought = self.client.seek_partitions(list, REQUEST_TIMEOUT).map_err(|error| error.to_string())?;
        for element in sought.elements() {
            element.error().map_err(|error| error.to_string())?;
        }
        let mut shared = lock(&self.shared);
        shared.handled.remove(&place);
        shared.forget_end(place);
        shared.at_end.remove(&i32::from(place.1.0));
        Ok(())
    }

    fn commit_now_and_then(&mut self) {
        if self.committed_at.elapsed() < COMMIT_INTERVAL {
            return;
        }
        self.committed_at = Instant::now();
        let news = lock(&self.shared).uncommitted(|_| true);
        if news.is_empty() {
            return;
        }
        let list = self.list(news.iter().map(|(place, offset)| (*place, Some(*offset))));
        if let Err(error) = self.client.commit(&list, CommitMode::Async) {
            tracing::warn!(%error, "offsets could not be committed; it is tried again");
        }
    }

    fn settle_ends(&mut self) {
        let now = Instant::now();
        let mut unknown = Vec::new();
        {
            let mut shared = lock(&self.shared);
            let Shared { assigned, busy, ends, true_ends, at_end, .. } = &mut *shared;
            for place in assigned.difference(busy) {
                match ends.get(place) {
                    None if at_end.contains(&i32::from(place.1.0)) => unknown.push(*place),
                    Some((end, asked_at)) if now.duration_since(*asked_at) > END_SETTLED => {
                        true_ends.insert(*place, *end);
                    }
                    _ => {}
                }
            }
        }
        if unknown.is_empty() {
            return;
        }
        let list = self.list(unknown.iter().map(|place| (*place, None)));
        let mut asked = list;
        if asked.set_all_offsets(Offset::End).is_err() {
            return;
        }
        let asked_at = Instant::now();
        match self.client.offsets_for_times(asked, REQUEST_TIMEOUT) {
            Ok(found) => {
                let mut shared = lock(&self.shared);
                for element in found.elements() {
                    let place = place_of(&self.topics, element.topic(), element.partition());
                    if let (Some(place), Offset::Offset(end)) = (place, element.offset()) {
                        shared.ends.insert(place, (end, asked_at));
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the ends of partitions could not be read"),
        }
    }
}

impl Shared {
    fn uncommitted(&self, of: impl Fn(&Place) -> bool) -> Vec<(Place, i64)> {
        let offset = |place: &Place| self.true_ends.get(place).max(self.handled.get(place)).copied();
        let places = self.assigned.iter().filter(|place| of(place));
        let offsets = places.filter_map(|place| Some((*place, offset(place)?)));
        offsets.filter(|(place, offset)| self.committed.get(place) != Some(offset)).collect()
    }

    fn forget_end(&mut self, place: Place) {
        self.ends.remove(&place);
        self.true_ends.remove(&place);
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn list(
    topics: &[(String, Stream)],
    places: impl Iterator<Item = (Place, Option<i64>)>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((stream, lane), offset) in places {
        let Some((topic, _)) = topics.iter().find(|(_, known)| *known == stream) else { continue };
        let mut element = list.add_partition(topic, i32::from(lane.0));
        if let Some(offset) = offset {
            drop(element.set_offset(Offset::Offset(offset)));
        }
    }
    list
}

fn place_of(topics: &[(String, Stream)], topic: &str, partition: i32) -> Option<Place> {
    let (_, stream) = topics.iter().find(|(name, _)| name == topic)?;
    Some((*stream, Lane(u16::try_from(partition).ok()?)))
}

impl Rebalances {
    fn places(&self, list: &TopicPartitionList) -> Vec<Place> {
        let elements = list.elements();
        elements.iter().filter_map(|e| place_of(&self.topics, e.topic(), e.partition())).collect()
    }

    /// Where to go on reading, as the database has it.
    fn starts(&self) -> Option<BTreeMap<Place, Option<i64>>> {
        let (store, consumers) = (self.store.clone(), self.consumers.clone());
        let (tell, told) = std::sync::mpsc::channel();
        // This is called within a future that the thread drives already, so another thread drives this one.
        self.runtime.spawn(async move {
            // Nobody waits any more when it took too long.
            let _ = tell.send(position::starts(store.reads(), &consumers).await);
        });
        match told.recv_timeout(POSITIONS_TIMEOUT) {
            Ok(Ok(starts)) => Some(starts),
            Ok(Err(error)) => {
                tracing::warn!(group = self.group, %error, "positions could not be read; the group's offsets must do");
                None
            }
            Err(_) => {
                tracing::warn!(
                    group = self.group,
                    "the database does not answer; the group's offsets must do"
                );
                None
            }
        }
    }

    fn assign(&self, client: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) {
        let places = self.places(partitions);
        if let Some(starts) = self.starts().filter(|_| !places.is_empty()) {
            for place in &places {
                let offset = match starts.get(place).copied().flatten() {
                    Some(offset) => Offset::Offset(offset),
                    None => Offset::Beginning,
                };
                let Some((topic, _)) = self.topics.iter().find(|(_, stream)| *stream == place.0) else {
                    continue;
                };
                if let Some(mut element) = partitions.find_partition(topic, i32::from(place.1.0)) {
                    drop(element.set_offset(offset));
                }
            }
        }
        let assigned = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(partitions),
            _ => client.assign(partitions),
        };
        if let Err(error) = assigned {
            tracing::error!(group = self.group, %error, "partitions could not be taken over");
        }
        if !places.is_empty() {
            tracing::info!(group = self.group, partitions = places.len(), "partitions were taken over");
        }
        let mut shared = lock(&self.shared);
        for place in &places {
            shared.assigned.insert(*place);
            shared.handled.remove(place);
            shared.committed.remove(place);
            shared.forget_end(*place);
        }
        shared.changes.push(Change::Assigned(places));
    }

    fn revoke(&self, client: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let places = self.places(partitions);
        let news = lock(&self.shared).uncommitted(|place| places.contains(place));
        if !news.is_empty() && !client.assignment_lost() {
            let list = list(&self.topics, news.iter().map(|(place, offset)| (*place, Some(*offset))));
            if let Err(error) = client.commit(&list, CommitMode::Sync) {
                tracing::debug!(group = self.group, %error, "offsets could not be committed; the database has them");
            }
        }
        let revoked = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(partitions),
            _ => client.unassign(),
        };
        if let Err(error) = revoked {
            tracing::error!(group = self.group, %error, "partitions could not be given away");
        }
        if !places.is_empty() {
            tracing::info!(group = self.group, partitions = places.len(), "partitions were given away");
        }
        let mut shared = lock(&self.shared);
        for place in &places {
            shared.assigned.remove(place);
            shared.handled.remove(place);
            shared.forget_end(*place);
        }
        shared.changes.push(Change::Revoked(places));
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        metrics().kafka_client_errors.get_or_create(&KindOf { kind: "consumer" }).inc();
        Context.error(error, reason);
    }
}

impl ConsumerContext for Rebalances {
    /// Runs within `poll`, so never while a batch is being handled.
    fn rebalance(&self, client: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(client, list),
            _ => self.revoke(client, list),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        match result {
            Ok(()) => {
                let mut shared = lock(&self.shared);
                for element in offsets.elements() {
                    let place = place_of(&self.topics, element.topic(), element.partition());
                    if let (Some(place), Offset::Offset(offset)) = (place, element.offset()) {
                        shared.committed.insert(place, offset);
                    }
                }
            }
            // What was not committed differs from what was handled, and is committed with the next ones.
            Err(error) => {
                tracing::warn!(group = self.group, %error, "offsets were not committed; it is tried again");
            }
        }
    }
}
