//! `/`: whether money is flowing, in a few numbers, each a link to what it is made of.

use askama::Template;
use axum::{extract::State, response::Response};
use domain::{event::Stream, ledger::AccountKind, time::Timestamp};

use super::Visit;
use crate::{
    fault::{Fault, render},
    flow::{Flow, PAYMENTS_COUNTED_MAX},
    layout::{Frame, Section},
    pulse::{FRESH, Pulse},
    show::{Clock, Money, span},
    state::Console,
};

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    frame: Frame,
    cards: Vec<Card>,
}

/// The cards alone, as they are sent to who follows.
#[derive(Template)]
#[template(path = "cards.html")]
struct Cards {
    cards: Vec<Card>,
}

/// A number, what it is, and whether it is as it should be.
pub struct Card {
    pub href: &'static str,
    pub name: String,
    pub value: String,
    pub detail: String,
    pub class: &'static str,
    /// The colour in words.
    pub verdict: &'static str,
}

const ERRORS: &str = "/requests/errors";
const PAYMENTS: &str = "Payment events a second, last minute";
const ERROR_RATE: &str = "Error rate, last minute";
/// Beyond which the age of what waits is no longer in order.
const AGE_MICROS_GOOD_MAX: i64 = 10_000_000;

/// `GET /`
pub async fn show(State(console): State<Console>, visit: Visit) -> Result<Response, Fault> {
    let pulse = console.read(console.pulses().now()).await?;
    let cards = cards(&pulse, visit.clock);
    render(&HomePage { frame: visit.frame(Section::Home, "Home"), cards })
}

/// The cards alone, for who follows.
pub fn cards_html(pulse: &Pulse, clock: Clock) -> Result<String, askama::Error> {
    Cards { cards: cards(pulse, clock) }.render()
}

fn cards(pulse: &Pulse, clock: Clock) -> Vec<Card> {
    let mut cards = vec![flow(pulse, clock)];
    cards.extend(match &pulse.flow {
        Some(flow) if is_fresh(flow.at, clock) => [payments(flow), errors(flow)],
        Some(flow) => [payments(flow), errors(flow)].map(stale),
        None => [("/payments", PAYMENTS), (ERRORS, ERROR_RATE)].map(|(href, name)| unknown(href, name)),
    });
    cards.extend(pulse.relay.map(|relay| {
        let is_good = relay.micros <= AGE_MICROS_GOOD_MAX && relay.is_held;
        let name = "Oldest unsent event".to_owned();
        let detail = format!("{} not sent yet", relay.unpublished);
        card("/relay", name, span(relay.micros), detail, is_good)
    }));
    let lag = pulse.lag_micros();
    let detail = format!("{} events, {} consumers", pulse.lag_events(), pulse.lags.len());
    cards.push(card(
        "/consumers",
        "Consumers’ lag".to_owned(),
        span(lag),
        detail,
        lag <= AGE_MICROS_GOOD_MAX,
    ));
    let dead = pulse.dead_letters();
    let detail = if dead == 0 { "every event was handled" } else { "events wait to be handled again" };
    cards.push(card(
        "/dead-letters",
        "Dead letters".to_owned(),
        dead.to_string(),
        detail.to_owned(),
        dead == 0,
    ));
    cards.push(reconciliation(pulse, clock));
    cards.extend(balances(pulse));
    if is_fresh(pulse.at, clock) { cards } else { cards.into_iter().map(stale).collect() }
}

fn is_fresh(at: Timestamp, clock: Clock) -> bool {
    clock.now.as_micros() - at.as_micros() <= i64::try_from(FRESH.as_micros()).unwrap_or(i64::MAX)
}

/// What is old is not called good or bad any more.
fn stale(card: Card) -> Card {
    Card { class: "plain", verdict: "not measured lately", ..card }
}

fn card(href: &'static str, name: String, value: String, detail: String, is_good: bool) -> Card {
    let (class, verdict) = if is_good { ("good", "in order") } else { ("bad", "look here") };
    Card { href, name, value, detail, class, verdict }
}

fn flow(pulse: &Pulse, clock: Clock) -> Card {
    let milli: i64 = pulse.events_a_second_milli.iter().sum();
    let total: i64 = pulse.events.iter().sum();
    let payments = pulse.events[Stream::Payments.index()];
    let detail = if total == 0 {
        "nothing has happened yet".to_owned()
    } else {
        format!("{payments} of payments; the last {}", clock.when(pulse.last_event_at).ago)
    };
    Card {
        href: "/events",
        name: "Events a second".to_owned(),
        value: tenths(milli),
        detail,
        class: "plain",
        verdict: "a rate",
    }
}

/// What is being counted for the first time.
fn unknown(href: &'static str, name: &str) -> Card {
    let (name, detail) = (name.to_owned(), "being counted".to_owned());
    Card { href, name, value: "–".to_owned(), detail, class: "wait", verdict: "not known yet" }
}

fn tenths(milli: i64) -> String {
    format!("{}.{}", milli / 1000, milli % 1000 / 100)
}

fn payments(flow: &Flow) -> Card {
    let [minute, quarter] =
        [flow.minute, flow.quarter].map(|window| tenths(window.payment_events_a_second_milli()));
    let made = match flow.payments_made {
        PAYMENTS_COUNTED_MAX.. => format!("{PAYMENTS_COUNTED_MAX} or more made"),
        made => format!("{made} made"),
    };
    Card {
        href: "/payments",
        name: PAYMENTS.to_owned(),
        value: minute,
        detail: format!("{quarter} over 15 minutes; {made} in the minute"),
        class: "plain",
        verdict: "a rate",
    }
}

fn errors(flow: &Flow) -> Card {
    let Flow { minute, quarter, .. } = flow;
    let name = ERROR_RATE.to_owned();
    let over = match quarter.error_rate() {
        None => "no request in 15 minutes".to_owned(),
        Some(rate) if quarter.requests_micros < quarter.micros => {
            format!("{rate} over {}", span(quarter.requests_micros))
        }
        Some(rate) => format!("{rate} over 15 minutes"),
    };
    let Some(value) = minute.error_rate() else {
        let (class, verdict) = ("plain", "nothing to judge by");
        return Card { href: ERRORS, name, value: "–".to_owned(), detail: over, class, verdict };
    };
    let detail = format!("{} of {} requests; {over}", minute.errors, minute.requests);
    // What callers do wrong is their affair; what the program does is not.
    card(ERRORS, name, value, detail, minute.server_errors == 0)
}

fn reconciliation(pulse: &Pulse, clock: Clock) -> Card {
    let name = "Reconciliation breaks".to_owned();
    match &pulse.last_ended_run {
        Some(run) => {
            let breaks = run.summary.breaks();
            let ended = run.ended_at.unwrap_or(run.started_at);
            let detail = format!("{} events proved {}", run.summary.events, clock.when(ended).ago);
            card("/reconciliation", name, breaks.to_string(), detail, breaks == 0)
        }
        None => Card {
            href: "/reconciliation",
            name,
            value: "–".to_owned(),
            detail: "no run has ended yet".to_owned(),
            class: "wait",
            verdict: "not known yet",
        },
    }
}

/// What is on its way out, in each currency.
fn balances(pulse: &Pulse) -> impl Iterator<Item = Card> {
    let sums = || pulse.balances.iter().flat_map(|balances| &balances.sums);
    let of = move |kind| sums().filter(move |sum| sum.kind == kind);
    let available = of(AccountKind::Available).map(|sum| ("/ledger", "Available to merchants", sum));
    let pending = of(AccountKind::Pending)
        .map(|sum| ("/withdrawals?status=Pending&status=Processing", "In flight to banks", sum));
    available.chain(pending).map(|(href, name, sum)| {
        let money = Money::sum(sum.minor, sum.currency);
        Card {
            href,
            name: format!("{name}, {}", money.currency),
            value: money.text,
            detail: format!("{} minor units", money.minor),
            class: "plain",
            verdict: "a balance",
        }
    })
}
