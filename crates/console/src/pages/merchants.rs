//! `/merchants`: who is paid here; and the form that makes another one.

use access::Permission;
use api::text;
use askama::Template;
use axum::{extract::State, response::Response};
use domain::{command::Action, merchant::Merchant, state::Outcome};
use store::merchants::{self, MerchantsWanted};
use uuid::Uuid;

use super::{Pager, Visit, listed};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    fields::Fields,
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{Badge, Clock, IdLink, When},
    state::Console,
};

#[derive(Template)]
#[template(path = "merchants.html")]
struct MerchantsPage {
    frame: Frame,
    params: Params,
    is_filtered: bool,
    rows: Vec<MerchantRow>,
    page: Pager,
    may_change: bool,
    once: String,
    api: String,
}

struct MerchantRow {
    id: IdLink,
    name: String,
    email: String,
    state: Badge,
    created: When,
}

impl MerchantRow {
    fn new(merchant: &Merchant, clock: Clock) -> Self {
        Self {
            id: IdLink::to(merchant.id.0, "merchants"),
            name: merchant.name.clone(),
            email: merchant.email.clone(),
            state: state(merchant),
            created: clock.when(merchant.created_at),
        }
    }
}

pub fn state(merchant: &Merchant) -> Badge {
    Badge::of(if merchant.is_active { "active" } else { "inactive" })
}

/// `GET /merchants`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let wanted = MerchantsWanted {
        search: params.get("search").map(str::to_owned),
        is_active: params.read("state", "active or inactive", |text| match text {
            "active" => Some(true),
            "inactive" => Some(false),
            _ => None,
        }),
    };
    let after = params.after();
    let page = listed(&console, &params, merchants::list(console.db(), &wanted, after, ROWS)).await?;
    let clock = visit.clock;
    render(&MerchantsPage {
        may_change: visit.viewer.may(Permission::ChangeMerchants),
        frame: visit.frame(Section::Merchants, "Merchants"),
        is_filtered: wanted.search.is_some() || wanted.is_active.is_some() || params.is_wrong(),
        rows: page.rows.iter().map(|merchant| MerchantRow::new(merchant, clock)).collect(),
        page: Pager::of(&params, &page),
        params,
        once: Uuid::new_v4().simple().to_string(),
        api: console.api_url(),
    })
}

/// `POST /merchants`
pub async fn create(State(console): State<Console>, form: Form) -> Result<Response, Fault> {
    form.viewer.must(Permission::ChangeMerchants)?;
    let mut fields = Fields::of(&form);
    let (name, email) = (fields.text("name", text::NAME), fields.email("email"));
    let (name, email) = fields.finish(name.zip(email))?;
    match form.submit_new(&console, Action::CreateMerchant { name, email }).await? {
        Outcome::Merchant(merchant) => Ok(done(&format!("/merchants/{}", merchant.id), "created")),
        other => Err(Fault::internal(&format!("a merchant was wanted, and there is {other:?}"))),
    }
}
