//! When a key was used last: noted beside the requests, at most once a minute a key.
//!
//! What waits to be written is lost when the process is killed, when the database is away, or when more than
//! [`USES_WAITING_MAX`] wait: the next use notes it. So the time may be a minute or two behind; it is there to find keys
//! that nobody uses, not to prove who did what.

use std::sync::atomic::Ordering;

use domain::time::Timestamp;
use store::{Store, error::ReadError};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::cache::Known;

const NOTED_EVERY_MICROS: i64 = 60_000_000;
const USES_WAITING_MAX: usize = 1024;
/// That are written in one transaction.
const BATCH_USES_MAX: usize = 256;

type Use = (Uuid, Timestamp);

pub(crate) struct Uses(mpsc::Sender<Use>);

impl Uses {
    pub fn start(store: Store) -> Self {
        let (sender, inbox) = mpsc::channel(USES_WAITING_MAX);
        tokio::spawn(write_all(store, inbox));
        Self(sender)
    }

    pub fn note(&self, known: &Known, now: Timestamp) {
        let noted_at = known.noted_at.load(Ordering::Relaxed);
        if now.as_micros() - noted_at < NOTED_EVERY_MICROS {
            return;
        }
        // Of those that come here at once, one notes it.
        let taken =
            known.noted_at.compare_exchange(noted_at, now.as_micros(), Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_ok() {
            // Full: lost, as said above.
            let _ = self.0.try_send((known.verified.id, now));
        }
    }
}

async fn write_all(store: Store, mut inbox: mpsc::Receiver<Use>) {
    let mut uses = Vec::new();
    while inbox.recv_many(&mut uses, BATCH_USES_MAX).await > 0 {
        if let Err(error) = write(&store, &uses).await {
            tracing::warn!(%error, keys = uses.len(), "when keys were used last could not be noted");
        }
        uses.clear();
    }
}

async fn write(store: &Store, uses: &[Use]) -> Result<(), ReadError> {
    let mut transaction = store.begin().await?;
    let sql = "update api_keys set last_used_at = $2 where id = $1 and coalesce(last_used_at, 0) < $2";
    // In one order, so that two processes never wait for each other.
    let mut uses = uses.to_vec();
    uses.sort_unstable();
    for (id, at) in uses {
        transaction.execute(sql, vec![id.into(), at.as_micros().into()]).await?;
    }
    transaction.commit().await
}
