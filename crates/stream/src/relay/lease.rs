//! Who publishes: a lease in the database with a fencing epoch.
//!
//! No clock of another machine is trusted. The holder raises a beat; who sees the same epoch and beat for the
//! whole length of the lease, on its own monotonic clock, takes over with the next epoch. A holder that could not
//! raise its beat in time takes itself for deposed. What remains possible when a process is stopped in the wrong
//! moment, two of them that both believe, is settled by Kafka: the one with the newer producer fences the other.

use std::time::Duration;

use store::{Store, error::ReadError, sql::Row};
use telemetry::metrics;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

/// What a holder knows about its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub epoch: i64,
    until: Instant,
}

impl Standing {
    pub fn is_held(&self) -> bool {
        Instant::now() < self.until
    }
}

/// Beats in the length of a lease.
const BEATS_A_LEASE: u32 = 4;

pub struct Lease {
    store: Store,
    me: Uuid,
    length: Duration,
    held: Option<Held>,
    seen: Option<Seen>,
}

struct Held {
    epoch: i64,
    beat: i64,
    /// When the last beat that was written began to be written.
    beaten_at: Instant,
}

/// What a standby saw, and since when.
struct Seen {
    epoch: i64,
    beat: i64,
    since: Instant,
}

struct Found {
    holder: Option<Uuid>,
    epoch: i64,
    beat: i64,
}

impl Lease {
    pub fn new(store: Store, length: Duration) -> Self {
        Self { store, me: Uuid::new_v4(), length, held: None, seen: None }
    }

    /// What says until when the lease is surely held, and the future that tends it: until `stopping` turns true, when
    /// it lets the lease go.
    pub fn keep(
        mut self,
        mut stopping: watch::Receiver<bool>,
    ) -> (watch::Receiver<Option<Standing>>, impl Future<Output = ()> + Send + 'static) {
        let (tell, standing) = watch::channel(None);
        let keeper = async move {
            let mut is_in_trouble = false;
            while !*stopping.borrow() {
                match self.tend().await {
                    Ok(_) => is_in_trouble = false,
                    Err(error) if !is_in_trouble => {
                        is_in_trouble = true;
                        tracing::warn!(%error, "the relay's lease cannot be tended; it is tried again");
                    }
                    Err(_) => {}
                }
                // What was held stays held until its time is over, whatever went wrong.
                tell.send_replace(self.standing());
                metrics().relay_leads.set(i64::from(self.held.is_some()));
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(self.length / BEATS_A_LEASE) => {}
                    _ = stopping.changed() => {}
                }
            }
            tell.send_replace(None);
            metrics().relay_leads.set(0);
            if let Err(error) = self.release().await {
                tracing::warn!(%error, "the relay's lease could not be released; another process waits until it has expired");
            }
        };
        (standing, keeper)
    }

    fn standing(&self) -> Option<Standing> {
        let held = self.held.as_ref()?;
        Some(Standing { epoch: held.epoch, until: held.beaten_at + self.length })
    }

    /// Raises the beat, or takes the lease when it is free; gives whether it is held.
    async fn tend(&mut self) -> Result<bool, ReadError> {
        let begun_at = Instant::now();
        let found = self.find().await?;
        let held = self.held.as_ref().map(|held| (held.epoch, held.beat));
        let next = match held {
            Some((epoch, beat)) if found.holder == Some(self.me) && found.epoch == epoch => (epoch, beat + 1),
            Some(_) => {
                tracing::warn!(epoch = found.epoch, "another relay has taken the lease");
                self.held = None;
                return Ok(false);
            }
            None if self.is_free(&found) => (found.epoch + 1, 0),
            None => return Ok(false),
        };
        if !self.write(Some(self.me), next, (found.epoch, found.beat)).await? {
            self.held = None;
            return Ok(false);
        }
        if self.held.is_none() {
            tracing::info!(epoch = next.0, "this process publishes the log now");
        }
        self.held = Some(Held { epoch: next.0, beat: next.1, beaten_at: begun_at });
        Ok(true)
    }

    /// Lets another process take over at once.
    async fn release(&mut self) -> Result<(), ReadError> {
        if let Some(held) = self.held.take() {
            self.write(None, (held.epoch, held.beat + 1), (held.epoch, held.beat)).await?;
        }
        Ok(())
    }

    fn is_free(&mut self, found: &Found) -> bool {
        if found.holder.is_none() {
            return true;
        }
        let since = match &self.seen {
            Some(seen) if seen.epoch == found.epoch && seen.beat == found.beat => seen.since,
            _ => Instant::now(),
        };
        self.seen = Some(Seen { epoch: found.epoch, beat: found.beat, since });
        since.elapsed() > self.length
    }

    async fn find(&self) -> Result<Found, ReadError> {
        let sql = "select holder, epoch, beat from relay_lease where name = 'relay'";
        let rows = self.store.reads().query(sql, Vec::new()).await?;
        let found =
            |row: Row<'_>| Ok(Found { holder: row.opt_uuid(0)?, epoch: row.int(1)?, beat: row.int(2)? });
        rows.first()
            .map(found)
            .transpose()?
            .ok_or_else(|| ReadError::Invalid("the relay's lease is not in its table".to_owned()))
    }

    async fn write(
        &self,
        holder: Option<Uuid>,
        (epoch, beat): (i64, i64),
        (from_epoch, from_beat): (i64, i64),
    ) -> Result<bool, ReadError> {
        let mut transaction = self.store.begin().await?;
        let sql = "update relay_lease set holder = $1, epoch = $2, beat = $3 \
             where name = 'relay' and epoch = $4 and beat = $5";
        let params = vec![holder.into(), epoch.into(), beat.into(), from_epoch.into(), from_beat.into()];
        let written = transaction.execute(sql, params).await?;
        transaction.commit().await?;
        Ok(written == 1)
    }
}
