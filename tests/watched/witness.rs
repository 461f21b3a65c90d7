//! A customer with a watch: whether payments were answered in time is measured by one who is not the program.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    stack,
    support::client::{Client, Content},
};

/// The objective of deploy/slo/slos.yaml.
const IN_TIME: Duration = Duration::from_millis(100);
const BETWEEN_PAYMENTS: Duration = Duration::from_millis(50);
/// One of so many payments, a third of what the objective allows: this one sees only a part of them.
const LATE_SHARE: usize = 300;
/// What the alerts look back on, in seconds: an hour and six hours, sixty times faster.
const WINDOWS: [f64; 2] = [60.0, 360.0];

#[derive(Clone, Default)]
pub struct Witness(Arc<Seen>);

#[derive(Default)]
struct Seen {
    payments: Mutex<Vec<Payment>>,
    is_over: AtomicBool,
}

#[derive(Clone, Copy)]
struct Payment {
    /// When it was answered.
    at: f64,
    /// Or not made.
    is_late: bool,
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
                let is_late = answer.map_or(true, |answer| answer.status != 201) || begun.elapsed() > IN_TIME;
                let payment = Payment { at: stack::now(), is_late };
                seen.payments.lock().unwrap_or_else(PoisonError::into_inner).push(payment);
                thread::park_timeout(BETWEEN_PAYMENTS);
            }
        });
        witness
    }

    /// Whether so many payments were late in a window up to then that an alert about it is right, whatever else this
    /// machine does.
    pub fn was_late(&self, until: f64) -> bool {
        WINDOWS.into_iter().any(|window| {
            let (payments, late) = self.counts(until - window, until);
            late > 0 && late * LATE_SHARE >= payments
        })
    }

    /// Payments, and how many of them were late or not made.
    pub fn seen(&self) -> (usize, usize) {
        self.counts(f64::MIN, f64::MAX)
    }

    fn counts(&self, from: f64, until: f64) -> (usize, usize) {
        let payments = self.0.payments.lock().unwrap_or_else(PoisonError::into_inner);
        let within = payments.iter().filter(|payment| (from..=until).contains(&payment.at));
        within.fold((0, 0), |(all, late), payment| (all + 1, late + usize::from(payment.is_late)))
    }

    pub fn stop(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// A quarter of an hour in time says nothing of the minute before an alert, and a late one after it excuses nothing.
#[test]
fn an_alert_is_excused_by_what_was_late_before_it() {
    let witness = Witness::default();
    let paid = |at: u32| Payment { at: at.into(), is_late: (100..104).contains(&at) };
    witness.0.payments.lock().unwrap().extend((0..2000).map(paid));
    assert!(!witness.was_late(99.0));
    assert!(witness.was_late(110.0));
    assert!(!witness.was_late(1000.0));
    assert_eq!(witness.seen(), (2000, 4));
}
