//! Follows the log for all listeners of this process: on a commit each lane that somebody listens to is read once, and
//! what is new is handed to the listeners of its merchant. So what a listener costs does not depend on how much others
//! do, nor what a lane costs on how many listen.
//!
//! Nobody is waited for. A listener that does not take what it is given is let go of; it reads the log by itself from
//! where it was, and comes back when it has caught up.

use std::{
    collections::{BTreeMap, HashMap, btree_map},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use domain::{id::MerchantId, lane::Lane};
use store::{
    Store,
    error::ReadError,
    log::{self, Found},
    merchant_log,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use super::frame::Frame;

/// How long a quiet follower waits before it looks by itself: another process may have written.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// After each look, so that under load one finds the commits of many batches.
const REST: Duration = Duration::from_millis(10);
/// After a look that failed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Events that are read and held at a time.
const PAGE_EVENTS: usize = 200;
/// Pages that wait for a listener; one more and it is let go of.
const PAGES_WAITING_MAX: usize = 4;
/// Listeners that wait to be taken in.
const JOINS_WAITING_MAX: usize = 64;

/// The events of a merchant in a page of its lane.
pub type Chunk = Arc<[Frame]>;

/// What a listener gets.
pub struct Joined {
    /// All chunks hold events behind this sequence, and all of the merchant's.
    pub behind: i64,
    /// The sequence up to which the lane was read and handed out.
    pub reached: Arc<AtomicI64>,
    /// Ends when the listener did not keep up, or the program stops.
    pub chunks: mpsc::Receiver<Chunk>,
}

struct Join {
    lane: Lane,
    merchant: MerchantId,
    reply: oneshot::Sender<Result<Joined, ReadError>>,
}

/// The way in to the follower.
#[derive(Clone)]
pub struct Joins(mpsc::Sender<Join>);

impl Joins {
    /// An error also when the program stops.
    pub async fn join(&self, lane: Lane, merchant: MerchantId) -> Result<Joined, ReadError> {
        let stopped = || ReadError::Unavailable("the program stops".to_owned());
        let (reply, joined) = oneshot::channel();
        self.0.send(Join { lane, merchant, reply }).await.map_err(|_| stopped())?;
        joined.await.map_err(|_| stopped())?
    }

    pub fn are_closed(&self) -> bool {
        self.0.is_closed()
    }
}

pub struct Follower {
    store: Store,
    joins: mpsc::Receiver<Join>,
    lanes: BTreeMap<Lane, Followed>,
}

struct Followed {
    reached: Arc<AtomicI64>,
    listeners: HashMap<MerchantId, Vec<mpsc::Sender<Chunk>>>,
}

impl Follower {
    pub fn new(store: Store) -> (Joins, Self) {
        let (joins, waiting) = mpsc::channel(JOINS_WAITING_MAX);
        (Joins(joins), Self { store, joins: waiting, lanes: BTreeMap::new() })
    }

    /// Runs until `ending` turns true, or nobody can join any more; with it all listeners' chunks end.
    pub async fn run(self, mut ending: watch::Receiver<bool>) {
        tokio::select! {
            // Who could say so is gone: that is the same.
            _ = ending.wait_for(|ending| *ending) => {}
            () = self.follow() => {}
        }
    }

    async fn follow(mut self) {
        let mut commits = self.store.commits();
        loop {
            let has_listeners = !self.lanes.is_empty();
            tokio::select! {
                join = self.joins.recv() => match join {
                    Some(join) => self.admit(join).await,
                    None => return,
                },
                changed = commits.changed(), if has_listeners => {
                    if changed.is_err() {
                        return;
                    }
                    self.look().await;
                }
                () = sleep(POLL_INTERVAL), if has_listeners => self.look().await,
            }
        }
    }

    async fn admit(&mut self, Join { lane, merchant, reply }: Join) {
        let followed = match self.lanes.entry(lane) {
            btree_map::Entry::Occupied(occupied) => occupied.into_mut(),
            btree_map::Entry::Vacant(vacant) => {
                match merchant_log::lane_end(self.store.reads(), lane).await {
                    Ok(end) => vacant.insert(Followed::from(end)),
                    Err(error) => {
                        // Whoever asked may be gone.
                        let _ = reply.send(Err(error));
                        return;
                    }
                }
            }
        };
        let (listener, chunks) = mpsc::channel(PAGES_WAITING_MAX);
        let reached = Arc::clone(&followed.reached);
        let joined = Joined { behind: reached.load(Ordering::Acquire), reached, chunks };
        if reply.send(Ok(joined)).is_ok() {
            followed.listeners.entry(merchant).or_default().push(listener);
        }
    }

    async fn look(&mut self) {
        self.lanes.retain(|_, followed| followed.has_listeners());
        if self.lanes.is_empty() {
            return;
        }
        let rest = match self.read_new().await {
            Ok(()) => REST,
            Err(error) => {
                tracing::warn!(%error, "streams of events wait: the log cannot be read");
                REST_AFTER_FAILURE
            }
        };
        sleep(rest).await;
    }

    async fn read_new(&mut self) -> Result<(), ReadError> {
        let reads = self.store.reads();
        for (lane, end) in merchant_log::lane_ends(reads).await? {
            let Some(followed) = self.lanes.get_mut(&lane) else { continue };
            let mut reached = followed.reached.load(Ordering::Acquire);
            while reached < end {
                let page = log::found_behind_sequence(reads, lane, reached, PAGE_EVENTS).await?;
                let Some((last, _)) = page.last() else { break };
                reached = *last;
                followed.hand_out(lane, page);
                followed.reached.store(reached, Ordering::Release);
            }
        }
        Ok(())
    }
}

impl Followed {
    fn from(end: i64) -> Self {
        Self { reached: Arc::new(AtomicI64::new(end)), listeners: HashMap::new() }
    }

    fn has_listeners(&mut self) -> bool {
        self.listeners.retain(|_, listeners| {
            listeners.retain(|listener| !listener.is_closed());
            !listeners.is_empty()
        });
        !self.listeners.is_empty()
    }

    fn hand_out(&mut self, lane: Lane, page: Vec<(i64, Found)>) {
        let mut by_merchant: HashMap<MerchantId, Vec<Frame>> = HashMap::new();
        for (sequence, found) in page {
            match found {
                Ok(event) if self.listeners.contains_key(&event.merchant_id) => {
                    by_merchant.entry(event.merchant_id).or_default().push(Frame::of(&event));
                }
                Ok(_) => {}
                Err(error) => unreadable(lane, sequence, &error),
            }
        }
        for (merchant, frames) in by_merchant {
            let chunk: Chunk = frames.into();
            if let Some(listeners) = self.listeners.get_mut(&merchant) {
                listeners.retain(|listener| listener.try_send(Arc::clone(&chunk)).is_ok());
            }
        }
    }
}

/// Reconciliation finds such a row, too; nobody's stream stands still for it.
pub fn unreadable(lane: Lane, sequence: i64, error: &ReadError) {
    tracing::error!(lane = lane.0, sequence, %error, "an event cannot be read and is left out of streams");
}
