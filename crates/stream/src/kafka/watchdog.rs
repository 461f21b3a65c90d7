//! Notices consumers that stand still although more was published for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use store::Store;
use tokio::time::Instant;

use super::slot::Slot;
use crate::{position::Place, relay::cursor};

/// A group whose consumers stand still for so many session time-outs gets a new client: the group itself would have
/// given a member up that is silent for one.
const SESSIONS_OF_PATIENCE: u32 = 2;
const LOOKS_A_SESSION: u32 = 4;

/// Notices consumers that stand still although more was published for them.
pub(super) struct Watchdog {
    session: Duration,
    joined_at: Instant,
    checked_at: Instant,
    /// Over all clients.
    standing: BTreeMap<(&'static str, Place), (i64, Instant)>,
    /// Partitions of which the client has read one topic or another to its end: the event does not name the topic. What is
    /// read from the log too early does no harm.
    ends: BTreeSet<i32>,
}

/// A consumer that stands still.
pub(super) struct Still {
    pub(super) consumer: &'static str,
    pub(super) place: Place,
    pub(super) position: i64,
    pub(super) published: i64,
    /// The client has read the partition to its end meanwhile, and will not read what is missing: it has expired, or it
    /// lies before the offset from which the client goes on, as when the topic was made anew since that was stored.
    pub(super) is_at_end: bool,
}

impl Watchdog {
    pub(super) fn new(session: Duration) -> Self {
        let now = Instant::now();
        Self { session, joined_at: now, checked_at: now, standing: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// There is another client, which gets all of the patience again.
    pub(super) fn joined(&mut self) {
        self.joined_at = Instant::now();
        self.ends.clear();
    }

    pub(super) fn is_due(&self) -> bool {
        self.checked_at.elapsed() > self.session / LOOKS_A_SESSION
    }

    pub(super) fn end_reached(&mut self, partition: i32) {
        self.ends.insert(partition);
    }

    /// Who stands still for longer than is to be borne.
    pub(super) async fn check(&mut self, store: &Store, slots: &mut [Slot]) -> Vec<Still> {
        self.checked_at = Instant::now();
        let Ok(published) = cursor::published(store.reads()).await else { return Vec::new() };
        let mut standing = BTreeMap::new();
        for slot in slots.iter_mut().filter(|slot| !slot.is_paused) {
            let Ok(positions) = slot.engine.positions().await else { return Vec::new() };
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
        let patience = self.session * SESSIONS_OF_PATIENCE;
        if self.joined_at.elapsed() <= patience {
            return Vec::new();
        }
        let still = self.standing.iter().filter(|(_, (_, since))| since.elapsed() > patience);
        still
            .map(|((consumer, place), (position, _))| Still {
                consumer,
                place: *place,
                position: *position,
                published: published.get(place).copied().unwrap_or(0),
                is_at_end: self.ends.contains(&i32::from(place.1.0)),
            })
            .collect()
    }
}
