//! `/withdrawals/{id}`: one withdrawal with its whole life on one timeline, and its way out: approved, then paid or
//! failed by the bank; or cancelled before. Above the limit of the settings two operators have to approve it.

use access::{Permission, approvals};
use api::text;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::{
    command::Action,
    id::WithdrawalId,
    withdrawal::{Withdrawal, WithdrawalStatus},
};
use store::{browse, log};
use uuid::Uuid;

use super::{
    Visit,
    payment::{EventStep, LetterRow, event_step, letters},
};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    fields::Fields,
    four_eyes::{self, Outcome, Sensitive},
    layout::{Frame, Section},
    list::Params,
    messages::places::{self, OnKafka, Place},
    show::{Badge, IdLink, Money, When},
    state::Console,
};

/// A withdrawal has three events in its life.
const EVENTS_MAX: usize = 20;

#[derive(Template)]
#[template(path = "withdrawal.html")]
struct WithdrawalPage {
    frame: Frame,
    id: IdLink,
    merchant: IdLink,
    status: Badge,
    amount: Money,
    account: String,
    routing: String,
    external: String,
    failure: String,
    created: When,
    processed: Option<When>,
    ended: Option<When>,
    events: Vec<EventStep>,
    on_kafka: OnKafka,
    is_cut: bool,
    letters: Vec<LetterRow>,
    can_approve: bool,
    can_pay: bool,
    /// The limit that it is above, where two operators have to approve.
    limit: Option<Money>,
    asked: Option<Asked>,
    once: String,
}

/// An approval that is waited for.
struct Asked {
    by: String,
    reason: String,
    at: When,
}

/// `GET /withdrawals/{id}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path(id): Path<Uuid>,
    params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let withdrawal = find(&console, id).await?;
    let events = console.read(log::by_subject(console.db(), id, EVENTS_MAX)).await?;
    let on_kafka = OnKafka::of(&console, &events, params.get(places::PARAM).is_some()).await;
    let letters = letters(&console, &events, visit.clock).await?;
    let (clock, currency, status) = (visit.clock, withdrawal.currency, withdrawal.status);
    let is_pending = status == WithdrawalStatus::Pending;
    let needs_two = is_pending && !visit.viewer.is_open() && is_above_limit(&console, &withdrawal);
    let asked = if needs_two { asked(&console, &visit, id).await? } else { None };
    let may_change = visit.viewer.may(Permission::ChangeWithdrawals);
    render(&WithdrawalPage {
        frame: visit.frame(Section::Withdrawals, format!("{} withdrawal", IdLink::new(id, "").short)),
        id: IdLink::new(id, ""),
        merchant: IdLink::to(withdrawal.merchant_id.0, "merchants"),
        status: Badge::of(status.name()),
        amount: Money::new(withdrawal.amount.get(), currency),
        account: withdrawal.bank_account_masked,
        routing: withdrawal.bank_routing_masked,
        external: withdrawal.external_transaction_id.unwrap_or_default(),
        failure: withdrawal.failure_reason.unwrap_or_default(),
        created: clock.when(withdrawal.created_at),
        processed: withdrawal.processed_at.map(|at| clock.when(at)),
        ended: withdrawal.completed_at.map(|at| clock.when(at)),
        is_cut: events.len() == EVENTS_MAX,
        events: events.iter().map(|event| event_step(&console, event, clock)).collect(),
        on_kafka,
        letters,
        can_approve: may_change && is_pending,
        can_pay: may_change && status == WithdrawalStatus::Processing,
        limit: needs_two.then(|| Money::new(console.four_eyes_withdrawal_minor(), currency)),
        asked,
        once: Uuid::new_v4().simple().to_string(),
    })
}

async fn find(console: &Console, id: Uuid) -> Result<Withdrawal, Fault> {
    let withdrawal = console.read(browse::withdrawal(console.db(), WithdrawalId(id))).await?;
    withdrawal.ok_or_else(|| Fault::not_found(format!("There is no withdrawal {id}.")))
}

fn is_above_limit(console: &Console, withdrawal: &Withdrawal) -> bool {
    withdrawal.amount.get() > console.four_eyes_withdrawal_minor()
}

async fn asked(console: &Console, visit: &Visit, id: Uuid) -> Result<Option<Asked>, Fault> {
    let wanted = Some(Sensitive::ProcessWithdrawal(WithdrawalId(id)));
    let open = console.read(approvals::open(console.db())).await?;
    Ok(open.into_iter().find(|approval| Sensitive::of(approval) == wanted).map(|approval| Asked {
        by: approval.requested_by,
        reason: approval.reason,
        at: visit.clock.when(approval.requested_at),
    }))
}

/// `POST /withdrawals/{id}/process`: approved, at once or by another operator.
pub async fn process(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangeWithdrawals)?;
    let withdrawal = find(&console, id).await?;
    if !is_above_limit(&console, &withdrawal) {
        let action = Action::ProcessWithdrawal { withdrawal_id: WithdrawalId(id) };
        form.submit(&console, withdrawal.merchant_id, action).await?;
        return Ok(done(&format!("/withdrawals/{id}"), "processing"));
    }
    if withdrawal.status != WithdrawalStatus::Pending {
        // Nobody is asked for what would be refused.
        return Err(Fault::bad_request(format!(
            "The withdrawal is {}; only a Pending one can be approved. Nothing was changed.",
            withdrawal.status
        )));
    }
    let sensitive = Sensitive::ProcessWithdrawal(WithdrawalId(id));
    let notice = match four_eyes::do_or_ask(&console, &form, sensitive).await? {
        Outcome::Done => "processing",
        Outcome::Asked => "asked",
    };
    Ok(done(&format!("/withdrawals/{id}"), notice))
}

/// `POST /withdrawals/{id}/complete`: the bank has paid it out.
pub async fn complete(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangeWithdrawals)?;
    let mut fields = Fields::of(&form);
    let external = fields.optional_text("external", text::EXTERNAL_TRANSACTION_ID);
    let external_transaction_id = fields.finish(Some(external))?;
    let action = Action::CompleteWithdrawal { withdrawal_id: WithdrawalId(id), external_transaction_id };
    act(&console, id, &form, action, "paid").await
}

/// `POST /withdrawals/{id}/fail`: the bank has refused it.
pub async fn fail(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangeWithdrawals)?;
    let mut fields = Fields::of(&form);
    let reason = fields.text("reason", text::FAILURE_REASON);
    let reason = fields.finish(reason)?;
    let action = Action::FailWithdrawal { withdrawal_id: WithdrawalId(id), reason };
    act(&console, id, &form, action, "failed").await
}

/// `POST /withdrawals/{id}/cancel`
pub async fn cancel(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangeWithdrawals)?;
    let action = Action::CancelWithdrawal { withdrawal_id: WithdrawalId(id) };
    act(&console, id, &form, action, "cancelled").await
}

async fn act(
    console: &Console,
    id: Uuid,
    form: &Form,
    action: Action,
    notice: &'static str,
) -> Result<Response, Fault> {
    let withdrawal = find(console, id).await?;
    form.submit(console, withdrawal.merchant_id, action).await?;
    Ok(done(&format!("/withdrawals/{id}"), notice))
}
