//! `/idempotency`: whether a key is known, what it stands for, and the answer that a repetition would get: it is folded from
//! the log right here, as it would be for the caller.

use access::Permission;
use askama::Template;
use axum::{extract::State, response::Response};
use domain::{id::MerchantId, state::Outcome, time::Timestamp};
use store::{
    batch::StoredAnswer,
    log,
    request::{Claim, IDEMPOTENCY_KEY_CHARS_MAX},
    tables,
};

use super::{Visit, events::event_href};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::Params,
    show::{Badge, Clock, IdLink, Tree, When, tree},
    state::Console,
};

/// Whose keys there are: the scope in the claim, and who that is.
const CALLERS: [(&str, &str); 3] = [
    ("anonymous", "the platform’s keys, or open access"),
    ("merchant", "the merchant’s own keys"),
    ("console", "a form of this console"),
];
/// Subjects of a bulk request that are linked.
const SUBJECTS_SHOWN_MAX: usize = 20;

#[derive(Template)]
#[template(path = "idempotency.html")]
struct IdempotencyPage {
    frame: Frame,
    params: Params,
    is_asked: bool,
    has_merchant: bool,
    retention_hours: u64,
    found: Vec<KeyShown>,
}

/// A key that is known.
struct KeyShown {
    caller: &'static str,
    badge: Badge,
    first_used: When,
    expires: When,
    subjects: Vec<IdLink>,
    /// Subjects beyond those that are linked.
    more: usize,
    lane: u16,
    sequence: i64,
    /// The page of the event up to which the answer is folded.
    event: String,
    answer: Option<Tree>,
}

/// `GET /idempotency`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let key = params.read("key", "an idempotency key of at most 255 characters", |text| {
        (text.chars().count() <= IDEMPOTENCY_KEY_CHARS_MAX).then(|| text.to_owned())
    });
    let merchant = params.merchant();
    let clock = visit.clock;
    let mut found = Vec::new();
    if let Some(key) = &key
        && !params.is_wrong()
    {
        for (scope, caller) in CALLERS {
            let stored = stored(&console, scope, merchant, key).await?;
            if let Some(stored) = stored {
                found.push(key_shown(&console, caller, &stored, clock).await?);
            }
        }
    }
    render(&IdempotencyPage {
        frame: visit.frame(Section::Idempotency, "Idempotency keys"),
        is_asked: key.is_some(),
        has_merchant: merchant.is_some(),
        params,
        retention_hours: console.store().idempotency_retention().as_secs() / 3600,
        found,
    })
}

/// A request that creates a merchant concerns none yet: its keys are without one.
async fn stored(
    console: &Console,
    scope: &str,
    merchant: Option<MerchantId>,
    key: &str,
) -> Result<Option<StoredAnswer>, Fault> {
    let merchant = merchant.map(|merchant| merchant.to_string()).unwrap_or_default();
    let claim = Claim::new(scope, &merchant, key, &[]);
    console.read(tables::key(console.db(), claim.key_hash)).await
}

async fn key_shown(
    console: &Console,
    caller: &'static str,
    stored: &StoredAnswer,
    clock: Clock,
) -> Result<KeyShown, Fault> {
    let retention = i64::try_from(console.store().idempotency_retention().as_micros()).unwrap_or(i64::MAX);
    let expires = Timestamp::from_micros(stored.created_at.as_micros().saturating_add(retention));
    let outcome = console.read(log::replay(console.db(), stored)).await?;
    let subjects = subjects(&outcome);
    let event = console.read(log::behind_sequence(console.db(), stored.lane, stored.sequence - 1, 1)).await?;
    Ok(KeyShown {
        caller,
        badge: Badge::of(if expires > clock.now { "live" } else { "expired" }),
        first_used: clock.when(stored.created_at),
        expires: clock.when(expires),
        more: subjects.len().saturating_sub(SUBJECTS_SHOWN_MAX),
        subjects: subjects.into_iter().take(SUBJECTS_SHOWN_MAX).collect(),
        lane: stored.lane.0,
        sequence: stored.sequence,
        event: event
            .first()
            .map(|event| event_href(event.stream, event.lane, event.position))
            .unwrap_or_default(),
        answer: tree(&api::answer::json_of(outcome)),
    })
}

fn subjects(outcome: &Outcome) -> Vec<IdLink> {
    match outcome {
        Outcome::Merchant(merchant) => vec![IdLink::to(merchant.id.0, "merchants")],
        Outcome::Payment(payment) => vec![IdLink::to(payment.id.0, "payments")],
        Outcome::Payments(payments) => {
            payments.iter().map(|payment| IdLink::to(payment.id.0, "payments")).collect()
        }
        Outcome::Withdrawal(withdrawal) => vec![IdLink::to(withdrawal.id.0, "withdrawals")],
    }
}
