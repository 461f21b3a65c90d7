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
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use domain::lane::Lane;
use rdkafka::{
    error::KafkaError,
    message::{BorrowedMessage, Headers as _, Message as _},
};
use store::Store;
use tokio::{runtime::Handle, sync::watch};

use super::{
    Settings,
    member::{Change, Member},
    record::{self, Incoming},
    slot::{Content, Item, Slot},
    watchdog::Watchdog,
};
use crate::{
    consumer::{Consumer, Group},
    dead_letter::Foreign,
    engine::{self, Engine, Trouble},
    position::Place,
};

/// How long a poll waits for a message.
pub(super) const POLL_MAX: Duration = Duration::from_millis(100);
/// Messages of one partition that wait for a consumer before the reading of it pauses.
const PENDING_A_PLACE_MAX: usize = 5000;
/// Messages that are taken in between two batches, in batches.
const INTAKE_BATCHES: usize = 2;
const REJOIN_PAUSE: Duration = Duration::from_secs(1);

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
    #[cfg(debug_assertions)]
    let mut clients = 0;
    while !*stopping.borrow() {
        #[cfg(debug_assertions)]
        {
            clients += 1;
        }
        match Member::join(kafka, group, store, &reads, runtime) {
            Ok(member) => {
                let mut session = Session {
                    member,
                    slots: &mut slots,
                    store,
                    runtime,
                    watchdog: Watchdog::new(kafka.session_timeout),
                    #[cfg(debug_assertions)]
                    clients,
                    intake_max: settings.batch_events_max * INTAKE_BATCHES,
                };
                session.run(stopping);
                session.member.leave();
                for slot in &mut slots {
                    slot.places.clear();
                }
            }
            Err(error) => {
                tracing::error!(group = kafka.group(group), %error, "the group could not be joined");
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
    /// How many this process has had of this group, with this one.
    #[cfg(debug_assertions)]
    clients: u32,
    intake_max: usize,
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
        #[cfg(debug_assertions)]
        if crate::fail::is_deaf(self.clients) {
            return;
        }
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
