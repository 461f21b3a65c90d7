//! `/api/merchants/{merchantId}/balances`

use axum::{Json, extract::State};
use domain::{currency::Currency, id::MerchantId, merchant::Merchant, time::Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};
use store::queries::{self, Balance};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    path::{OfBalance, OfMerchant},
    problem::Problem,
    query::{DayEnd, Query},
    schema,
    state::App,
};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Balance)]
pub struct BalanceBody {
    #[schema(schema_with = schema::id)]
    id: Uuid,
    #[schema(schema_with = schema::id)]
    merchant_id: MerchantId,
    #[schema(schema_with = schema::currency)]
    currency: Currency,
    /// What can be withdrawn or refunded.
    #[schema(schema_with = schema::minor)]
    available_balance_in_minor_units: i64,
    /// What is on its way out.
    #[schema(schema_with = schema::minor)]
    pending_balance_in_minor_units: i64,
    #[schema(schema_with = schema::minor)]
    total_balance_in_minor_units: i128,
    /// When money last moved; when the merchant was created, if none did.
    #[schema(schema_with = schema::moment)]
    last_updated: Timestamp,
}

impl BalanceBody {
    fn new(merchant: &Merchant, balance: Balance) -> Self {
        Self {
            id: balance_id(merchant.id, balance.currency),
            merchant_id: merchant.id,
            currency: balance.currency,
            available_balance_in_minor_units: balance.available_minor,
            pending_balance_in_minor_units: balance.pending_minor,
            total_balance_in_minor_units: i128::from(balance.available_minor)
                + i128::from(balance.pending_minor),
            last_updated: balance.updated_at,
        }
    }
}

/// The balances of a merchant, one a currency
#[utoipa::path(get, path = "/api/merchants/{merchantId}/balances", tag = "Balances",
    operation_id = "listBalances",
    params(("asOf" = Option<String>, Query, format = DateTime,
        description = "The balances as they were then, inclusive; without it, as they are")),
    responses((status = 200, description = "By currency", body = Vec<BalanceBody>)))]
pub async fn list(
    State(app): State<App>,
    OfMerchant(id): OfMerchant,
    mut query: Query,
) -> Result<Json<Vec<BalanceBody>>, Problem> {
    let (merchant, balances) = read(&app, id, &mut query).await?;
    Ok(Json(balances.into_iter().map(|balance| BalanceBody::new(&merchant, balance)).collect()))
}

/// The balance of a merchant in one currency; zero where no money moved yet
#[utoipa::path(get, path = "/api/merchants/{merchantId}/balances/{currency}", tag = "Balances",
    operation_id = "showBalance",
    params(("asOf" = Option<String>, Query, format = DateTime,
        description = "The balance as it was then, inclusive; without it, as it is")),
    responses((status = 200, description = "The balance", body = BalanceBody)))]
pub async fn show(
    State(app): State<App>,
    OfBalance(id, currency): OfBalance,
    mut query: Query,
) -> Result<Json<BalanceBody>, Problem> {
    let (merchant, balances) = read(&app, id, &mut query).await?;
    let nothing = Balance { currency, available_minor: 0, pending_minor: 0, updated_at: merchant.created_at };
    let balance = balances.into_iter().find(|balance| balance.currency == currency).unwrap_or(nothing);
    Ok(Json(BalanceBody::new(&merchant, balance)))
}

async fn read(app: &App, id: MerchantId, query: &mut Query) -> Result<(Merchant, Vec<Balance>), Problem> {
    let as_of = query.moment("asOf", DayEnd::Last);
    query.finish()?;
    match as_of {
        None => {
            let found = app.read(app.store().lookups().balances(id)).await?;
            found.ok_or_else(|| Problem::merchant_not_found(id))
        }
        Some(moment) => {
            let merchant = app.merchant(id).await?;
            let balances = app.read(queries::balances_as_of(app.reads(), id, moment)).await?;
            Ok((merchant, balances))
        }
    }
}

/// A balance is not a row of its own, but clients of the contract expect an id: a `UUIDv8` (RFC 9562 §5.8)
/// of SHA-256 over merchant and currency, always the same.
fn balance_id(merchant: MerchantId, currency: Currency) -> Uuid {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(merchant.0.as_bytes())
        .chain_update(currency.code().as_bytes())
        .finalize()
        .into();
    let (half, _) = digest.split_first_chunk().expect("a SHA-256 has more than sixteen bytes");
    uuid::Builder::from_custom_bytes(*half).into_uuid()
}
