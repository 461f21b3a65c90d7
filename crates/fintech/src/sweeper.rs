//! Takes away what is too old, in small steps, so that a sweep never holds up a payment: idempotency keys that have
//! expired, and the record of requests.

use std::time::Duration;

use domain::time::Timestamp;
use store::{Store, error::ReadError, request_log};
use tokio::sync::watch;

const SWEEP_INTERVAL: Duration = Duration::from_mins(1);
/// Rows deleted from a table in one transaction.
const SWEEP_ROWS_MAX: usize = 500;
/// Between two transactions of one sweep: at most this much of the time is spent on sweeping.
const STEP_PAUSE: Duration = Duration::from_millis(20);

pub async fn run(store: Store, requests_retention: Duration, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        let is_more = is_more("expired idempotency keys", store.sweep(SWEEP_ROWS_MAX).await)
            | is_more("old requests", sweep_requests(&store, requests_retention).await);
        let pause = if is_more { STEP_PAUSE } else { SWEEP_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.changed() => {}
        }
    }
}

async fn sweep_requests(store: &Store, retention: Duration) -> Result<u64, ReadError> {
    let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    let before = Timestamp::from_micros(store.now().as_micros().saturating_sub(retention));
    request_log::sweep(store, before, SWEEP_ROWS_MAX).await
}

/// Whether a step took as much as one may.
fn is_more(what: &str, swept: Result<u64, ReadError>) -> bool {
    match swept {
        Ok(swept) => usize::try_from(swept).is_ok_and(|swept| swept >= SWEEP_ROWS_MAX),
        Err(error) => {
            tracing::warn!(%error, "{what} could not be swept; it is tried again");
            false
        }
    }
}
