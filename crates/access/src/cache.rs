//! What was read of keys a moment ago, so that a request costs no query.
//!
//! Bounded by two halves: when the young one is full it becomes the old one, and the old one goes. An entry counts for
//! [`FRESH_MICROS`]; by then another process' revocation is seen. What this process changes is forgotten at once, also by
//! whoever was reading it at that moment.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicI64},
};

use domain::time::Timestamp;
use uuid::Uuid;

use crate::{access::VerifiedKey, secret::Hash};

/// Keys that are remembered at once.
pub(crate) const CACHED_KEYS_MAX: usize = 20_000;
pub(crate) const FRESH_MICROS: i64 = 5_000_000;

/// A key as it was read.
pub(crate) struct Known {
    pub verified: Arc<VerifiedKey>,
    pub expires_at: Option<Timestamp>,
    pub is_revoked: bool,
    pub read_at: Timestamp,
    /// When its use was noted last, in microseconds.
    pub noted_at: AtomicI64,
}

impl Known {
    /// A clock that was set back makes nothing fresh for longer.
    fn is_fresh(&self, now: Timestamp) -> bool {
        (0..FRESH_MICROS).contains(&(now.as_micros() - self.read_at.as_micros()))
    }
}

#[derive(Default)]
pub(crate) struct Cache(RwLock<Halves>);

#[derive(Default)]
struct Halves {
    young: HashMap<Hash, Arc<Known>>,
    old: HashMap<Hash, Arc<Known>>,
    /// Counts what was forgotten on purpose.
    changes: u64,
}

impl Cache {
    pub fn get(&self, hash: &Hash, now: Timestamp) -> Option<Arc<Known>> {
        let halves = self.read();
        let found = halves.young.get(hash).or_else(|| halves.old.get(hash))?;
        found.is_fresh(now).then(|| found.clone())
    }

    /// To be taken before the key is read, for [`Cache::put`].
    pub fn changes(&self) -> u64 {
        self.read().changes
    }

    /// Remembers what was read, unless something was changed since the reading began.
    pub fn put(&self, hash: Hash, known: Arc<Known>, changes: u64) {
        let mut halves = self.write();
        if halves.changes != changes {
            return;
        }
        halves.old.remove(&hash);
        if halves.young.len() >= CACHED_KEYS_MAX / 2 && !halves.young.contains_key(&hash) {
            halves.old = mem::take(&mut halves.young);
        }
        halves.young.insert(hash, known);
    }

    pub fn forget(&self, id: Uuid) {
        let mut halves = self.write();
        halves.changes += 1;
        halves.young.retain(|_, known| known.verified.id != id);
        halves.old.retain(|_, known| known.verified.id != id);
    }

    fn read(&self) -> RwLockReadGuard<'_, Halves> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Halves> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Caller, secret};

    fn known(number: u128, read_at: i64) -> Arc<Known> {
        Arc::new(Known {
            verified: Arc::new(VerifiedKey {
                id: Uuid::from_u128(number),
                caller: Caller::open(),
                requests_per_second: None,
            }),
            expires_at: None,
            is_revoked: false,
            read_at: Timestamp::from_micros(read_at),
            noted_at: AtomicI64::default(),
        })
    }

    fn hash(number: u128) -> Hash {
        secret::hash(&number.to_string())
    }

    #[test]
    fn what_was_read_counts_for_five_seconds_and_not_when_the_clock_was_set_back() {
        let cache = Cache::default();
        cache.put(hash(1), known(1, 10_000_000), cache.changes());
        let is_known = |micros| cache.get(&hash(1), Timestamp::from_micros(micros)).is_some();
        assert!(is_known(10_000_000) && is_known(14_999_999));
        assert!(!is_known(15_000_000) && !is_known(9_999_999));
    }

    #[test]
    fn the_last_ones_are_remembered_and_never_more_than_the_limit() {
        let cache = Cache::default();
        let count = CACHED_KEYS_MAX as u128 * 2;
        for number in 0..count {
            cache.put(hash(number), known(number, 0), 0);
        }
        let halves = cache.read();
        assert!(halves.young.len() + halves.old.len() <= CACHED_KEYS_MAX);
        drop(halves);
        for number in (count - CACHED_KEYS_MAX as u128 / 2)..count {
            assert!(cache.get(&hash(number), Timestamp::default()).is_some(), "{number}");
        }
    }

    #[test]
    fn what_was_forgotten_while_it_was_read_is_not_remembered() {
        let cache = Cache::default();
        let changes = cache.changes();
        cache.forget(Uuid::from_u128(1));
        cache.put(hash(1), known(1, 0), changes);
        assert!(cache.get(&hash(1), Timestamp::default()).is_none());
        cache.put(hash(1), known(1, 0), cache.changes());
        assert!(cache.get(&hash(1), Timestamp::default()).is_some());
        cache.forget(Uuid::from_u128(1));
        assert!(cache.get(&hash(1), Timestamp::default()).is_none());
    }
}
