//! The platform as it is watched in production: the real program by roles on a real PostgreSQL and a Kafka of its own, a
//! real Prometheus and Alertmanager with the rules of deploy/, sixty times faster, a collector of traces, and load. Things
//! are broken one after the other; whoever is on call must be told of each, in time, and of nothing else.
//!
//! `FINTECH_WATCHED_REPORT` says to which file what was seen is written, as Markdown (docs/watched.md).

// Everything here is a test, helpers included: an unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

mod platform;
mod queries;
mod report;
mod stack;
// Made for many tests; this one needs a part of it.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../it/support/mod.rs"]
mod support;
mod witness;

use std::{collections::BTreeSet, time::Duration};

use platform::Platform;
use stack::{Alert, Stack, Told};
use support::{backend::Folder, eventually};
use witness::Witness;

/// How often the program looks at the platform.
const LOOK: Duration = Duration::from_secs(15);
/// For a scrape, an evaluation, and a machine that has two cores for all of this.
const SLACK: Duration = Duration::from_secs(15);
/// What `scripts/slo-rules --faster` makes no shorter.
const FOR_MIN: Duration = Duration::from_secs(4);

/// Something that was broken, and what whoever is on call is told of it.
pub struct Fault {
    pub what: &'static str,
    begun: f64,
    /// Each must fire within this time.
    pub alerts: Vec<(Alert, Duration)>,
    /// They may fire, too.
    follow: Vec<Alert>,
}

/// What has been broken so far.
struct Watch<'a> {
    stack: &'a Stack,
    witness: Witness,
    faults: Vec<Fault>,
}

impl Watch<'_> {
    /// Breaks something, and waits until all alerts that it must raise fire.
    #[track_caller]
    fn breaks(&mut self, what: &'static str, alerts: &[(&str, Duration)], fault: impl FnOnce()) {
        self.begins(what, alerts, &[], fault);
        self.all_fire();
    }

    /// Breaks something whose alerts take so long that other things are done meanwhile, or are followed by others.
    fn begins(
        &mut self,
        what: &'static str,
        alerts: &[(&str, Duration)],
        follow: &[&str],
        fault: impl FnOnce(),
    ) {
        let alerts = alerts.iter().map(|(alert, within)| (Alert::of(alert), *within)).collect();
        let follow = follow.iter().map(|alert| Alert::of(alert)).collect();
        self.faults.push(Fault { what, begun: stack::now(), alerts, follow });
        fault();
    }

    /// Waits until all alerts of the last fault fire. None fires that nothing has raised.
    #[track_caller]
    fn all_fire(&self) {
        let fault = self.faults.last().unwrap();
        let follow = self.faults.iter().flat_map(|fault| &fault.follow);
        let known: BTreeSet<&Alert> = self.alerts().map(|(_, alert, _)| alert).chain(follow).collect();
        let mut fired = BTreeSet::new();
        loop {
            let firing = self.stack.firing();
            let unknown: Vec<&Alert> = firing.iter().filter(|alert| !known.contains(alert)).collect();
            self.are_excused(&unknown, fault.what);
            fired.extend(firing);
            let missing: Vec<_> = fault.alerts.iter().filter(|(alert, _)| !fired.contains(alert)).collect();
            let Some((_, within)) = missing.iter().min_by_key(|(_, within)| *within) else { return };
            let elapsed = stack::now() - fault.begun;
            assert!(
                elapsed < within.as_secs_f64(),
                "{}: after {elapsed:.1} s nobody is told of {missing:?}",
                fault.what
            );
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// They fire because this machine is slow.
    #[track_caller]
    fn are_excused(&self, alerts: &[&Alert], what: &str) {
        if alerts.is_empty() {
            return;
        }
        let (fired, now) = (self.stack.fired(), stack::now());
        for alert in alerts {
            let at = fired.get(*alert).copied().unwrap_or(now);
            assert!(
                self.is_excused(alert, at),
                "{what}: nothing has raised {alert}, {:?}",
                self.witness.seen()
            );
        }
    }

    /// Waits until none of these fires any more.
    #[track_caller]
    fn is_over(&self, alerts: &[&str]) {
        let alerts: Vec<Alert> = alerts.iter().map(|alert| Alert::of(alert)).collect();
        eventually("the end of alerts", || {
            let firing = self.stack.firing();
            (!alerts.iter().any(|alert| firing.contains(alert))).then_some(())
        });
    }

    /// This machine has little to run all of this on. When payments were late, an alert that then says so is right.
    fn is_excused(&self, alert: &Alert, fired: f64) -> bool {
        alert.name == "CommandLatencyBudgetBurn" && self.witness.was_late(&alert.severity, fired)
    }

    /// Whether it follows from a fault that had begun.
    fn follows(&self, alert: &Alert, fired: f64) -> bool {
        self.faults.iter().any(|fault| fault.begun <= fired && fault.follow.contains(alert))
    }

    fn alerts(&self) -> impl Iterator<Item = (&Fault, &Alert, Duration)> {
        self.faults
            .iter()
            .flat_map(|fault| fault.alerts.iter().map(move |(alert, within)| (fault, alert, *within)))
    }

    /// Of all that has ever fired: each alert that a fault must raise, and no other; none before its fault, and each in time.
    #[track_caller]
    fn are_right(&self) {
        let mut fired = self.stack.fired();
        fired.retain(|alert, at| !self.is_excused(alert, *at) && !self.follows(alert, *at));
        let expected: BTreeSet<&Alert> = self.alerts().map(|(_, alert, _)| alert).collect();
        let times: Vec<String> = fired.iter().map(|(alert, at)| format!("{alert} at {at:.0}")).collect();
        let faults: Vec<String> =
            self.faults.iter().map(|f| format!("{} at {:.0}", f.what, f.begun)).collect();
        assert_eq!(fired.keys().collect::<BTreeSet<_>>(), expected, "{times:#?} {faults:#?}");
        for (fault, alert, within) in self.alerts() {
            let after = fired[alert] - fault.begun;
            assert!(
                (0.0..within.as_secs_f64()).contains(&after),
                "{}: {alert} after {after:.1} s",
                fault.what
            );
        }
    }
}

/// Done when 1 and 2 of observability: the right alerts in time and no others, one trace from request to consumer, and data
/// for every query of every dashboard and rule.
#[test]
fn whoever_is_on_call_is_told_of_each_fault_and_of_nothing_else() {
    let folder = Folder::new();
    let mut platform = Platform::start(folder.path());
    let witness = platform.witness.clone();
    eventually("a platform that is warm", || (witness.seen().0 > 100).then_some(()));
    let stack = Stack::start(folder.path(), &platform.targets());
    let mut watch = Watch { stack: &stack, witness, faults: Vec::new() };
    platform.provoke();
    platform.has_one_trace_from_the_request_to_the_consumer();

    let paused = [("ticket ConsumerPaused", LOOK + minutes(60) + SLACK)];
    watch.begins("a consumer is paused", &paused, &[], || platform.pause("withdrawal_log"));
    watch.breaks(
        "a consumer cannot handle an event",
        &[("ticket DeadLettersOpen", LOOK + minutes(5) + SLACK)],
        || platform.poison(),
    );
    let lag = Duration::from_mins(1) + LOOK + SLACK;
    watch.breaks(
        "the consumers' process is killed",
        &[
            ("ticket ProcessDown", minutes(5) + SLACK),
            ("page ConsumerLagBudgetBurn", lag),
            ("ticket ConsumerLagBudgetBurn", lag),
        ],
        || platform.kill_consumers(),
    );
    platform.start_consumers();
    stack.scrape(&platform.targets());
    platform.catches_up();
    watch.is_over(&["ticket ProcessDown", "page ConsumerLagBudgetBurn"]);

    let freshness = Duration::from_secs(30) + LOOK + SLACK;
    watch.breaks(
        "the broker is stopped",
        &[
            ("ticket KafkaDown", LOOK + minutes(2) + SLACK),
            ("page EventFreshnessBudgetBurn", freshness),
            ("ticket EventFreshnessBudgetBurn", freshness),
        ],
        || platform.stop_broker(),
    );
    platform.start_broker();
    platform.catches_up();
    watch.is_over(&["ticket KafkaDown", "page EventFreshnessBudgetBurn"]);

    // More than ten must be refused, and each caller waits for five seconds before it is.
    let refused = Duration::from_secs(15) + minutes(5) + SLACK;
    watch.begins(
        "the database lets nobody in",
        &[
            ("page DatabaseDown", LOOK + minutes(1) + SLACK),
            ("ticket DatabaseDown", LOOK + minutes(5) + SLACK),
            ("page ApiErrorBudgetBurn", refused),
            ("ticket ApiErrorBudgetBurn", refused),
        ],
        // What waits for the database until it is back is late.
        &["page CommandLatencyBudgetBurn", "ticket CommandLatencyBudgetBurn"],
        || platform.close_database(),
    );
    watch.all_fire();
    platform.open_database();
    watch.is_over(&["page DatabaseDown", "ticket DatabaseDown", "page ApiErrorBudgetBurn"]);

    watch.breaks(
        "a balance is changed by hand",
        &[("page ReconciliationBreaks", platform::RECONCILED_EVERY * 2 + LOOK + SLACK)],
        || platform.corrupt(),
    );
    platform.repair();
    platform.redrive();
    platform.go_on("withdrawal_log");
    watch.is_over(&["page ReconciliationBreaks", "ticket DeadLettersOpen", "ticket ConsumerPaused"]);

    watch.are_right();
    are_told(&watch);
    let traces = stack.exemplars("fintech_command_duration_seconds_bucket");
    platform.has_traces(&traces);
    let answers = queries::all(&stack);
    platform.ends_whole();
    report::write(&watch.faults, &watch.witness, &stack, &answers);
}

/// A duration of the rules.
fn minutes(count: u32) -> Duration {
    (Duration::from_mins(count.into()) / u32::try_from(stack::FASTER).unwrap()).max(FOR_MIN)
}

/// Alertmanager tells each receiver of what is for it, and that pages are over.
#[track_caller]
fn are_told(watch: &Watch<'_>) {
    for (_, alert, _) in watch.alerts().filter(|(_, alert, _)| alert.severity == "page") {
        for is_over in [false, true] {
            let wanted = Told { receiver: "page".to_owned(), alert: alert.clone(), is_over };
            eventually("a page", || watch.stack.told().contains(&wanted).then_some(()));
        }
    }
    let told = watch.stack.told();
    assert!(told.iter().all(|told| told.receiver == told.alert.severity), "{told:?}");
    for alert in ["ticket DeadLettersOpen", "ticket ConsumerPaused", "ticket KafkaDown"] {
        let alert = Alert::of(alert);
        assert!(told.iter().any(|told| told.alert == alert && !told.is_over), "{alert}: {told:?}");
    }
}
