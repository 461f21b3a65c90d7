//! `/api/admin`: looking into the ledger.

use axum::{Json, extract::State};
use domain::{
    currency::Currency,
    id::{EntryId, EventId, MerchantId, PaymentId, WithdrawalId},
    ledger::{AccountKind, Entry, EntryType},
    time::Timestamp,
};
use serde::Serialize;
use store::queries;
use utoipa::ToSchema;

use crate::{page, path::OfMerchant, problem::Problem, query::Query, schema, state::App};

/// Checked when the query names none.
const CURRENCY_DEFAULT: &str = "USD";

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BalanceCheck)]
pub struct BalanceCheckBody {
    #[schema(schema_with = schema::id)]
    merchant_id: MerchantId,
    #[schema(schema_with = schema::currency)]
    currency: Currency,
    /// The available balance as the accounts have it, in minor units.
    #[schema(schema_with = schema::minor)]
    balance_table_value: i64,
    /// The sum of the ledger's entries, in minor units.
    #[schema(schema_with = schema::minor)]
    ledger_calculated_value: i128,
    is_valid: bool,
    /// Table less ledger.
    #[schema(schema_with = schema::minor)]
    difference_in_minor_units: i128,
    message: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LedgerHistory)]
pub struct LedgerHistoryBody {
    #[schema(schema_with = schema::id)]
    merchant_id: MerchantId,
    /// Of the merchant, listed here or not.
    total_entries: i64,
    /// Newest first.
    entries: Vec<LedgerEntryBody>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LedgerEntry)]
pub struct LedgerEntryBody {
    #[schema(schema_with = schema::id)]
    id: EntryId,
    #[schema(schema_with = schema::id)]
    merchant_id: MerchantId,
    /// Entries of one transaction sum to zero.
    #[schema(schema_with = schema::id)]
    transaction_id: EventId,
    #[schema(schema_with = schema::account)]
    account: &'static str,
    #[schema(schema_with = schema::entry_type)]
    entry_type: EntryType,
    /// Positive where money arrives, negative where it leaves.
    #[schema(schema_with = schema::minor)]
    amount_in_minor_units: i64,
    #[schema(schema_with = schema::currency)]
    currency: Currency,
    /// Of the account, behind this entry.
    #[schema(schema_with = schema::minor)]
    balance_after_in_minor_units: i64,
    #[schema(schema_with = schema::optional_id)]
    related_payment_id: Option<PaymentId>,
    #[schema(schema_with = schema::optional_id)]
    related_withdrawal_id: Option<WithdrawalId>,
    description: String,
    #[schema(schema_with = schema::moment)]
    created_at: Timestamp,
}

/// Whether a balance is the sum of its ledger entries
#[utoipa::path(get, path = "/api/admin/verify-balance/{merchantId}", tag = "Admin",
    operation_id = "verifyBalance",
    params(("currency" = Option<String>, Query, description = "USD without it")),
    responses((status = 200, description = "Both values, read at one moment", body = BalanceCheckBody)))]
pub async fn verify_balance(
    State(app): State<App>,
    OfMerchant(merchant_id): OfMerchant,
    mut query: Query,
) -> Result<Json<BalanceCheckBody>, Problem> {
    let currency = query.currency("currency").or_else(|| Currency::parse(CURRENCY_DEFAULT));
    query.finish()?;
    let currency = currency.ok_or_else(|| Problem::internal("the default currency is none"))?;
    app.merchant(merchant_id).await?;
    let proof = app.read(queries::balance_proof(app.reads(), merchant_id, currency)).await?;
    let difference = i128::from(proof.table_minor) - proof.entries_minor;
    Ok(Json(BalanceCheckBody {
        merchant_id,
        currency,
        balance_table_value: proof.table_minor,
        ledger_calculated_value: proof.entries_minor,
        is_valid: difference == 0,
        difference_in_minor_units: difference,
        message: if difference == 0 {
            "The balance is the sum of its ledger entries.".to_owned()
        } else {
            format!(
                "The balance is off by {difference} {currency} minor units from the sum of its ledger entries."
            )
        },
    }))
}

/// The last entries in a merchant's accounts, newest first
#[utoipa::path(get, path = "/api/admin/ledger-history/{merchantId}", tag = "Admin",
    operation_id = "showLedgerHistory",
    params(("limit" = Option<i64>, Query, minimum = 1, maximum = 100)),
    responses((status = 200, description = "The entries", body = LedgerHistoryBody)))]
pub async fn ledger_history(
    State(app): State<App>,
    OfMerchant(merchant_id): OfMerchant,
    mut query: Query,
) -> Result<Json<LedgerHistoryBody>, Problem> {
    let limit = page::read_limit(&mut query);
    query.finish()?;
    app.merchant(merchant_id).await?;
    let (total_entries, entries) = app.read(queries::ledger_history(app.reads(), merchant_id, limit)).await?;
    let entries = entries.into_iter().map(|entry| entry_body(merchant_id, &entry)).collect();
    Ok(Json(LedgerHistoryBody { merchant_id, total_entries, entries }))
}

fn entry_body(merchant_id: MerchantId, entry: &Entry) -> LedgerEntryBody {
    LedgerEntryBody {
        id: entry.id,
        merchant_id,
        transaction_id: entry.transaction_id,
        account: entry.account.kind.name(),
        entry_type: entry.entry_type,
        amount_in_minor_units: entry.amount_minor,
        currency: entry.account.currency,
        balance_after_in_minor_units: entry.balance_after_minor,
        related_payment_id: entry.payment_id,
        related_withdrawal_id: entry.withdrawal_id,
        description: description(entry),
        created_at: entry.created_at,
    }
}

fn description(entry: &Entry) -> String {
    let what = match entry.entry_type {
        EntryType::PaymentReceived => "Payment received",
        EntryType::PaymentRefunded => "Payment refunded",
        EntryType::WithdrawalRequested => "Withdrawal requested",
        EntryType::WithdrawalCompleted => "Withdrawal paid out",
        EntryType::WithdrawalFailed => "Withdrawal refused by the bank",
        EntryType::WithdrawalCancelled => "Withdrawal cancelled",
    };
    let direction = if entry.amount_minor < 0 { "from" } else { "to" };
    let account = match entry.account.kind {
        AccountKind::Available => "the available balance",
        AccountKind::Pending => "the pending balance",
        AccountKind::Clearing => "clearing",
        AccountKind::Payouts => "payouts",
    };
    format!("{what}: {direction} {account}")
}
