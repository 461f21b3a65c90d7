//! `/reviews`: payments that were flagged and wait for a person: the oldest first, why, and how the merchant's payments
//! went before. Approving completes a payment, declining cancels it; the note of whoever decided stays in the audit log.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::{
    command::Action,
    id::{MerchantId, PaymentId},
    merchant::Merchant,
    payment::{CompletedBy, Payment},
};
use futures_util::future::try_join_all;
use serde_json::json;
use store::{
    audit::{self, Filter},
    browse,
    error::ReadError,
    reviews::{self, HISTORY_PAYMENTS_MAX, History},
};
use uuid::Uuid;

use super::{Pager, Visit};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{IdLink, Money, When},
    state::Console,
};

#[derive(Template)]
#[template(path = "reviews.html")]
struct ReviewsPage {
    frame: Frame,
    rows: Vec<ReviewRow>,
    page: Pager,
    history_payments_max: usize,
    may_decide: bool,
    once: String,
}

struct ReviewRow {
    id: IdLink,
    amount: Money,
    reason: String,
    reference: String,
    description: String,
    created: When,
    merchant: IdLink,
    merchant_name: String,
    is_inactive: bool,
    history: History,
}

/// `GET /reviews`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let after = params.after().map(|key| PaymentId(key.id));
    if params.is_wrong() {
        return Err(Fault::bad_request("The page’s address is not one of the list’s links."));
    }
    let page = console.read(reviews::queue(console.db(), after, ROWS)).await?;
    let mut ids: Vec<MerchantId> = page.rows.iter().map(|payment| payment.merchant_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let histories = console.read(reviews::histories(console.db(), &ids)).await?;
    let merchants = console.read(merchants(&console, &ids)).await?;
    let rows = page.rows.iter().map(|payment| {
        let merchant = merchants.iter().find(|merchant| merchant.id == payment.merchant_id);
        let history = histories.get(&payment.merchant_id).copied().unwrap_or_default();
        row(payment, merchant, history, &visit)
    });
    render(&ReviewsPage {
        rows: rows.collect(),
        page: Pager::of(&params, &page),
        history_payments_max: HISTORY_PAYMENTS_MAX,
        may_decide: visit.viewer.may(Permission::ReviewPayments),
        frame: visit.frame(Section::Reviews, "Review queue"),
        once: Uuid::new_v4().simple().to_string(),
    })
}

async fn merchants(console: &Console, ids: &[MerchantId]) -> Result<Vec<Merchant>, ReadError> {
    // They are asked for at once, and become one query.
    let found = try_join_all(ids.iter().map(|id| console.store().lookups().merchant(*id))).await?;
    Ok(found.into_iter().flatten().collect())
}

fn row(payment: &Payment, merchant: Option<&Merchant>, history: History, visit: &Visit) -> ReviewRow {
    ReviewRow {
        id: IdLink::to(payment.id.0, "payments"),
        amount: Money::new(payment.amount.get(), payment.currency),
        reason: payment.flag_reason.clone().unwrap_or_default(),
        reference: payment.external_reference.clone().unwrap_or_default(),
        description: payment.description.clone().unwrap_or_default(),
        created: visit.clock.when(payment.created_at),
        merchant: IdLink::to(payment.merchant_id.0, "merchants"),
        merchant_name: merchant.map(|merchant| merchant.name.clone()).unwrap_or_default(),
        is_inactive: merchant.is_some_and(|merchant| !merchant.is_active),
        history,
    }
}

/// What somebody decided.
#[derive(Clone, Copy)]
enum Verdict {
    Approved,
    Declined,
}

/// `POST /reviews/{id}/approve`
pub async fn approve(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    decide(&console, PaymentId(id), &form, Verdict::Approved).await
}

/// `POST /reviews/{id}/decline`
pub async fn decline(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    decide(&console, PaymentId(id), &form, Verdict::Declined).await
}

async fn decide(
    console: &Console,
    payment_id: PaymentId,
    form: &Form,
    verdict: Verdict,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ReviewPayments)?;
    form.reason()?;
    let payment = console.read(browse::payment(console.db(), payment_id)).await?;
    let payment = payment.ok_or_else(|| Fault::not_found(format!("There is no payment {payment_id}.")))?;
    if payment.flag_reason.is_none() {
        return Err(Fault::bad_request("This payment waits for no review. Nothing was changed."));
    }
    let (action, name, notice) = match verdict {
        Verdict::Approved => {
            let completed_by = CompletedBy::Manual;
            (Action::CompletePayment { payment_id, completed_by }, "review.approve", "reviewed")
        }
        Verdict::Declined => (Action::CancelPayment { payment_id }, "review.decline", "declined"),
    };
    form.submit(console, payment.merchant_id, action).await?;
    note(console, &payment, form, name).await?;
    Ok(done("/reviews", notice))
}

/// The note cannot be written with the command's events. When it fails, the form says so; sent again it is the same
/// command, which takes effect once, and the note is written then. So a payment has one line, whatever happens when.
async fn note(console: &Console, payment: &Payment, form: &Form, action: &str) -> Result<(), Fault> {
    let (actor, subject) = (form.actor()?, payment.id.to_string());
    let written = async {
        let filter = Filter {
            subject: Some(subject.clone()),
            action_prefix: Some(action.to_owned()),
            ..Filter::default()
        };
        if !audit::list(console.db(), &filter, None, 1).await?.rows.is_empty() {
            return Ok(());
        }
        let mut transaction = console.store().begin_durable().await?;
        let detail = json!({"flagged": payment.flag_reason, "merchant": payment.merchant_id});
        audit::write(transaction.as_mut(), &actor, action, &subject, &detail, console.now()).await?;
        transaction.commit().await
    };
    console.read(written).await.map_err(|fault| {
        let detail = "It was done, but the note could not be kept: send the same form again.";
        Fault::new(fault.status, fault.title, detail)
    })
}
