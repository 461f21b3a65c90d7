//! `/api/merchants/{merchantId}/withdrawals`

use axum::{Json, extract::State, response::Response};
use domain::{
    command::{Action, NewWithdrawal},
    currency::Currency,
    id::{MerchantId, WithdrawalId},
    money::AmountMinor,
    state::Outcome,
    time::Timestamp,
    withdrawal::{Withdrawal, WithdrawalStatus},
};
use serde::Serialize;
use store::{
    queries::{self, PageKey},
    request::Answer,
};
use utoipa::ToSchema;

use crate::{
    change::{Change, changed, created},
    page::Page,
    parse,
    path::{OfMerchant, OfWithdrawal},
    problem::Problem,
    problem_kind::WITHDRAWAL_NOT_FOUND,
    query::Query,
    request_schema::{self, WithdrawalCompletion, WithdrawalFailure},
    schema,
    state::App,
    text,
};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Withdrawal)]
pub struct WithdrawalBody {
    #[schema(schema_with = schema::id)]
    id: WithdrawalId,
    #[schema(schema_with = schema::id)]
    merchant_id: MerchantId,
    #[schema(schema_with = schema::amount_minor)]
    amount_in_minor_units: AmountMinor,
    #[schema(schema_with = schema::currency)]
    currency: Currency,
    #[schema(schema_with = schema::withdrawal_status)]
    status: WithdrawalStatus,
    /// The last four characters only.
    #[schema(example = "******************3000")]
    bank_account_number: String,
    /// The last four characters only.
    #[schema(example = "*****0021")]
    bank_routing_number: String,
    external_transaction_id: Option<String>,
    failure_reason: Option<String>,
    #[schema(schema_with = schema::moment)]
    created_at: Timestamp,
    #[schema(schema_with = schema::optional_moment)]
    processed_at: Option<Timestamp>,
    /// When it ended: completed, failed or cancelled.
    #[schema(schema_with = schema::optional_moment)]
    completed_at: Option<Timestamp>,
}

impl From<Withdrawal> for WithdrawalBody {
    fn from(withdrawal: Withdrawal) -> Self {
        Self {
            id: withdrawal.id,
            merchant_id: withdrawal.merchant_id,
            amount_in_minor_units: withdrawal.amount,
            currency: withdrawal.currency,
            status: withdrawal.status,
            bank_account_number: withdrawal.bank_account_masked,
            bank_routing_number: withdrawal.bank_routing_masked,
            external_transaction_id: withdrawal.external_transaction_id,
            failure_reason: withdrawal.failure_reason,
            created_at: withdrawal.created_at,
            processed_at: withdrawal.processed_at,
            completed_at: withdrawal.completed_at,
        }
    }
}

/// Request a withdrawal: the money is set aside at once
#[utoipa::path(post, path = "/api/merchants/{merchantId}/withdrawals", tag = "Withdrawals",
    operation_id = "createWithdrawal", request_body = request_schema::NewWithdrawal,
    responses((status = 201, description = "Created, Pending", body = WithdrawalBody)))]
pub async fn create(
    State(app): State<App>,
    OfMerchant(merchant_id): OfMerchant,
    change: Change,
) -> Result<Response, Problem> {
    let action = read_new(&change.body)?;
    let answer = change.submit(&app, merchant_id, action).await?;
    let (replayed, withdrawal) = withdrawal_of(answer)?;
    Ok(created(replayed, &format!("/api/merchants/{merchant_id}/withdrawals/{}", withdrawal.id), &withdrawal))
}

/// The withdrawals of a merchant, newest first
#[utoipa::path(get, path = "/api/merchants/{merchantId}/withdrawals", tag = "Withdrawals",
    operation_id = "listWithdrawals",
    params(("limit" = Option<i64>, Query, minimum = 1, maximum = 100), ("cursor" = Option<String>, Query)),
    responses((status = 200, description = "A page; the next one is in the Link header",
        body = Vec<WithdrawalBody>)))]
pub async fn list(
    State(app): State<App>,
    OfMerchant(merchant_id): OfMerchant,
    mut query: Query,
) -> Result<Response, Problem> {
    let page = Page::read(&mut query);
    query.finish()?;
    app.merchant(merchant_id).await?;
    let found = queries::withdrawals(app.reads(), merchant_id, page.after, page.rows_wanted());
    let withdrawals = app.read(found).await?;
    let key = |withdrawal: &Withdrawal| PageKey { created_at: withdrawal.created_at, id: withdrawal.id.0 };
    Ok(page.answer(&query, withdrawals, key, WithdrawalBody::from))
}

/// One withdrawal
#[utoipa::path(get, path = "/api/merchants/{merchantId}/withdrawals/{withdrawalId}", tag = "Withdrawals",
    operation_id = "showWithdrawal",
    responses((status = 200, description = "The withdrawal", body = WithdrawalBody)))]
pub async fn show(
    State(app): State<App>,
    OfWithdrawal(merchant_id, id): OfWithdrawal,
    mut query: Query,
) -> Result<Json<WithdrawalBody>, Problem> {
    query.finish()?;
    let withdrawal = app.read(queries::withdrawal(app.reads(), merchant_id, id)).await?;
    let withdrawal = withdrawal.ok_or_else(|| {
        Problem::new(WITHDRAWAL_NOT_FOUND, format!("There is no withdrawal {id} of this merchant."))
    })?;
    Ok(Json(withdrawal.into()))
}

/// Take a pending withdrawal up for payment
#[utoipa::path(post, path = "/api/merchants/{merchantId}/withdrawals/{withdrawalId}/process",
    tag = "Withdrawals", operation_id = "processWithdrawal",
    responses((status = 200, description = "Processing", body = WithdrawalBody)))]
pub async fn process(
    State(app): State<App>,
    OfWithdrawal(merchant_id, withdrawal_id): OfWithdrawal,
    change: Change,
) -> Result<Response, Problem> {
    parse::nothing(&change.body)?;
    step(&app, merchant_id, Action::ProcessWithdrawal { withdrawal_id }, &change).await
}

/// Say that the bank has paid a withdrawal out
#[utoipa::path(post, path = "/api/merchants/{merchantId}/withdrawals/{withdrawalId}/complete",
    tag = "Withdrawals", operation_id = "completeWithdrawal",
    request_body(content = Option<WithdrawalCompletion>),
    responses((status = 200, description = "Completed", body = WithdrawalBody)))]
pub async fn complete(
    State(app): State<App>,
    OfWithdrawal(merchant_id, withdrawal_id): OfWithdrawal,
    change: Change,
) -> Result<Response, Problem> {
    let external_transaction_id = read_completion(&change.body)?;
    let action = Action::CompleteWithdrawal { withdrawal_id, external_transaction_id };
    step(&app, merchant_id, action, &change).await
}

/// Say that the bank has refused a withdrawal: the money is available again
#[utoipa::path(post, path = "/api/merchants/{merchantId}/withdrawals/{withdrawalId}/fail",
    tag = "Withdrawals", operation_id = "failWithdrawal", request_body = WithdrawalFailure,
    responses((status = 200, description = "Failed", body = WithdrawalBody)))]
pub async fn fail(
    State(app): State<App>,
    OfWithdrawal(merchant_id, withdrawal_id): OfWithdrawal,
    change: Change,
) -> Result<Response, Problem> {
    let reason = read_failure(&change.body)?;
    step(&app, merchant_id, Action::FailWithdrawal { withdrawal_id, reason }, &change).await
}

/// Cancel a pending withdrawal: the money is available again
#[utoipa::path(post, path = "/api/merchants/{merchantId}/withdrawals/{withdrawalId}/cancel",
    tag = "Withdrawals", operation_id = "cancelWithdrawal",
    responses((status = 200, description = "Cancelled", body = WithdrawalBody)))]
pub async fn cancel(
    State(app): State<App>,
    OfWithdrawal(merchant_id, withdrawal_id): OfWithdrawal,
    change: Change,
) -> Result<Response, Problem> {
    parse::nothing(&change.body)?;
    step(&app, merchant_id, Action::CancelWithdrawal { withdrawal_id }, &change).await
}

async fn step(
    app: &App,
    merchant_id: MerchantId,
    action: Action,
    change: &Change,
) -> Result<Response, Problem> {
    let answer = change.submit(app, merchant_id, action).await?;
    let (replayed, withdrawal) = withdrawal_of(answer)?;
    Ok(changed(replayed, &withdrawal))
}

pub fn read_new(body: &[u8]) -> Result<Action, Problem> {
    parse::object(body, |fields| {
        let (amount, currency) = (fields.amount("amountInMinorUnits"), fields.currency("currency"));
        let bank_account = fields.bank_number("bankAccountNumber");
        let bank_routing = fields.bank_number("bankRoutingNumber");
        Some(Action::RequestWithdrawal(NewWithdrawal {
            amount: amount?,
            currency: currency?,
            bank_account: bank_account?,
            bank_routing: bank_routing?,
        }))
    })
}

/// What the bank calls the transfer, if it said so.
pub fn read_completion(body: &[u8]) -> Result<Option<String>, Problem> {
    parse::optional_object(body, |fields| {
        Some(fields.optional_text("externalTransactionId", text::EXTERNAL_TRANSACTION_ID))
    })
}

pub fn read_failure(body: &[u8]) -> Result<String, Problem> {
    parse::object(body, |fields| fields.text("reason", text::FAILURE_REASON))
}

fn withdrawal_of(answer: Answer) -> Result<(bool, WithdrawalBody), Problem> {
    match answer.outcome {
        Outcome::Withdrawal(withdrawal) => Ok((answer.replayed, withdrawal.into())),
        other => Err(Problem::unexpected(&other)),
    }
}
