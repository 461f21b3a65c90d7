//! Takes expired idempotency keys away, in small steps, so that a sweep never holds up a payment.

use std::time::Duration;

use store::Store;
use tokio::sync::watch;

const SWEEP_INTERVAL: Duration = Duration::from_mins(1);
/// Keys deleted in one transaction.
const SWEEP_KEYS_MAX: usize = 500;
/// Between two transactions of one sweep: at most this much of the time is spent on sweeping.
const STEP_PAUSE: Duration = Duration::from_millis(20);

pub async fn run(store: Store, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        let pause = match store.sweep(SWEEP_KEYS_MAX).await {
            Ok(swept) if usize::try_from(swept).is_ok_and(|swept| swept >= SWEEP_KEYS_MAX) => STEP_PAUSE,
            Ok(_) => SWEEP_INTERVAL,
            Err(error) => {
                tracing::warn!(%error, "expired idempotency keys could not be swept; it is tried again");
                SWEEP_INTERVAL
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.changed() => {}
        }
    }
}
