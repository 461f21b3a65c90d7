//! Notices consumers that stand still although more was published for them.

use std::{collections::BTreeMap, time::Duration};

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
    checked_at: Instant,
    standing: BTreeMap<(&'static str, Place), (i64, Instant)>,
}

impl Watchdog {
    pub(super) fn new(session: Duration) -> Self {
        Self { session, checked_at: Instant::now(), standing: BTreeMap::new() }
    }

    pub(super) fn is_due(&self) -> bool {
        self.checked_at.elapsed() > self.session / LOOKS_A_SESSION
    }

    /// Why the client should be replaced.
    pub(super) async fn check(&mut self, store: &Store, slots: &mut [Slot]) -> Option<String> {
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
        let patience = self.session * SESSIONS_OF_PATIENCE;
        let still = self.standing.iter().find(|(_, (_, since))| since.elapsed() > patience)?;
        let ((consumer, (stream, lane)), (position, _)) = still;
        Some(format!("{consumer} has stood at position {position} of {} lane {lane}", stream.name()))
    }
}
