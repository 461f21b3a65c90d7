//! A consumer of a group, and what waits for it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use domain::chain::{GENESIS, Hash};
use rdkafka::message::Message;
use store::{
    Store,
    batch::LogEvent,
    error::ReadError,
    fault::{self, Fault},
    log::{self, Span},
};
use tokio::time::Instant;

use super::{
    headers,
    record::{self, Incoming},
    session::{Client, POLL_MAX},
    values::Values,
    walk::Walk,
};
use crate::{
    dead_letter::Foreign,
    engine::{Batch, Engine, Handled, Trouble},
    position::{Mark, Place, Positions},
    runtime::check_dense,
};

/// A consumer of the group, and what waits for it.
pub(super) struct Slot {
    pub(super) engine: Engine,
    values: Values,
    pub(super) places: BTreeMap<Place, Pending>,
    /// Nothing is tried before then: the database is away.
    pub(super) paused_until: Option<Instant>,
    pub(super) has_stopped: bool,
    /// Somebody has paused the consumer. What comes for it is not kept: it is read again afterwards.
    pub(super) is_paused: bool,
}

#[derive(Default)]
pub(super) struct Pending {
    pub(super) items: VecDeque<Item>,
    /// Position and hash of the event that was handled last, when known.
    pub(super) last: Option<(i64, Hash)>,
    /// The last event in its order since the place was taken over, if there was one.
    pub(super) in_order: Option<Lying>,
    /// The last event in its order, behind which the next one is missing.
    pub(super) before_gap: Option<Lying>,
    /// Events in hand that do not lie in the partition any more: what is missing behind them was not left out by whoever
    /// published it.
    pub(super) gone: Vec<Lying>,
    /// Its next record cannot be read before then: the registry is away.
    pub(super) waits_until: Option<Instant>,
}

/// Where an event was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lying {
    pub(super) position: i64,
    pub(super) offset: i64,
}

/// How many records of each place, the first of those that wait, a walk has passed.
type Passed = BTreeMap<Place, usize>;

/// A record of a place, as its consumers see it.
pub struct Item {
    pub(super) offset: i64,
    pub(super) content: Content,
}

pub(super) enum Content {
    Event(LogEvent),
    /// All of it is known but the payload, which is in this value.
    Avro(LogEvent, Vec<u8>),
    Claim(LogEvent),
    Foreign(Foreign),
}

impl Item {
    /// Reads a record that came from a partition.
    pub fn read(place: Place, message: &impl Message) -> Self {
        let (stream, lane) = place;
        let incoming = record::decode(stream, lane, message.key(), message.payload(), message.headers());
        let content = match incoming {
            Incoming::Event(event) => Content::Event(event),
            Incoming::Avro(event, value) => Content::Avro(event, value),
            Incoming::Claim(event) => Content::Claim(event),
            Incoming::Foreign(reason) => Content::Foreign(foreign(place, message, reason)),
        };
        Self { offset: message.offset(), content }
    }

    pub(super) fn copy(&self) -> Self {
        let content = match &self.content {
            Content::Event(event) => Content::Event(event.clone()),
            Content::Avro(event, value) => Content::Avro(event.clone(), value.clone()),
            Content::Claim(event) => Content::Claim(event.clone()),
            Content::Foreign(message) => Content::Foreign(message.clone()),
        };
        Self { offset: self.offset, content }
    }
}

impl Slot {
    pub(super) const fn new(engine: Engine, values: Values) -> Self {
        Self {
            engine,
            values,
            places: BTreeMap::new(),
            paused_until: None,
            has_stopped: false,
            is_paused: false,
        }
    }

    pub(super) fn reads(&self, place: Place) -> bool {
        !self.has_stopped && !self.is_paused && self.places.contains_key(&place)
    }

    /// Looks whether the consumer is to pause, or to go on; gives the places from which on it is to be read anew, each
    /// with the offset to begin at.
    pub(super) async fn look_at_control(&mut self) -> Result<Vec<(Place, Option<i64>)>, Trouble> {
        if self.engine.is_paused().await? {
            self.is_paused = true;
            for pending in self.places.values_mut() {
                *pending = Pending::default();
            }
            return Ok(Vec::new());
        }
        if !self.engine.take_moved() && !self.is_paused {
            return Ok(Vec::new());
        }
        // Until its positions are known it waits as if it still stood still.
        self.is_paused = true;
        for pending in self.places.values_mut() {
            *pending = Pending::default();
        }
        let positions = self.engine.positions().await?;
        self.is_paused = false;
        let offset = |place: &Place| positions.get(place).and_then(|mark| mark.kafka_offset);
        Ok(self.places.keys().map(|place| (*place, offset(place))).collect())
    }

    pub(super) fn take_over(&mut self, places: &[Place]) {
        let streams = self.engine.consumer().streams();
        for place in places.iter().filter(|(stream, _)| streams.contains(stream)) {
            self.places.insert(*place, Pending::default());
        }
        self.engine.forget_positions();
    }

    pub(super) fn give_away(&mut self, places: &[Place]) {
        for place in places {
            self.places.remove(place);
        }
        let kept = &self.places;
        self.engine.forget_failing(|place, _| kept.contains_key(&place));
    }

    pub(super) fn push(&mut self, place: Place, item: Item) {
        if let Some(pending) = self.places.get_mut(&place) {
            pending.items.push_back(item);
        }
    }

    /// How long a poll may wait for more.
    pub(super) fn wait(&self) -> Duration {
        let now = Instant::now();
        if self.has_stopped || self.is_paused {
            return POLL_MAX;
        }
        if let Some(until) = self.paused_until {
            return until.saturating_duration_since(now);
        }
        let retry = self.engine.next_retry().unwrap_or(POLL_MAX);
        let mut wait = retry;
        for (place, pending) in &self.places {
            if !pending.items.is_empty() && self.engine.failing_at(*place).is_none() {
                wait = wait.min(pending.waits_until.map_or(Duration::ZERO, |at| at - now));
            }
        }
        wait
    }

    /// Handles what waits, a batch of it, and what had failed and is due.
    pub(super) async fn handle(&mut self) -> Result<(), Trouble> {
        let is_known = self.engine.known_positions().is_some();
        let is_idle =
            self.places.values().all(|pending| pending.items.is_empty()) && self.engine.due().is_empty();
        if is_idle && (is_known || self.places.is_empty()) {
            return Ok(());
        }
        if !is_known {
            let places: Vec<Place> = self.places.keys().copied().collect();
            self.walk_anew(places.iter());
        }
        let positions = self.engine.positions().await?;
        for (place, pending) in &mut self.places {
            if pending.last.is_none() && !pending.items.is_empty() {
                let position = positions.get(place).map_or(0, |mark| mark.position);
                pending.last = hash_at(self.engine.store(), *place, position).await?;
            }
        }
        let (batch, passed) = self.gather(&positions).await?;
        // What lies before the positions is passed without a word to the database.
        let handled = if batch.to.is_empty() { Handled::Done } else { self.engine.handle(&batch).await? };
        match handled {
            Handled::Done => self.done(&batch, &passed),
            // What the walk took for seen is to be seen again, from where the positions are.
            Handled::Overtaken | Handled::Failed => self.walk_anew(batch.to.keys()),
        }
        self.retry_due().await
    }

    /// Whether records expired, or their topic was made anew, while they were being read: what was read before the gap does
    /// not lie there any more. What is missing is read from the log then; otherwise it was never published.
    pub(super) async fn are_gone(&mut self, client: &mut impl Client) -> Result<bool, String> {
        let mut are_gone = false;
        for (place, pending) in &mut self.places {
            let Some(before) = pending.before_gap else { continue };
            let is_there = client.position_at(*place, before.offset).await? == Some(before.position);
            pending.before_gap = None;
            if !is_there {
                pending.gone.push(before);
                are_gone = true;
            }
        }
        Ok(are_gone)
    }

    /// Takes in how the handling of what waits has ended.
    pub(super) fn conclude(&mut self, handled: Result<(), Trouble>) {
        match handled {
            Ok(()) => {}
            Err(Trouble::Transient(reason)) => {
                self.paused_until = Some(Instant::now() + self.engine.back_off(&reason));
            }
            Err(Trouble::Stopped(stopped)) => {
                let consumer = self.engine.consumer().name();
                tracing::error!(consumer, error = %stopped, "the consumer has stopped");
                self.has_stopped = true;
                self.places.clear();
            }
        }
    }

    /// Handles events of the log itself, up to a position, which the topic does not give; as long as it may go on.
    pub(super) async fn handle_from_log(
        &mut self,
        place: Place,
        until: i64,
        goes_on: impl Fn() -> bool,
    ) -> Result<(), Trouble> {
        let (stream, lane) = place;
        let room = i64::try_from(self.engine.batch_events_max()).unwrap_or(i64::MAX);
        while goes_on() {
            let Some(from) = self.engine.positions().await?.get(&place).copied() else { return Ok(()) };
            let span = Span { stream, lane, behind: from.position, until: until.min(from.position + room) };
            if span.until <= span.behind || self.engine.failing_at(place).is_some() {
                return Ok(());
            }
            let events = log::spans(self.engine.store().reads(), &[span]).await?;
            check_dense(self.engine.consumer().name(), &[span], &events)?;
            let to = [(place, Mark { position: span.until, ..from })].into();
            self.walk_anew(std::iter::once(&place));
            if self.engine.handle(&Batch { events, foreign: Vec::new(), to }).await? != Handled::Done {
                return Ok(());
            }
        }
        Ok(())
    }

    fn walk_anew<'a>(&mut self, places: impl Iterator<Item = &'a Place>) {
        for place in places {
            if let Some(pending) = self.places.get_mut(place) {
                pending.last = None;
                pending.in_order = None;
            }
        }
    }

    /// The next events of all places, in their order, up to those that are known to fail; and how many records of each
    /// place need not be looked at again when they are handled.
    async fn gather(&mut self, positions: &Positions) -> Result<(Batch, Passed), Trouble> {
        let (mut batch, mut passed) = (Batch::default(), Passed::new());
        let mut room = self.engine.batch_events_max();
        let name = self.engine.consumer().name();
        for (place, pending) in &mut self.places {
            if pending.waits_until.is_some_and(|until| until > Instant::now()) {
                continue;
            }
            pending.waits_until = None;
            let from = positions.get(place).copied().unwrap_or_default();
            let failing = self.engine.failing_at(*place);
            let (store, values) = (self.engine.store(), &self.values);
            let mut walk = Walk { store, values, name, place: *place, failing, to: from };
            let set_aside = batch.foreign.len();
            passed.insert(*place, walk.walk(pending, &mut batch, &mut room).await?);
            if fault::is_on(Fault::StoreOffsetRead) {
                walk.to.kafka_offset =
                    pending.items.back().map(|item| item.offset + 1).or(walk.to.kafka_offset);
            }
            // What is set aside is kept only if the position is still where this process believes it to be.
            if walk.to != from || batch.foreign.len() > set_aside {
                batch.to.insert(*place, walk.to);
            }
            if room == 0 {
                break;
            }
        }
        Ok((batch, passed))
    }

    /// Forgets what was handled.
    fn done(&mut self, batch: &Batch, passed: &Passed) {
        for event in &batch.events {
            if let Some(pending) = self.places.get_mut(&(event.stream, event.lane)) {
                pending.last = Some((event.position, event.hash));
            }
        }
        for place in batch.to.keys() {
            if let Some(pending) = self.places.get_mut(place) {
                pending.gone.clear();
            }
        }
        for (place, count) in passed {
            if let Some(pending) = self.places.get_mut(place) {
                pending.items.drain(..*count);
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
            let batch = Batch { events: vec![event.clone()], ..Batch::default() };
            // The next walk meets its record, and the offset goes on with it.
            if self.engine.retry(event, Mark { position: failing, ..*mark }).await? == Handled::Done {
                self.done(&batch, &Passed::new());
            }
        }
        Ok(())
    }
}

fn foreign(place: Place, message: &impl Message, reason: String) -> Foreign {
    let headers = message.headers().map(|headers| {
        headers::each(headers)
            .map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
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

async fn hash_at(store: &Store, place: Place, position: i64) -> Result<Option<(i64, Hash)>, ReadError> {
    if position == 0 {
        return Ok(Some((0, GENESIS)));
    }
    let event = log::behind(store.reads(), place.0, place.1, position - 1, 1).await?;
    Ok(event.first().filter(|event| event.position == position).map(|event| (position, event.hash)))
}
