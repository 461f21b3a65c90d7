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
/// What the alerts look back on, sixty times faster, in seconds, and a third of the share that must be late there: this one
/// sees only a part of the payments.
const PAGE: [(f64, f64); 2] = [(60.0, 0.144 / 3.0), (360.0, 0.06 / 3.0)];
const TICKET: [(f64, f64); 1] = [(360.0, 0.01 / 3.0)];

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
    /// How long that took, if it was late or not made.
    late: Option<f64>,
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
                let (is_made, took) = (answer.is_ok_and(|answer| answer.status == 201), begun.elapsed());
                let late = (!is_made || took > IN_TIME).then_some(took.as_secs_f64());
                let payment = Payment { at: stack::now(), late };
                seen.payments.lock().unwrap_or_else(PoisonError::into_inner).push(payment);
                thread::park_timeout(BETWEEN_PAYMENTS);
            }
        });
        witness
    }

    /// Whether so many payments were late in a window up to then that an alert about it is right, whatever else this
    /// machine does. By the time that they were waited for: who pays one after the other waits only once for a pause in
    /// which many others are late.
    pub fn was_late(&self, severity: &str, until: f64) -> bool {
        let windows = if severity == "page" { &PAGE[..] } else { &TICKET[..] };
        let payments = self.0.payments.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = payments.first() else { return false };
        windows.iter().any(|(window, share)| {
            let from = (until - window).max(first.at);
            let within = payments.iter().filter(|payment| (from..=until).contains(&payment.at));
            let late: f64 = within.filter_map(|payment| payment.late).sum();
            late > 0.0 && late >= share * (until - from)
        })
    }

    /// Payments, and how many of them were late or not made.
    pub fn seen(&self) -> (usize, usize) {
        let payments = self.0.payments.lock().unwrap_or_else(PoisonError::into_inner);
        (payments.len(), payments.iter().filter(|payment| payment.late.is_some()).count())
    }

    pub fn stop(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// What was late excuses an alert that follows, not one before it, and not for ever.
#[test]
fn an_alert_is_excused_by_what_was_late_before_it() {
    let witness = Witness::default();
    let paid = |at: u32| Payment { at: at.into(), late: (at == 100).then_some(5.0) };
    witness.0.payments.lock().unwrap().extend((0..2000).map(paid));
    assert!(!witness.was_late("page", 99.0));
    assert!(witness.was_late("page", 110.0));
    assert!(!witness.was_late("page", 400.0));
    assert!(witness.was_late("ticket", 400.0));
    assert!(!witness.was_late("ticket", 1000.0));
    assert_eq!(witness.seen(), (2000, 1));
}
