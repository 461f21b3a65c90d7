//! A customer with a watch: whether payments were answered in time is measured by one who is not the program.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::client::{Client, Content};

/// The objective of deploy/slo/slos.yaml.
const IN_TIME: Duration = Duration::from_millis(100);
const BETWEEN_PAYMENTS: Duration = Duration::from_millis(50);
/// One of so many payments, a third of what the objective allows: this one sees only a part of them.
const LATE_SHARE: u64 = 300;

#[derive(Clone, Default)]
pub struct Witness(Arc<Seen>);

#[derive(Default)]
struct Seen {
    payments: AtomicU64,
    late: AtomicU64,
    is_over: AtomicBool,
}

impl Witness {
    /// Pays until it is told to stop.
    pub fn start(url: &str, merchant: &str) -> Self {
        let witness = Self::default();
        let (seen, client) = (Arc::clone(&witness.0), Client::new(url));
        let path = format!("/api/merchants/{merchant}/payments");
        thread::spawn(move || {
            let body = json!({"amountInMinorUnits": 1, "currency": "USD"});
            while !seen.is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = client.try_send("POST", &path, &[], &Content::Json(&body));
                let is_in_time =
                    answer.is_ok_and(|answer| answer.status == 201) && begun.elapsed() <= IN_TIME;
                seen.payments.fetch_add(1, Ordering::Relaxed);
                seen.late.fetch_add(u64::from(!is_in_time), Ordering::Relaxed);
                thread::park_timeout(BETWEEN_PAYMENTS);
            }
        });
        witness
    }

    /// Whether so many payments were late that an alert about it is right, whatever else this machine does.
    pub fn was_late(&self) -> bool {
        let (payments, late) = self.seen();
        late > 0 && late * LATE_SHARE >= payments
    }

    /// Payments, and how many of them were late or not made.
    pub fn seen(&self) -> (u64, u64) {
        (self.0.payments.load(Ordering::Relaxed), self.0.late.load(Ordering::Relaxed))
    }

    pub fn stop(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}
