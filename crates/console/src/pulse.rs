//! What the program's state is right now, in a few numbers. It is found out once for all who look: at most once a
//! second, and by a loop while somebody follows it live. So a viewer costs the same whatever the others do.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{
    currency::Currency,
    event::Stream,
    ledger::{AccountKind, Owner},
    time::Timestamp,
};
use reconcile::runs::{self, State, StoredRun};
use store::{Store, error::ReadError, log};
use stream::{
    lag::{Lag, lags},
    relay::status::{Status, status},
};
use tokio::{
    join,
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    flow::{Flow, flow},
    kept::Kept,
    pages::live,
};

/// Between two looks while somebody follows.
const INTERVAL: Duration = Duration::from_secs(2);
/// A number that is older is not called good any more.
pub const FRESH: Duration = Duration::from_secs(15);
/// What everybody is shown for this long is not asked for again.
const KEPT_MICROS: i64 = 1_000_000;
/// Balances are summed over all accounts: not as often as the rest.
const BALANCES_KEPT_MICROS: i64 = 15_000_000;
const FLOW_KEPT_MICROS: i64 = 5_000_000;
/// With very many accounts their sums come a look later; and so does what went on when very much did.
const WAITED_FOR: Duration = Duration::from_millis(250);
/// Between which the rate of events is taken.
const RATE_MICROS_MIN: i64 = 1_000_000;

/// The platform at a moment.
#[derive(Clone, Debug)]
pub struct Pulse {
    pub at: Timestamp,
    /// Of each stream, by [`Stream::index`]: events so far, and in a second since the look before, in thousandths.
    pub events: [i64; 3],
    pub events_a_second_milli: [i64; 3],
    pub last_event_at: Timestamp,
    pub lags: Vec<Lag>,
    /// `None`: without Kafka nothing is published.
    pub relay: Option<Status>,
    pub last_ended_run: Option<StoredRun>,
    /// `None`: it is being found out for the first time.
    pub flow: Option<Arc<Flow>>,
    /// `None`: they are being summed for the first time.
    pub balances: Option<Arc<Balances>>,
}

/// What merchants and the platform hold, by currency.
#[derive(Clone, Debug)]
pub struct Balances {
    pub at: Timestamp,
    /// By currency and kind of account, over all owners; the last says whether the owner is the platform.
    pub sums: Vec<Sum>,
}

#[derive(Clone, Copy, Debug)]
pub struct Sum {
    pub currency: Currency,
    pub kind: AccountKind,
    pub minor: i128,
}

impl Pulse {
    pub fn lag_events(&self) -> i64 {
        self.lags.iter().map(|lag| lag.events).sum()
    }

    pub fn lag_micros(&self) -> i64 {
        self.lags.iter().map(|lag| lag.micros).max().unwrap_or(0)
    }

    pub fn dead_letters(&self) -> i64 {
        self.lags.iter().map(|lag| lag.dead_letters).sum()
    }
}

/// What a look is to those who follow, written once for all of them.
#[derive(Clone, Debug)]
pub struct Followed {
    pub pulse: Arc<Pulse>,
    /// HTML.
    pub cards: String,
    /// JSON.
    pub news: String,
}

#[derive(Clone)]
pub struct Pulses(Arc<Shared>);

struct Shared {
    store: Store,
    is_published: bool,
    latest: watch::Sender<Option<Arc<Followed>>>,
    /// Held by whoever looks, so that one looks at a time.
    looking: tokio::sync::Mutex<()>,
    is_followed: Mutex<bool>,
    balances: Kept<Balances>,
    flow: Kept<Flow>,
}

impl Pulses {
    pub fn new(store: Store, is_published: bool) -> Self {
        Self(Arc::new(Shared {
            store,
            is_published,
            latest: watch::Sender::new(None),
            looking: tokio::sync::Mutex::default(),
            is_followed: Mutex::new(false),
            balances: Kept::new(BALANCES_KEPT_MICROS),
            flow: Kept::new(FLOW_KEPT_MICROS),
        }))
    }

    /// As it is, or was at most a second ago.
    pub async fn now(&self) -> Result<Arc<Pulse>, ReadError> {
        let _looking = self.0.looking.lock().await;
        let before = self.0.latest.borrow().as_ref().map(|followed| followed.pulse.clone());
        let now = self.0.store.now();
        if let Some(latest) = &before
            && (0..KEPT_MICROS).contains(&(now.as_micros() - latest.at.as_micros()))
        {
            return Ok(latest.clone());
        }
        let pulse = Arc::new(self.look(now, before.as_deref()).await?);
        self.0.latest.send_replace(Some(Arc::new(live::followed(pulse.clone()))));
        Ok(pulse)
    }

    /// Changes as long as the receiver lives.
    pub fn follow(&self) -> watch::Receiver<Option<Arc<Followed>>> {
        let receiver = self.0.latest.subscribe();
        let mut is_followed = self.0.is_followed.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_followed {
            *is_followed = true;
            tokio::spawn(self.clone().keep_looking());
        }
        receiver
    }

    async fn keep_looking(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            {
                let mut is_followed = self.0.is_followed.lock().unwrap_or_else(PoisonError::into_inner);
                if self.0.latest.receiver_count() == 0 {
                    *is_followed = false;
                    return;
                }
            }
            if let Err(error) = self.now().await {
                tracing::debug!(%error, "the console could not look");
            }
        }
    }

    /// As they were summed last.
    pub async fn balances(&self, patience: Duration) -> Option<Arc<Balances>> {
        let store = self.0.store.clone();
        self.0.balances.get(store.now(), patience, sums(store)).await
    }

    async fn look(&self, now: Timestamp, before: Option<&Pulse>) -> Result<Pulse, ReadError> {
        let db = self.0.store.reads();
        let heads = log::heads(db).await?;
        let mut events = [0; 3];
        for head in &heads {
            for stream in Stream::ALL {
                events[stream.index()] += head.streams[stream.index()].0;
            }
        }
        let runs = runs::list(db, 10).await?;
        let store = self.0.store.clone();
        let flow = self.0.flow.get(now, WAITED_FOR, flow(store));
        let (balances, flow) = join!(self.balances(WAITED_FOR), flow);
        Ok(Pulse {
            at: now,
            events,
            events_a_second_milli: rates(now, events, before),
            last_event_at: heads.iter().map(|head| head.clock).max().unwrap_or_default(),
            lags: lags(db, now).await?,
            relay: if self.0.is_published { Some(status(db, now).await?) } else { None },
            last_ended_run: runs.into_iter().find(|run| run.state == State::Ended),
            flow,
            balances,
        })
    }
}

fn rates(now: Timestamp, events: [i64; 3], before: Option<&Pulse>) -> [i64; 3] {
    let Some(before) = before else { return [0; 3] };
    let micros = now.as_micros() - before.at.as_micros();
    if micros < RATE_MICROS_MIN {
        return before.events_a_second_milli;
    }
    let mut rates = [0; 3];
    for (rate, (now, before)) in rates.iter_mut().zip(events.into_iter().zip(before.events)) {
        *rate = (now - before).saturating_mul(1_000_000_000) / micros;
    }
    rates
}

async fn sums(store: Store) -> Result<Balances, ReadError> {
    let at = store.now();
    let sums = store::browse::balances(store.reads()).await?;
    let sums = sums.into_iter().map(|(currency, kind, minor)| Sum { currency, kind, minor }).collect();
    Ok(Balances { at, sums })
}

/// Whose account it is, for people.
pub fn owner_name(owner: Owner) -> String {
    match owner {
        Owner::Merchant(merchant) => merchant.to_string(),
        Owner::Platform(lane) => format!("the platform, lane {}", lane.0),
    }
}
