//! `/api/merchants/{merchantId}/payments`

use axum::{Json, extract::State, response::Response};
use domain::{
    command::{Action, BULK_PAYMENTS_MAX, NewPayment},
    currency::Currency,
    id::{MerchantId, PaymentId},
    money::AmountMinor,
    payment::{CompletedBy, Payment, PaymentStatus},
    state::Outcome,
    time::Timestamp,
};
use serde::Serialize;
use store::{
    queries::{self, PageKey},
    request::Answer,
};
use utoipa::ToSchema;

use crate::{
    change::{BulkChange, Change, changed, created},
    decimal::Decimal,
    page::Page,
    parse::{self, Fields},
    path::{OfMerchant, OfPayment},
    payment_filter::{self, PaymentFilterParams},
    problem::Problem,
    problem_kind::PAYMENT_NOT_FOUND,
    query::Query,
    request_schema::{self, NewPayments, NewRefund},
    schema,
    state::App,
    text,
};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Payment)]
pub struct PaymentBody {
    #[schema(schema_with = schema::id)]
    id: PaymentId,
    #[schema(schema_with = schema::id)]
    merchant_id: MerchantId,
    #[schema(schema_with = schema::amount_minor)]
    amount_in_minor_units: AmountMinor,
    #[schema(schema_with = schema::decimal)]
    amount_in_major_units: Decimal,
    #[schema(schema_with = schema::currency)]
    currency: Currency,
    #[schema(schema_with = schema::payment_status)]
    status: PaymentStatus,
    external_reference: Option<String>,
    description: Option<String>,
    #[schema(schema_with = schema::moment)]
    created_at: Timestamp,
    #[schema(schema_with = schema::optional_moment)]
    completed_at: Option<Timestamp>,
    #[schema(schema_with = schema::completed_by)]
    completed_by: Option<CompletedBy>,
    /// When the last refund was made.
    #[schema(schema_with = schema::optional_moment)]
    refunded_at: Option<Timestamp>,
    /// Of the last refund.
    refund_reason: Option<String>,
    /// The sum of all refunds.
    #[schema(schema_with = schema::minor)]
    refunded_amount_in_minor_units: i64,
    #[schema(schema_with = schema::decimal)]
    refunded_amount_in_major_units: Decimal,
}

impl From<Payment> for PaymentBody {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id,
            merchant_id: payment.merchant_id,
            amount_in_minor_units: payment.amount,
            amount_in_major_units: Decimal::major(payment.amount.get(), payment.currency),
            currency: payment.currency,
            status: payment.status,
            external_reference: payment.external_reference,
            description: payment.description,
            created_at: payment.created_at,
            completed_at: payment.completed_at,
            completed_by: payment.completed_by,
            refunded_at: payment.refunded_at,
            refund_reason: payment.refund_reason,
            refunded_amount_in_minor_units: payment.refunded_minor,
            refunded_amount_in_major_units: Decimal::major(payment.refunded_minor, payment.currency),
        }
    }
}

/// Create a payment
#[utoipa::path(post, path = "/api/merchants/{merchantId}/payments", tag = "Payments",
    operation_id = "createPayment", request_body = request_schema::NewPayment,
    responses((status = 201, description = "Created, Pending", body = PaymentBody)))]
pub async fn create(
    State(app): State<App>,
    OfMerchant(merchant_id): OfMerchant,
    change: Change,
) -> Result<Response, Problem> {
    let payment = parse::object(&change.body, read_new)?;
    let action = Action::CreatePayments(vec![payment]);
    let answer = change.submit(&app, merchant_id, action).await?;
    let (replayed, payment) = payment_of(answer)?;
    Ok(created(replayed, &format!("/api/merchants/{merchant_id}/payments/{}", payment.id), &payment))
}

/// Create up to a thousand payments, all or none
#[utoipa::path(post, path = "/api/merchants/{merchantId}/payments/bulk", tag = "Payments",
    operation_id = "createPayments", request_body = NewPayments,
    responses((status = 201, description = "All created, in the order of the request", body = Vec<PaymentBody>)))]
pub async fn create_bulk(
    State(app): State<App>,
    OfMerchant(merchant_id): OfMerchant,
    BulkChange(change): BulkChange,
) -> Result<Response, Problem> {
    let action = read_bulk(&change.body)?;
    let answer = change.submit(&app, merchant_id, action).await?;
    let replayed = answer.replayed;
    let payments = match answer.outcome {
        Outcome::Payments(payments) => payments,
        Outcome::Payment(payment) => vec![payment],
        other => return Err(Problem::unexpected(&other)),
    };
    let bodies: Vec<PaymentBody> = payments.into_iter().map(PaymentBody::from).collect();
    Ok(created(replayed, &format!("/api/merchants/{merchant_id}/payments"), &bodies))
}

/// The payments of a merchant, newest first
#[utoipa::path(get, path = "/api/merchants/{merchantId}/payments", tag = "Payments",
    operation_id = "listPayments",
    params(PaymentFilterParams, ("limit" = Option<i64>, Query, minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query)),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<PaymentBody>)))]
pub async fn list(
    State(app): State<App>,
    OfMerchant(merchant_id): OfMerchant,
    mut query: Query,
) -> Result<Response, Problem> {
    let page = Page::read(&mut query);
    let filter = payment_filter::read(&mut query)?;
    app.merchant(merchant_id).await?;
    let found = queries::payments(app.reads(), merchant_id, &filter, page.after, page.rows_wanted());
    let payments = app.read(found).await?;
    Ok(page.answer(&query, payments, page_key, PaymentBody::from))
}

/// One payment
#[utoipa::path(get, path = "/api/merchants/{merchantId}/payments/{paymentId}", tag = "Payments",
    operation_id = "showPayment",
    responses((status = 200, description = "The payment", body = PaymentBody)))]
pub async fn show(
    State(app): State<App>,
    OfPayment(merchant_id, id): OfPayment,
    mut query: Query,
) -> Result<Json<PaymentBody>, Problem> {
    query.finish()?;
    let payment = app.read(app.store().lookups().payment(merchant_id, id)).await?;
    let payment = payment.ok_or_else(|| {
        Problem::new(PAYMENT_NOT_FOUND, format!("There is no payment {id} of this merchant."))
    })?;
    Ok(Json(payment.into()))
}

/// Complete a pending payment: the money is available from now on
///
/// A payment that is completed already is answered as it is, and nothing changes.
#[utoipa::path(post, path = "/api/merchants/{merchantId}/payments/{paymentId}/complete", tag = "Payments",
    operation_id = "completePayment",
    responses((status = 200, description = "Completed", body = PaymentBody)))]
pub async fn complete(
    State(app): State<App>,
    OfPayment(merchant_id, payment_id): OfPayment,
    change: Change,
) -> Result<Response, Problem> {
    parse::nothing(&change.body)?;
    let action = Action::CompletePayment { payment_id, completed_by: CompletedBy::Manual };
    step(&app, merchant_id, action, &change).await
}

/// Cancel a pending payment
#[utoipa::path(post, path = "/api/merchants/{merchantId}/payments/{paymentId}/cancel", tag = "Payments",
    operation_id = "cancelPayment",
    responses((status = 200, description = "Failed", body = PaymentBody)))]
pub async fn cancel(
    State(app): State<App>,
    OfPayment(merchant_id, payment_id): OfPayment,
    change: Change,
) -> Result<Response, Problem> {
    parse::nothing(&change.body)?;
    step(&app, merchant_id, Action::CancelPayment { payment_id }, &change).await
}

/// Refund a completed payment, in one or several parts
#[utoipa::path(post, path = "/api/merchants/{merchantId}/payments/{paymentId}/refund", tag = "Payments",
    operation_id = "refundPayment", request_body(content = Option<NewRefund>),
    responses((status = 200, description = "PartiallyRefunded, or Refunded when nothing is left", body = PaymentBody)))]
pub async fn refund(
    State(app): State<App>,
    OfPayment(merchant_id, payment_id): OfPayment,
    change: Change,
) -> Result<Response, Problem> {
    let (amount, reason) = read_refund(&change.body)?;
    step(&app, merchant_id, Action::RefundPayment { payment_id, amount, reason }, &change).await
}

async fn step(
    app: &App,
    merchant_id: MerchantId,
    action: Action,
    change: &Change,
) -> Result<Response, Problem> {
    let answer = change.submit(app, merchant_id, action).await?;
    let (replayed, payment) = payment_of(answer)?;
    Ok(changed(replayed, &payment))
}

pub fn read_new(fields: &mut Fields<'_, '_>) -> Option<NewPayment> {
    let (amount, currency) = (fields.amount("amountInMinorUnits"), fields.currency("currency"));
    let external_reference = fields.optional_text("externalReference", text::EXTERNAL_REFERENCE);
    let description = fields.optional_text("description", text::DESCRIPTION);
    Some(NewPayment { amount: amount?, currency: currency?, external_reference, description })
}

pub fn read_bulk(body: &[u8]) -> Result<Action, Problem> {
    parse::object(body, |fields| {
        fields.objects("payments", BULK_PAYMENTS_MAX, read_new).map(Action::CreatePayments)
    })
}

pub fn read_refund(body: &[u8]) -> Result<(Option<AmountMinor>, Option<String>), Problem> {
    parse::optional_object(body, |fields| {
        let amount = fields.optional_amount("refundAmountInMinorUnits");
        Some((amount, fields.optional_text("reason", text::REFUND_REASON)))
    })
}

/// Where a list goes on behind a payment.
pub fn page_key(payment: &Payment) -> PageKey {
    PageKey { created_at: payment.created_at, id: payment.id.0 }
}

fn payment_of(answer: Answer) -> Result<(bool, PaymentBody), Problem> {
    match answer.outcome {
        Outcome::Payment(payment) => Ok((answer.replayed, payment.into())),
        Outcome::Payments(mut payments) if payments.len() == 1 => {
            Ok((answer.replayed, payments.remove(0).into()))
        }
        other => Err(Problem::unexpected(&other)),
    }
}
