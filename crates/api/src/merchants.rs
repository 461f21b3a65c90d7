//! `/api/merchants`

use axum::{Json, extract::State, response::Response};
use domain::{command::Action, id::MerchantId, merchant::Merchant, state::Outcome, time::Timestamp};
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
    path::OfMerchant,
    problem::Problem,
    query::Query,
    request_schema::{MerchantUpdate, NewMerchant},
    schema,
    state::App,
    text,
};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Merchant)]
pub struct MerchantBody {
    #[schema(schema_with = schema::id)]
    id: MerchantId,
    name: String,
    email: String,
    #[schema(schema_with = schema::moment)]
    created_at: Timestamp,
    is_active: bool,
}

impl From<Merchant> for MerchantBody {
    fn from(merchant: Merchant) -> Self {
        let Merchant { id, name, email, is_active, created_at } = merchant;
        Self { id, name, email, created_at, is_active }
    }
}

/// Create a merchant
#[utoipa::path(post, path = "/api/merchants", tag = "Merchants", operation_id = "createMerchant",
    request_body = NewMerchant,
    responses((status = 201, description = "Created", body = MerchantBody)))]
pub async fn create(State(app): State<App>, change: Change) -> Result<Response, Problem> {
    let action = read_new(&change.body)?;
    let answer = change.submit_new(&app, action).await?;
    let (replayed, merchant) = merchant_of(answer)?;
    Ok(created(replayed, &format!("/api/merchants/{}", merchant.id), &merchant))
}

/// All merchants, newest first
#[utoipa::path(get, path = "/api/merchants", tag = "Merchants", operation_id = "listMerchants",
    params(("limit" = Option<i64>, Query, minimum = 1, maximum = 100), ("cursor" = Option<String>, Query)),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<MerchantBody>)))]
pub async fn list(State(app): State<App>, mut query: Query) -> Result<Response, Problem> {
    let page = Page::read(&mut query);
    query.finish()?;
    let merchants = app.read(queries::merchants(app.reads(), page.after, page.rows_wanted())).await?;
    let key = |merchant: &Merchant| PageKey { created_at: merchant.created_at, id: merchant.id.0 };
    Ok(page.answer(&query, merchants, key, MerchantBody::from))
}

/// One merchant
#[utoipa::path(get, path = "/api/merchants/{merchantId}", tag = "Merchants", operation_id = "showMerchant",
    responses((status = 200, description = "The merchant", body = MerchantBody)))]
pub async fn show(
    State(app): State<App>,
    OfMerchant(id): OfMerchant,
    mut query: Query,
) -> Result<Json<MerchantBody>, Problem> {
    query.finish()?;
    Ok(Json(app.merchant(id).await?.into()))
}

/// Rename, deactivate or reactivate a merchant
#[utoipa::path(patch, path = "/api/merchants/{merchantId}", tag = "Merchants", operation_id = "updateMerchant",
    request_body = MerchantUpdate,
    responses((status = 200, description = "As it is now", body = MerchantBody)))]
pub async fn update(
    State(app): State<App>,
    OfMerchant(id): OfMerchant,
    change: Change,
) -> Result<Response, Problem> {
    let action = read_update(&change.body)?;
    let answer = change.submit(&app, id, action).await?;
    let (replayed, merchant) = merchant_of(answer)?;
    Ok(changed(replayed, &merchant))
}

pub fn read_new(body: &[u8]) -> Result<Action, Problem> {
    parse::object(body, |fields| {
        let (name, email) = (fields.text("name", text::NAME), fields.email("email"));
        Some(Action::CreateMerchant { name: name?, email: email? })
    })
}

pub fn read_update(body: &[u8]) -> Result<Action, Problem> {
    parse::object(body, |fields| {
        let name = fields.optional_text("name", text::NAME);
        let is_active = fields.optional_flag("isActive");
        if name.is_none() && is_active.is_none() {
            fields.refuse("Send name, isActive or both.");
        }
        Some(Action::UpdateMerchant { name, is_active })
    })
}

fn merchant_of(answer: Answer) -> Result<(bool, MerchantBody), Problem> {
    match answer.outcome {
        Outcome::Merchant(merchant) => Ok((answer.replayed, merchant.into())),
        other => Err(Problem::unexpected(&other)),
    }
}
