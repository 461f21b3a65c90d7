//! Consumers on Kafka: the second transport. All consumers of a group share one client, on a thread of its own.
//!
//! The thread polls, hands what came to each consumer's engine, and polls again, so a rebalance never falls into the
//! middle of a batch. Who handles an event is decided by the position in the database, whatever the group believes:
//! two members that both think a partition theirs cannot double an effect.
//!
//! A record must follow the one before it: position by position, and by the hash of the chain. A duplicate is
//! passed over. What does not come from this log is set aside. A gap in the middle of reading stops the consumer; a
//! gap at its begin (records have expired, the topic was made anew, a replay set the position back) is filled from
//! the log.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use domain::{
    chain::{GENESIS, Hash},
    lane::Lane,
};
use rdkafka::{
    error::KafkaError,
    message::{BorrowedMessage, Headers as _, Message as _},
};
use store::{
    Store,
    batch::LogEvent,
    error::ReadError,
    log::{self, Span},
};
use tokio::{runtime::Handle, sync::watch};

use super::{
    Settings,
    member::{Change, Member},
    record::{self, Incoming},
};
use crate::{
    consumer::{Consumer, Group},
    dead_letter::Foreign,
    engine::{self, Batch, Engine, Handled, Stopped, Trouble},
    position::{Mark, Place, Positions},
    relay::cursor,
    runtime::check_dense,
};

/// How long a poll waits for a message.
const POLL_MAX: Duration = Duration::from_millis(100);
/// Messages of one partition that wait for a consumer before the reading of it pauses.
const PENDING_A_PLACE_MAX: usize = 5000;
/// Messages that are taken in between two batches, in batches.
const INTAKE_BATCHES: usize = 2;
const REJOIN_PAUSE: Duration = Duration::from_secs(1);
/// A group whose consumers stand still although more was published for them gets a new client.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(10);
const WATCHDOG_PATIENCE: Duration = Duration::from_mins(1);

/// Runs the consumers of a group until `stopping` turns true; returns when it has left the group.
pub async fn run(
    store: Store,
    kafka: Settings,
    group: Group,
    consumers: Vec<Arc<dyn Consumer>>,
    settings: engine::Settings,
    stopping: watch::Receiver<bool>,
) {
    let runtime = Handle::current();
    let name = kafka.group(group);
    let (ended, has_ended) = tokio::sync::oneshot::channel();
    let thread = thread::Builder::new().name("kafka-consume".to_owned()).spawn(move || {
        run_blocking(&store, &kafka, group, &consumers, settings, &stopping, &runtime);
        // Nobody waits any more when the runtime has ended.
        let _ = ended.send(());
    });
    match thread {
        Ok(_) if has_ended.await.is_ok() => {}
        Ok(_) => tracing::error!(group = name, "the consumers ended by a panic"),
        Err(error) => tracing::error!(group = name, %error, "the consumers could not be started"),
    }
}

fn run_blocking(
    store: &Store,
    kafka: &Settings,
    group: Group,
    consumers: &[Arc<dyn Consumer>],
    settings: engine::Settings,
    stopping: &watch::Receiver<bool>,
    runtime: &Handle,
) {
    let mut slots: Vec<Slot> = consumers
        .iter()
        .map(|consumer| Slot::new(Engine::new(store.clone(), consumer.clone(), settings)))
        .collect();
    let reads: Vec<_> = consumers.iter().map(|consumer| (consumer.name(), consumer.streams())).collect();
    while !*stopping.borrow() {
        match Member::join(kafka, group, store, &reads, runtime) {
            Ok(member) => {
                let mut session = Session {
                    member,
                    slots: &mut slots,
                    store,
                    runtime,
                    watchdog: Watchdog::new(),
                    intake_max: settings.batch_events_max * INTAKE_BATCHES,
                };
                session.run(stopping);
                session.member.leave();
                for slot in &mut slots {
                    slot.places.clear();
                }
            }
            Err(error) => {
                tracing::error!(group = kafka.group(group), %error, "the group could not be joined")
            }
        }
        if !*stopping.borrow() {
            thread::sleep(REJOIN_PAUSE);
        }
    }
}

/// One membership of the group, from joining to leaving it.
struct Session<'a> {
    member: Member,
    slots: &'a mut Vec<Slot>,
    store: &'a Store,
    runtime: &'a Handle,
    watchdog: Watchdog,
    intake_max: usize,
}

/// A consumer of the group, and what waits for it.
struct Slot {
    engine: Engine,
    places: BTreeMap<Place, Pending>,
    /// Nothing is tried before then: the database is away.
    paused_until: Option<Instant>,
    has_stopped: bool,
}

#[derive(Default)]
struct Pending {
    items: VecDeque<Item>,
    /// Position and hash of the event that was handled last, when known.
    last: Option<(i64, Hash)>,
    /// Whether a record in its order was seen since the place was taken over.
    in_order: bool,
}

struct Item {
    offset: i64,
    content: Content,
}

enum Content {
    Event(LogEvent),
    Claim(LogEvent),
    Foreign(Foreign),
}

impl Session<'_> {
    /// Until the group is to be left; or joined anew, because its client is of no more use.
    fn run(&mut self, stopping: &watch::Receiver<bool>) {
        while !*stopping.borrow() {
            if let Err(reason) = self.take_in() {
                tracing::error!(reason, "the client of the consumer group is replaced");
                return;
            }
            for index in 0..self.slots.len() {
                self.handle(index);
            }
            self.account();
            self.member.commit_now_and_then();
            if self.watchdog.is_due() {
                let check = self.watchdog.check(self.store, self.slots);
                let reason = self.runtime.block_on(check);
                if let Some(reason) = reason {
                    tracing::error!(reason, "the consumer group stands still; its client is replaced");
                    return;
                }
            }
        }
    }

    /// Polls: waits for a first message unless there is work, and takes what else is there.
    fn take_in(&mut self) -> Result<(), String> {
        let mut wait = self.slots.iter().map(Slot::wait).min().unwrap_or(POLL_MAX).min(POLL_MAX);
        let mut taken = 0;
        while taken < self.intake_max {
            let polled = self.member.poll(wait);
            let waited = std::mem::take(&mut wait);
            let message = match polled {
                Some(Ok(message)) => Some(read(&self.member, &message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.member.end_reached(partition);
                    None
                }
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => return Err(code.to_string()),
                Some(Err(error)) => {
                    // The broker is away, or a topic is not there yet: librdkafka tries again by itself.
                    tracing::debug!(%error, "reading from Kafka met trouble");
                    None
                }
                None => {
                    self.take_changes();
                    if taken == 0 && waited >= POLL_MAX {
                        self.member.settle_ends();
                    }
                    return Ok(());
                }
            };
            self.take_changes();
            if let Some(Some((place, item))) = message {
                taken += 1;
                self.deliver(place, item);
            }
        }
        Ok(())
    }

    fn take_changes(&mut self) {
        for change in self.member.changes() {
            for slot in &mut *self.slots {
                match &change {
                    Change::Assigned(places) => slot.take_over(places),
                    Change::Revoked(places) => slot.give_away(places),
                }
            }
        }
    }

    fn deliver(&mut self, place: Place, item: Item) {
        self.member.message_came(place);
        let mut readers: Vec<&mut Slot> = self.slots.iter_mut().filter(|slot| slot.reads(place)).collect();
        // Nearly always there is one reader, which gets the item itself.
        if let Some(last) = readers.pop() {
            for slot in readers {
                slot.push(place, item.copy());
            }
            last.push(place, item);
        }
    }

    fn handle(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.has_stopped || slot.paused_until.is_some_and(|until| until > Instant::now()) {
            return;
        }
        slot.paused_until = None;
        match self.runtime.block_on(slot.handle()) {
            Ok(()) => {}
            Err(Trouble::Transient(reason)) => {
                slot.paused_until = Some(Instant::now() + slot.engine.back_off(&reason));
            }
            Err(Trouble::Stopped(stopped)) => {
                tracing::error!(consumer = slot.engine.consumer().name(), error = %stopped, "the consumer has stopped");
                slot.has_stopped = true;
                slot.places.clear();
            }
        }
    }

    /// Tells the member how far all consumers of a place have come, and lets it read on or wait.
    fn account(&mut self) {
        let mut places: BTreeMap<Place, Come> = BTreeMap::new();
        for slot in &*self.slots {
            let known = slot.engine.known_positions();
            for (place, pending) in &slot.places {
                let mark = known.and_then(|positions| positions.get(place));
                let come = places.entry(*place).or_insert(Come { offset: Some(i64::MAX), waiting: 0 });
                come.offset = come.offset.min(mark.and_then(|mark| mark.kafka_offset));
                come.waiting = come.waiting.max(pending.items.len());
            }
        }
        for (place, Come { offset, waiting }) in &places {
            self.member.handled(*place, *offset, *waiting > 0);
            self.member.hold(*place, *waiting >= PENDING_A_PLACE_MAX);
        }
    }
}

/// How far the consumers of a place have come, and what waits for the slowest.
struct Come {
    offset: Option<i64>,
    waiting: usize,
}

/// A message as an item of its place; `None` for what is on no topic of ours.
fn read(member: &Member, message: &BorrowedMessage<'_>) -> Option<(Place, Item)> {
    let stream = member.stream(message.topic())?;
    let place = (stream, Lane(u16::try_from(message.partition()).ok()?));
    let incoming = record::decode(stream, place.1, message.key(), message.payload(), message.headers());
    let content = match incoming {
        Incoming::Event(event) => Content::Event(event),
        Incoming::Claim(event) => Content::Claim(event),
        Incoming::Foreign(reason) => Content::Foreign(foreign(place, message, reason)),
    };
    Some((place, Item { offset: message.offset(), content }))
}

fn foreign(place: Place, message: &BorrowedMessage<'_>, reason: String) -> Foreign {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Foreign {
        place,
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        reason,
    }
}

impl Item {
    fn copy(&self) -> Self {
        let content = match &self.content {
            Content::Event(event) => Content::Event(event.clone()),
            Content::Claim(event) => Content::Claim(event.clone()),
            Content::Foreign(message) => Content::Foreign(message.clone()),
        };
        Self { offset: self.offset, content }
    }
}

impl Slot {
    const fn new(engine: Engine) -> Self {
        Self { engine, places: BTreeMap::new(), paused_until: None, has_stopped: false }
    }

    fn reads(&self, place: Place) -> bool {
        !self.has_stopped && self.places.contains_key(&place)
    }

    fn take_over(&mut self, places: &[Place]) {
        let streams = self.engine.consumer().streams();
        for place in places.iter().filter(|(stream, _)| streams.contains(stream)) {
            self.places.insert(*place, Pending::default());
        }
        self.engine.forget_positions();
    }

    fn give_away(&mut self, places: &[Place]) {
        for place in places {
            self.places.remove(place);
        }
        let kept = &self.places;
        self.engine.forget_failing(|place, _| kept.contains_key(&place));
    }

    fn push(&mut self, place: Place, item: Item) {
        if let Some(pending) = self.places.get_mut(&place) {
            pending.items.push_back(item);
        }
    }

    /// How long a poll may wait for more.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        if self.has_stopped {
            return POLL_MAX;
        }
        if let Some(until) = self.paused_until {
            return until.saturating_duration_since(now);
        }
        let retry = self.engine.next_retry().unwrap_or(POLL_MAX);
        let has_work = self
            .places
            .iter()
            .any(|(place, pending)| !pending.items.is_empty() && self.engine.failing_at(*place).is_none());
        if has_work { Duration::ZERO } else { retry }
    }

    /// Handles what waits, a batch of it, and what had failed and is due.
    async fn handle(&mut self) -> Result<(), Trouble> {
        if self.places.values().all(|pending| pending.items.is_empty()) && self.engine.due().is_empty() {
            return Ok(());
        }
        if self.engine.known_positions().is_none() {
            for pending in self.places.values_mut() {
                pending.last = None;
                pending.in_order = false;
            }
        }
        let positions = self.engine.positions().await?;
        for (place, pending) in &mut self.places {
            if pending.last.is_none() && !pending.items.is_empty() {
                let position = positions.get(place).map_or(0, |mark| mark.position);
                pending.last = hash_at(self.engine.store(), *place, position).await?;
            }
        }
        let batch = self.gather(&positions).await?;
        if !batch.to.is_empty() && self.engine.handle(&batch).await? == Handled::Done {
            self.done(&batch);
        }
        self.retry_due().await
    }

    /// The next events of all places, in their order; up to those that are known to fail.
    async fn gather(&mut self, positions: &Positions) -> Result<Batch, Trouble> {
        let mut batch = Batch::default();
        let mut room = self.engine.batch_events_max();
        let name = self.engine.consumer().name();
        for (place, pending) in &mut self.places {
            let from = positions.get(place).copied().unwrap_or_default();
            let failing = self.engine.failing_at(*place);
            let mut reader = Reader { store: self.engine.store(), name, place: *place, failing, to: from };
            reader.read(pending, &mut batch, &mut room).await?;
            if reader.to != from {
                batch.to.insert(*place, reader.to);
            }
            if room == 0 {
                break;
            }
        }
        Ok(batch)
    }

    /// Forgets what was handled.
    fn done(&mut self, batch: &Batch) {
        for event in &batch.events {
            if let Some(pending) = self.places.get_mut(&(event.stream, event.lane)) {
                pending.last = Some((event.position, event.hash));
            }
        }
        for (place, to) in &batch.to {
            let Some(pending) = self.places.get_mut(place) else { continue };
            let next = to.kafka_offset.unwrap_or(0);
            while pending.items.front().is_some_and(|item| item.offset < next) {
                pending.items.pop_front();
            }
        }
    }

    async fn retry_due(&mut self) -> Result<(), Trouble> {
        for (place, failing) in self.engine.due() {
            let positions = self.engine.positions().await?;
            let Some(mark) = positions.get(&place) else { continue };
            if mark.position + 1 < failing {
                continue;
            }
            if mark.position + 1 > failing || !self.places.contains_key(&place) {
                self.engine.forget_failing(|other, _| other != place);
                continue;
            }
            let event = log::behind(self.engine.store().reads(), place.0, place.1, mark.position, 1).await?;
            let Some(event) = event.into_iter().next() else { continue };
            let item = self.places.get(&place).and_then(|pending| pending.offset_of(failing));
            let to =
                Mark { position: failing, kafka_offset: item.map(|offset| offset + 1).or(mark.kafka_offset) };
            let batch = Batch { events: vec![event.clone()], foreign: Vec::new(), to: [(place, to)].into() };
            if self.engine.retry(event, to).await? == Handled::Done {
                self.done(&batch);
            }
        }
        Ok(())
    }
}

impl Pending {
    fn offset_of(&self, position: i64) -> Option<i64> {
        let found = self.items.iter().find(|item| match &item.content {
            Content::Event(event) | Content::Claim(event) => event.position == position,
            Content::Foreign(_) => false,
        });
        found.map(|item| item.offset)
    }
}

/// Walks over what waits of one place.
struct Reader<'a> {
    store: &'a Store,
    name: &'static str,
    place: Place,
    /// The position that is not to be reached.
    failing: Option<i64>,
    to: Mark,
}

impl Reader<'_> {
    async fn read(
        &mut self,
        pending: &mut Pending,
        batch: &mut Batch,
        room: &mut usize,
    ) -> Result<(), Trouble> {
        let mut last = pending.last;
        for item in &pending.items {
            if *room == 0 {
                break;
            }
            let (event, is_claim) = match &item.content {
                Content::Foreign(message) => {
                    self.set_aside(message.clone(), batch);
                    continue;
                }
                Content::Event(event) => (event, false),
                Content::Claim(event) => (event, true),
            };
            if event.position > self.to.position + 1 {
                if pending.in_order {
                    return Err(self.missing(event.position));
                }
                let filled = self.fill_up(event.position - 1, batch, room).await?;
                last = filled.or(last);
            }
            let next = self.to.position + 1;
            if event.position <= self.to.position {
                self.to.kafka_offset = Some(item.offset + 1);
                continue;
            }
            if self.failing == Some(next) || event.position != next {
                break;
            }
            let event = if is_claim { self.from_log(next).await? } else { event.clone() };
            let follows =
                last.is_none_or(|(position, hash)| position + 1 != next || event.seal(&hash) == event.hash);
            if !follows {
                self.set_aside(forged(item, &event), batch);
                continue;
            }
            pending.in_order = true;
            last = Some((next, event.hash));
            self.to = Mark { position: next, kafka_offset: Some(item.offset + 1) };
            batch.events.push(event);
            *room -= 1;
        }
        Ok(())
    }

    fn set_aside(&mut self, message: Foreign, batch: &mut Batch) {
        tracing::error!(
            consumer = self.name,
            stream = self.place.0.name(),
            lane = self.place.1.0,
            offset = message.offset,
            reason = message.reason,
            "a message that is not of this log is set aside"
        );
        self.to.kafka_offset = Some(message.offset + 1);
        batch.foreign.push(message);
    }

    /// Reads from the log what the topic does not hold any more, up to a position; gives the last hash.
    async fn fill_up(
        &mut self,
        until: i64,
        batch: &mut Batch,
        room: &mut usize,
    ) -> Result<Option<(i64, Hash)>, Trouble> {
        let until = self.failing.map_or(until, |failing| until.min(failing - 1));
        let behind = self.to.position;
        let until = until.min(behind.saturating_add(i64::try_from(*room).unwrap_or(i64::MAX)));
        if until <= behind {
            return Ok(None);
        }
        tracing::warn!(
            consumer = self.name,
            stream = self.place.0.name(),
            lane = self.place.1.0,
            from = behind + 1,
            until,
            "the topic does not hold the events that come next; they are read from the log"
        );
        let span = Span { stream: self.place.0, lane: self.place.1, behind, until };
        let events = log::spans(self.store.reads(), &[span]).await?;
        check_dense(self.name, &[span], &events)?;
        self.to.position = until;
        *room -= events.len();
        let last = events.last().map(|event| (event.position, event.hash));
        batch.events.extend(events);
        Ok(last)
    }

    async fn from_log(&self, position: i64) -> Result<LogEvent, Trouble> {
        let span = Span { stream: self.place.0, lane: self.place.1, behind: position - 1, until: position };
        let events = log::spans(self.store.reads(), &[span]).await?;
        check_dense(self.name, &[span], &events)?;
        events.into_iter().next().ok_or_else(|| self.missing(position))
    }

    fn missing(&self, found: i64) -> Trouble {
        Trouble::Stopped(Stopped::EventsMissing {
            consumer: self.name,
            stream: self.place.0,
            lane: self.place.1,
            expected: self.to.position + 1,
            found: Some(found),
            from: "the topic",
        })
    }
}

/// A record with all the headers of ours that does not follow the one before it.
fn forged(item: &Item, event: &LogEvent) -> Foreign {
    Foreign {
        place: (event.stream, event.lane),
        offset: item.offset,
        key: Some(event.merchant_id.to_string().into_bytes()),
        payload: Some(event.payload.clone().into_bytes()),
        headers: vec![("event-type".to_owned(), Some(event.event_type.clone().into_bytes()))],
        reason: format!(
            "its hash does not follow that of position {}, so it is not of this log",
            event.position - 1
        ),
    }
}

async fn hash_at(store: &Store, place: Place, position: i64) -> Result<Option<(i64, Hash)>, ReadError> {
    if position == 0 {
        return Ok(Some((0, GENESIS)));
    }
    let event = log::behind(store.reads(), place.0, place.1, position - 1, 1).await?;
    Ok(event.first().filter(|event| event.position == position).map(|event| (position, event.hash)))
}

/// Notices consumers that stand still although more was published for them.
struct Watchdog {
    checked_at: Instant,
    standing: BTreeMap<(&'static str, Place), (i64, Instant)>,
}

impl Watchdog {
    fn new() -> Self {
        Self { checked_at: Instant::now(), standing: BTreeMap::new() }
    }

    fn is_due(&self) -> bool {
        self.checked_at.elapsed() > WATCHDOG_INTERVAL
    }

    /// Why the client should be replaced.
    async fn check(&mut self, store: &Store, slots: &mut [Slot]) -> Option<String> {
        self.checked_at = Instant::now();
        let published = cursor::published(store.reads()).await.ok()?;
        let mut standing = BTreeMap::new();
        for slot in slots {
            let positions = slot.engine.positions().await.ok()?;
            let consumer = slot.engine.consumer().name();
            for (place, pending) in &slot.places {
                let position = positions.get(place).map_or(0, |mark| mark.position);
                let behind = published.get(place).is_some_and(|published| *published > position);
                // What waits in memory has been read: the client does its work.
                if behind && pending.items.is_empty() && slot.engine.failing_at(*place).is_none() {
                    let before = self.standing.get(&(consumer, *place));
                    let since = before
                        .filter(|(at, _)| *at == position)
                        .map_or_else(Instant::now, |(_, since)| *since);
                    standing.insert((consumer, *place), (position, since));
                }
            }
        }
        self.standing = standing;
        let still = self.standing.iter().find(|(_, (_, since))| since.elapsed() > WATCHDOG_PATIENCE)?;
        let ((consumer, (stream, lane)), (position, _)) = still;
        Some(format!("{consumer} has stood at position {position} of {} lane {lane}", stream.name()))
    }
}
