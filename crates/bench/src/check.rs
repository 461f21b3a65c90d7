//! After the load: is everything there that was acknowledged, and nothing else?

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use crate::{
    books::{DIFFERENCES_SHOWN_MAX, Difference},
    connection::{Connection, Holdings},
    load::persistently,
    tally::Tally,
};

const PAUSE: Duration = Duration::from_millis(200);

/// What the comparison came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    pub verdict: Agreement,
    pub merchants: usize,
    /// That were acknowledged.
    pub payments: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    pub differences_total: usize,
    /// Changes of which it could not be found out whether they were made.
    pub unsettled: usize,
    /// Merchants of which nothing could be read, and why the first of them not.
    pub unread: usize,
    pub unread_reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Agreement {
    Agrees,
    Differs,
    CouldNotBeFoundOut,
}

/// Asks again, with the same keys, for what nobody knows; gives how much of it stays unknown.
pub async fn settle<C: Connection>(mut connection: C, tally: &Tally, patience: Duration) -> usize {
    let deadline = Instant::now() + patience;
    let unsettled = std::mem::take(&mut tally.lock().unsettled);
    for operation in &unsettled {
        let left = deadline.saturating_duration_since(Instant::now());
        let (answer, retries) = persistently(&mut connection, operation, left).await;
        let mut tally = tally.lock();
        tally.retries += retries + 1;
        if answer.verdict.is_final() {
            tally.answered(operation, &answer);
        } else {
            tally.note(&answer);
            tally.unsettled.push(operation.clone());
        }
    }
    tally.lock().unsettled.len()
}

/// Compares the books with what the platform says of every merchant.
pub async fn compare<C: Connection>(
    connections: Vec<C>,
    tally: &Arc<Tally>,
    unsettled: usize,
    patience: Duration,
) -> Ledger {
    let merchants: Arc<[Uuid]> = tally.lock().books.merchants().collect::<Vec<_>>().into();
    let next = Arc::new(AtomicUsize::new(0));
    let deadline = Instant::now() + patience;
    let mut readers = JoinSet::new();
    for mut connection in connections {
        let (merchants, next) = (merchants.clone(), next.clone());
        readers.spawn(async move {
            let mut found = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(merchant) = merchants.get(index) else { return found };
                found.push((index, holdings(&mut connection, *merchant, deadline).await));
            }
        });
    }
    let found: Vec<_> = readers.join_all().await.into_iter().flatten().collect();
    let tally = tally.lock();
    let mut ledger = Ledger {
        verdict: Agreement::Agrees,
        merchants: merchants.len(),
        payments: tally.books.payments(),
        differences: Vec::new(),
        differences_total: 0,
        unsettled,
        unread: 0,
        unread_reason: None,
    };
    for (index, holdings) in found {
        match holdings {
            Ok(holdings) => ledger.differences.extend(tally.books.compare(index, &holdings)),
            Err(reason) => {
                ledger.unread += 1;
                ledger.unread_reason.get_or_insert(reason);
            }
        }
    }
    ledger.differences_total = ledger.differences.len();
    ledger.differences.truncate(DIFFERENCES_SHOWN_MAX);
    ledger.verdict = match ledger {
        // What is unknown may be the difference.
        Ledger { unsettled: 1.., .. } | Ledger { unread: 1.., differences_total: 0, .. } => {
            Agreement::CouldNotBeFoundOut
        }
        Ledger { differences_total: 0, .. } => Agreement::Agrees,
        Ledger { .. } => Agreement::Differs,
    };
    ledger
}

async fn holdings<C: Connection>(
    connection: &mut C,
    merchant: Uuid,
    deadline: Instant,
) -> Result<Holdings, String> {
    loop {
        match connection.holdings(merchant).await {
            Err(_) if Instant::now() + PAUSE < deadline => sleep(PAUSE).await,
            result => return result,
        }
    }
}
