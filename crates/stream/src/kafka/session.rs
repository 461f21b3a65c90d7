//! What goes on between joining a group and leaving it: poll, hand what came to each consumer's engine, poll again. The
//! client behind it is librdkafka's, or the simulator's.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use store::Store;
use tokio::{sync::watch, time::Instant};

use super::{
    slot::{Item, Slot},
    values::Values,
    watchdog::{Still, Watchdog},
};
use crate::{
    consumer::Consumer,
    engine::{self, Engine, Trouble},
    position::Place,
};

/// How long a poll waits for a message.
pub(super) const POLL_MAX: Duration = Duration::from_millis(100);
/// How long the others of the group wait for one that reads from the log; it goes on when it stands still again.
const FROM_THE_LOG_MAX: Duration = Duration::from_secs(30);
/// Before it is asked again what a partition holds.
const LOOK_AGAIN_PAUSE: Duration = Duration::from_secs(1);
/// Messages of one partition that wait for a consumer before the reading of it pauses.
const PENDING_A_PLACE_MAX: usize = 5000;
/// Messages that are taken in between two batches, in batches.
const INTAKE_BATCHES: usize = 2;

/// A member of a group, as its consumers need it.
pub trait Client {
    /// Waits for what comes next, not longer than it is told.
    fn poll(&mut self, wait: Duration) -> impl Future<Output = Polled>;

    /// What has changed about the assignment since the last time. Changes while it polls only, so never in the middle
    /// of a batch.
    fn changes(&mut self) -> Vec<Change>;

    fn message_came(&mut self, place: Place);

    fn end_reached(&mut self, partition: i32);

    /// The position of the event whose record lies at an offset, if one does.
    fn position_at(&mut self, place: Place, offset: i64)
    -> impl Future<Output = Result<Option<i64>, String>>;

    /// All consumers of a place have come so far, the next offset to read; and whether something of it waits.
    fn handled(&mut self, place: Place, offset: Option<i64>, is_busy: bool);

    /// Stops or resumes the reading of a place.
    fn hold(&mut self, place: Place, held: bool);

    /// Reads a place from an offset on, or from its beginning; what was read ahead of it is forgotten.
    fn seek(&mut self, place: Place, offset: Option<i64>) -> Result<(), String>;

    /// Commits what was handled, now and then; failures are told and tried again with the next one.
    fn commit_now_and_then(&mut self);

    /// Takes the ends of places that have been read to their ends for handled: behind the last record lies the marker
    /// of its transaction, which is never delivered.
    fn settle_ends(&mut self);
}

// It is on its way to where it is kept, one at a time.
#[allow(clippy::large_enum_variant)]
pub enum Polled {
    Message(Place, Item),
    /// Of a topic that is not ours, or trouble that the client mends by itself.
    Passing,
    End(i32),
    Nothing,
    /// The client is of no more use.
    Fatal(String),
}

#[derive(Clone, Debug)]
pub enum Change {
    Assigned(Vec<Place>),
    Revoked(Vec<Place>),
}

/// The consumers of a group in one process, over all its memberships.
pub struct Desk {
    store: Store,
    slots: Vec<Slot>,
    watchdog: Watchdog,
    intake_max: usize,
    /// How many clients there have been, with this one.
    #[cfg(debug_assertions)]
    clients: u32,
}

impl Desk {
    pub fn new(
        store: &Store,
        consumers: &[Arc<dyn Consumer>],
        values: &Values,
        settings: engine::Settings,
        session_timeout: Duration,
    ) -> Self {
        let slot = |consumer: &Arc<dyn Consumer>| {
            Slot::new(Engine::new(store.clone(), consumer.clone(), settings).on_topics(), values.clone())
        };
        Self {
            store: store.clone(),
            slots: consumers.iter().map(slot).collect(),
            watchdog: Watchdog::new(session_timeout),
            intake_max: settings.batch_events_max * INTAKE_BATCHES,
            #[cfg(debug_assertions)]
            clients: 0,
        }
    }

    /// Until the group is to be left; or joined anew, because its client is of no more use.
    pub async fn run(&mut self, client: &mut impl Client, stopping: &watch::Receiver<bool>) {
        #[cfg(debug_assertions)]
        {
            self.clients += 1;
        }
        self.watchdog.joined();
        while !*stopping.borrow() {
            if let Err(reason) = self.take_in(client).await {
                tracing::error!(reason, "the client of the consumer group is replaced");
                break;
            }
            if let Err(reason) = self.look_at_controls(client).await {
                tracing::error!(
                    reason,
                    "a consumer that goes on could not be read anew; the client is replaced"
                );
                break;
            }
            for index in 0..self.slots.len() {
                self.handle(index, client).await;
            }
            self.account(client);
            client.commit_now_and_then();
            if self.watchdog.is_due() {
                let still = self.watchdog.check(&self.store, &mut self.slots).await;
                for still in &still {
                    self.mend(still, stopping).await;
                }
                if !still.is_empty() {
                    tracing::error!("the client of the consumer group is replaced");
                    break;
                }
            }
        }
        for slot in &mut self.slots {
            slot.places.clear();
        }
    }

    /// Polls: waits for a first message unless there is work, and takes what else is there.
    async fn take_in(&mut self, client: &mut impl Client) -> Result<(), String> {
        let mut wait = self.slots.iter().map(Slot::wait).min().unwrap_or(POLL_MAX).min(POLL_MAX);
        let mut taken = 0;
        while taken < self.intake_max {
            let polled = client.poll(wait).await;
            let waited = std::mem::take(&mut wait);
            self.take_changes(client);
            match polled {
                Polled::Message(place, item) => {
                    taken += 1;
                    self.deliver(client, place, item);
                }
                Polled::Passing => {}
                Polled::End(partition) => {
                    self.watchdog.end_reached(partition);
                    client.end_reached(partition);
                }
                Polled::Fatal(reason) => return Err(reason),
                Polled::Nothing => {
                    if taken == 0 && waited >= POLL_MAX {
                        client.settle_ends();
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// What the client will not read any more is read from the log. It is replaced in any case: it may be deaf.
    async fn mend(&mut self, still: &Still, stopping: &watch::Receiver<bool>) {
        let Still { consumer, place, position, published, is_at_end } = still;
        let (stream, lane) = place;
        tracing::error!(
            consumer,
            stream = stream.name(),
            lane = lane.0,
            position,
            published,
            from_the_log = is_at_end,
            "the consumer stands still although more was published"
        );
        let slot = self.slots.iter_mut().find(|slot| slot.engine.consumer().name() == *consumer);
        let Some(slot) = slot.filter(|_| *is_at_end) else { return };
        let until = Instant::now() + FROM_THE_LOG_MAX;
        let goes_on = || !*stopping.borrow() && Instant::now() < until;
        let handled = slot.handle_from_log(*place, *published, goes_on).await;
        slot.conclude(handled);
    }
    fn take_changes(&mut self, client: &mut impl Client) {
        for change in client.changes() {
            for slot in &mut self.slots {
                match &change {
                    Change::Assigned(places) => slot.take_over(places),
                    Change::Revoked(places) => slot.give_away(places),
                }
            }
        }
    }

    fn deliver(&mut self, client: &mut impl Client, place: Place, item: Item) {
        #[cfg(debug_assertions)]
        if crate::fail::is_deaf(self.clients) {
            return;
        }
        client.message_came(place);
        let mut readers: Vec<&mut Slot> = self.slots.iter_mut().filter(|slot| slot.reads(place)).collect();
        // Nearly always there is one reader, which gets the item itself.
        if let Some(last) = readers.pop() {
            for slot in readers {
                slot.push(place, item.copy());
            }
            last.push(place, item);
        }
    }

    /// Has consumers pause and go on. One that goes on is read from where its positions are, which may have been moved;
    /// the others of a place pass over what they have seen.
    async fn look_at_controls(&mut self, client: &mut impl Client) -> Result<(), String> {
        let mut starts: BTreeMap<Place, Option<i64>> = BTreeMap::new();
        let now = Instant::now();
        let is_waiting = |slot: &Slot| slot.paused_until.is_some_and(|until| until > now);
        for slot in self.slots.iter_mut().filter(|slot| !slot.has_stopped && !is_waiting(slot)) {
            match slot.look_at_control().await {
                Ok(anew) => starts.extend(anew),
                Err(trouble) => slot.conclude(Err(trouble)),
            }
        }
        for (place, start) in &mut starts {
            let readers = self.slots.iter().filter(|slot| slot.reads(*place));
            let offsets = readers.filter_map(|slot| {
                let known = slot.engine.known_positions()?.get(place)?;
                Some(known.kafka_offset)
            });
            // `None`, the beginning, is the smallest.
            *start = offsets.fold(*start, Option::min);
        }
        for (place, start) in starts {
            client.seek(place, start)?;
        }
        Ok(())
    }

    async fn handle(&mut self, index: usize, client: &mut impl Client) {
        let slot = &mut self.slots[index];
        if slot.has_stopped || slot.is_paused || slot.paused_until.is_some_and(|until| until > Instant::now())
        {
            return;
        }
        slot.paused_until = None;
        let mut handled = slot.handle().await;
        if matches!(handled, Err(Trouble::Stopped(_))) {
            match slot.are_gone(client).await {
                Ok(true) => handled = Ok(()),
                Ok(false) => {}
                // It is asked again, with the same records.
                Err(reason) => {
                    tracing::warn!(reason, "what a partition holds could not be found out yet");
                    slot.paused_until = Some(Instant::now() + LOOK_AGAIN_PAUSE);
                    return;
                }
            }
        }
        slot.conclude(handled);
    }

    /// Tells the client how far all consumers of a place have come, and lets it read on or wait.
    fn account(&self, client: &mut impl Client) {
        let mut places: BTreeMap<Place, Come> = BTreeMap::new();
        for slot in &self.slots {
            let known = slot.engine.known_positions();
            for (place, pending) in &slot.places {
                let mark = known.and_then(|positions| positions.get(place));
                let come = places.entry(*place).or_insert(Come::NOWHERE);
                come.is_read |= !slot.is_paused;
                come.is_left_lying |= slot.is_paused;
                come.offset = come.offset.min(mark.and_then(|mark| mark.kafka_offset));
                come.waiting = come.waiting.max(pending.items.len());
            }
        }
        for (place, Come { offset, waiting, is_read, is_left_lying }) in &places {
            client.handled(*place, *offset, *waiting > 0 || *is_left_lying);
            client.hold(*place, *waiting >= PENDING_A_PLACE_MAX || !is_read);
        }
    }
}

/// How far the consumers of a place have come, and what waits for the slowest.
struct Come {
    offset: Option<i64>,
    waiting: usize,
    /// By one of them that is not paused.
    is_read: bool,
    /// One of them is paused, so what was read is not yet handled by all.
    is_left_lying: bool,
}

impl Come {
    const NOWHERE: Self = Self { offset: Some(i64::MAX), waiting: 0, is_read: false, is_left_lying: false };
}
