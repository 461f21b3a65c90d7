//! Whose key this is: from memory as a rule, from the table when it was not asked for in the last five seconds.

use std::sync::{Arc, atomic::AtomicI64};

use domain::time::Timestamp;
use store::Store;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    Caller, KeyRefusal, Mode,
    cache::{Cache, Known},
    keys::{self, Key},
    last_use::Uses,
    secret::{self, Hash},
};

/// Keys that are looked up in the table at once; others of the same sort wait, and find what was read for them. So keys
/// that somebody makes up cannot keep the database busy.
const LOOKUPS_AT_ONCE_MAX: usize = 16;

/// A key that lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedKey {
    pub id: Uuid,
    pub caller: Caller,
    /// `None`: as many as everybody may.
    pub requests_per_second: Option<u32>,
}

#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    mode: Mode,
    cache: Cache,
    uses: Uses,
    turns: [Mutex<()>; LOOKUPS_AT_ONCE_MAX],
}

impl Access {
    /// Within a runtime of tokio: a task notes when keys were used, until the last clone of this is dropped.
    pub fn new(store: Store, mode: Mode) -> Self {
        let uses = Uses::start(store.clone());
        let inner = Inner { store, mode, cache: Cache::default(), uses, turns: Default::default() };
        Self { inner: Arc::new(inner) }
    }

    pub fn mode(&self) -> Mode {
        self.inner.mode
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The caller of a key as it was presented. A revocation counts at once in the process that made it, and in others
    /// within five seconds.
    pub async fn key(&self, presented: &str) -> Result<Arc<VerifiedKey>, KeyRefusal> {
        let Inner { store, cache, turns, .. } = &*self.inner;
        let hash = secret::key_hash(presented).ok_or(KeyRefusal::Unknown)?;
        let now = store.now();
        if let Some(known) = cache.get(&hash, now) {
            return self.admit(&known, now);
        }
        let _turn = turns[usize::from(hash[0]) % LOOKUPS_AT_ONCE_MAX].lock().await;
        if let Some(known) = cache.get(&hash, now) {
            return self.admit(&known, now);
        }
        let changes = cache.changes();
        let known = Arc::new(self.read(&hash).await?);
        cache.put(hash, known.clone(), changes);
        self.admit(&known, now)
    }

    async fn read(&self, hash: &Hash) -> Result<Known, KeyRefusal> {
        let read_at = self.inner.store.now();
        let found = keys::by_hash(self.inner.store.reads(), hash).await.map_err(KeyRefusal::Unavailable)?;
        let key = found.ok_or(KeyRefusal::Unknown)?;
        let noted_at = AtomicI64::new(key.last_used_at.map_or(0, Timestamp::as_micros));
        let Key { id, scope, role, requests_per_second, expires_at, revoked_at, .. } = key;
        let caller = Caller { name: key.actor_name(), scope, role };
        Ok(Known {
            verified: Arc::new(VerifiedKey { id, caller, requests_per_second }),
            expires_at,
            is_revoked: revoked_at.is_some(),
            read_at,
            noted_at,
        })
    }

    fn admit(&self, known: &Known, now: Timestamp) -> Result<Arc<VerifiedKey>, KeyRefusal> {
        if known.is_revoked {
            return Err(KeyRefusal::Revoked);
        }
        if known.expires_at.is_some_and(|end| now >= end) {
            return Err(KeyRefusal::Expired);
        }
        self.inner.uses.note(known, now);
        Ok(known.verified.clone())
    }

    /// What was changed of a key counts from now on in this process.
    pub(crate) fn forget(&self, id: Uuid) {
        self.inner.cache.forget(id);
    }
}
