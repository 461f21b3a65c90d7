//! Notices consumers that stand still although more was published for them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use store::Store;

use super::slot::Slot;
use crate::{position::Place, relay::cursor};

const WATCHDOG_INTERVAL: Duration = Duration::from_secs(10);
/// A group whose consumers stand still for this long gets a new client.
const WATCHDOG_PATIENCE: Duration = Duration::from_mins(1);

/// Notices consumers that stand still although more was published for them.
pub(super) struct Watchdog {
    checked_at: Instant,
    standing: BTreeMap<(&'static str, Place), (i64, Instant)>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self { checked_at: Instant::now(), standing: BTreeMap::new() }
    }

    pub(super) fn is_due(&self) -> bool {
        self.checked_at.elapsed() > WATCHDOG_INTERVAL
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
        let still = self.standing.iter().find(|(_, (_, since))| since.elapsed() > WATCHDOG_PATIENCE)?;
        let ((consumer, (stream, lane)), (position, _)) = still;
        Some(format!("{consumer} has stood at position {position} of {} lane {lane}", stream.name()))
    }
}
