//! `/payments/{id}`: one payment with its whole life on one timeline, and what may be done with it.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::{
    command::Action,
    id::PaymentId,
    ledger::{AccountKey, Owner, posting},
    money::AmountMinor,
    payment::{CompletedBy, Payment, PaymentStatus},
};
use store::{batch::LogEvent, browse, log};
use stream::{
    dead_letter,
    redrive::{self, Letter, Selection},
};
use uuid::Uuid;

use super::Visit;
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    layout::{Frame, Section},
    list::Params,
    messages::places::{self, OnKafka, Place},
    show::{Badge, Clock, IdLink, Money, Tree, When, tree},
    state::Console,
};

/// Events of one payment that are shown; a payment of many partial refunds may have more.
const EVENTS_MAX: usize = 200;
const LETTERS_MAX: usize = 50;

#[derive(Template)]
#[template(path = "payment.html")]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
struct PaymentPage {
    frame: Frame,
    id: IdLink,
    merchant: IdLink,
    status: Badge,
    amount: Money,
    refunded: Option<Money>,
    refundable: Money,
    completed_by: &'static str,
    reference: String,
    description: String,
    flag_reason: String,
    events: Vec<EventStep>,
    on_kafka: OnKafka,
    is_cut: bool,
    letters: Vec<LetterRow>,
    can_complete: bool,
    can_refund: bool,
    can_flag: bool,
    once: String,
}

/// An event on the timeline, with what it booked.
pub struct EventStep {
    pub name: String,
    pub at: When,
    pub href: String,
    /// The message that it is on its topic.
    pub message: String,
    pub lane: u16,
    pub position: i64,
    pub sequence: i64,
    pub event: IdLink,
    pub command: IdLink,
    pub trace: String,
    /// Where it is shown, when it is kept and somebody has said where.
    pub trace_href: Option<String>,
    pub entries: Vec<EntryRow>,
    pub payload: Option<Tree>,
}

/// One side of a booking.
pub struct EntryRow {
    pub account: String,
    pub href: String,
    pub amount: Money,
}

/// A dead letter of this payment.
pub struct LetterRow {
    pub id: IdLink,
    pub consumer: String,
    pub state: Badge,
    pub reason: String,
    pub at: When,
}

/// `GET /payments/{id}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path(id): Path<Uuid>,
    params: Params,
) -> Result<Response, Fault> {
    let payment = find(&console, id).await?;
    let events = console.read(log::by_subject(console.db(), id, EVENTS_MAX)).await?;
    let on_kafka = OnKafka::of(&console, &events, params.get(places::PARAM).is_some()).await;
    let letters = letters(&console, &events, visit.clock).await?;
    let clock = visit.clock;
    let status = payment.status;
    let may_change = visit.viewer.may(Permission::ChangePayments);
    let may_review = visit.viewer.may(Permission::ReviewPayments);
    let Payment { currency, refunded_minor, .. } = payment;
    let is_refundable = matches!(status, PaymentStatus::Completed | PaymentStatus::PartiallyRefunded);
    render(&PaymentPage {
        frame: visit.frame(Section::Payments, format!("{} payment", IdLink::new(id, "").short)),
        id: IdLink::new(id, ""),
        merchant: IdLink::to(payment.merchant_id.0, "merchants"),
        status: Badge::of(status.name()),
        amount: Money::new(payment.amount.get(), currency),
        refunded: (refunded_minor > 0).then(|| Money::new(refunded_minor, currency)),
        refundable: Money::new(payment.refundable_minor(), currency),
        completed_by: payment.completed_by.map_or("", CompletedBy::name),
        is_cut: events.len() == EVENTS_MAX,
        events: events.iter().map(|event| event_step(&console, event, clock)).collect(),
        on_kafka,
        letters,
        can_complete: may_change && status == PaymentStatus::Pending,
        can_refund: may_change && is_refundable,
        can_flag: may_review && payment.flag_reason.is_none(),
        once: Uuid::new_v4().simple().to_string(),
        reference: payment.external_reference.unwrap_or_default(),
        description: payment.description.unwrap_or_default(),
        flag_reason: payment.flag_reason.unwrap_or_default(),
    })
}

async fn find(console: &Console, id: Uuid) -> Result<Payment, Fault> {
    let payment = console.read(browse::payment(console.db(), PaymentId(id))).await?;
    payment.ok_or_else(|| Fault::not_found(format!("There is no payment {id}.")))
}

/// An event of the log for a timeline.
pub fn event_step(console: &Console, event: &LogEvent, clock: Clock) -> EventStep {
    let href = format!("/events/{}/{}/{}", event.stream.name(), event.lane.0, event.position);
    EventStep {
        name: event.event_type.clone(),
        at: clock.when(event.occurred_at),
        message: format!(
            "/topics/{}/messages?partition={}&position={}",
            event.stream.name(),
            event.lane.0,
            event.position
        ),
        lane: event.lane.0,
        position: event.position,
        sequence: event.sequence,
        event: IdLink::new(event.event_id.0, href.clone()),
        href,
        command: IdLink::new(event.command_id.0, ""),
        trace_href: console.trace_href(&event.trace_context()),
        trace: event.trace_context().trace_id_text(),
        entries: entries(event),
        payload: tree(&event.payload),
    }
}

/// What an event books, by the same function that booked it.
fn entries(event: &LogEvent) -> Vec<EntryRow> {
    let Some(booked) = event.parse().ok().and_then(|parsed| posting(&parsed, event.lane)) else {
        return Vec::new();
    };
    // Taken from one account and given to another.
    [(booked.from, -booked.amount_minor), (booked.to, booked.amount_minor)]
        .map(|(leg, minor)| {
            let AccountKey { owner, kind, currency } = leg.account;
            EntryRow {
                account: match owner {
                    Owner::Merchant(_) => format!("the merchant’s {}", kind.name()),
                    Owner::Platform(lane) => format!("the platform’s {}, lane {}", kind.name(), lane.0),
                },
                href: account_href(&leg.account),
                amount: Money::new(minor, currency),
            }
        })
        .into()
}

/// The page of a ledger account.
pub fn account_href(account: &AccountKey) -> String {
    let AccountKey { owner, kind, currency } = account;
    format!("/ledger/accounts/{}/{}/{}", owner.to_uuid(), kind.name(), currency.code())
}

/// The dead letters of what these events are about.
pub async fn letters(console: &Console, events: &[LogEvent], clock: Clock) -> Result<Vec<LetterRow>, Fault> {
    let Some(first) = events.first() else { return Ok(Vec::new()) };
    let selection = Selection { subject: Some(first.subject_id), ..Selection::default() };
    let found = console.read(redrive::select(console.db(), &selection, LETTERS_MAX)).await?;
    Ok(found.iter().map(|letter| letter_row(letter, clock)).collect())
}

/// A dead letter in a list.
pub fn letter_row(letter: &Letter, clock: Clock) -> LetterRow {
    LetterRow {
        id: IdLink::to(letter.id, "dead-letters"),
        consumer: letter.consumer.clone(),
        state: Badge::of(dead_letter::State::name(letter.state)),
        reason: letter.reason.clone(),
        at: clock.when(letter.created_at),
    }
}

/// `POST /payments/{id}/complete`
pub async fn complete(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangePayments)?;
    let action = Action::CompletePayment { payment_id: PaymentId(id), completed_by: CompletedBy::Manual };
    act(&console, id, &form, action, "completed").await
}

/// `POST /payments/{id}/cancel`
pub async fn cancel(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangePayments)?;
    act(&console, id, &form, Action::CancelPayment { payment_id: PaymentId(id) }, "cancelled").await
}

/// `POST /payments/{id}/refund`: all that is left without an amount.
pub async fn refund(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangePayments)?;
    let amount = match form.get("amount") {
        None => None,
        Some(text) => Some(text.parse().ok().and_then(AmountMinor::new).ok_or_else(|| {
            Fault::bad_request("The amount is a whole number of minor units above zero. Nothing was changed.")
        })?),
    };
    let reason = Some(form.reason()?.to_owned());
    let action = Action::RefundPayment { payment_id: PaymentId(id), amount, reason };
    act(&console, id, &form, action, "refunded").await
}

/// `POST /payments/{id}/flag`: into the review queue.
pub async fn flag(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ReviewPayments)?;
    let action = Action::FlagPayment { payment_id: PaymentId(id), reason: form.reason()?.to_owned() };
    act(&console, id, &form, action, "flagged").await
}

async fn act(
    console: &Console,
    id: Uuid,
    form: &Form,
    action: Action,
    notice: &'static str,
) -> Result<Response, Fault> {
    let payment = find(console, id).await?;
    form.submit(console, payment.merchant_id, action).await?;
    Ok(done(
        form.get("back").filter(|back| *back == "/reviews").unwrap_or(&format!("/payments/{id}")),
        notice,
    ))
}
