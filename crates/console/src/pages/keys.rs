//! `/keys`: the keys of the API. A key is shown once, in the answer that made it.

use access::{
    AccessError, Permission, Role, Scope,
    keys::{self, Key, NewKey},
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::{id::MerchantId, time::Timestamp};
use store::queries::PageKey;
use uuid::Uuid;

use super::{Pager, Visit};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{Badge, Clock, IdLink, When},
    state::Console,
};

const MICROS_A_DAY: i64 = 86_400_000_000;
const DAYS_MAX: i64 = 3650;

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    params: Params,
    rows: Vec<KeyRow>,
    roles: Vec<&'static str>,
    page: Pager,
    once: String,
}

struct KeyRow {
    id: IdLink,
    shown: String,
    name: String,
    state: Badge,
    role: &'static str,
    merchant: Option<IdLink>,
    created_by: String,
    created: When,
    expires: Option<When>,
    last_used: Option<When>,
    is_active: bool,
}

#[derive(Template)]
#[template(path = "key_created.html")]
struct KeyCreatedPage<'a> {
    frame: Frame,
    secret: &'a str,
    row: KeyRow,
    api: String,
}

/// `GET /keys`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::ManageKeys)?;
    let (merchant, after) = (params.merchant(), params.after().map(|key| key.id));
    let mut found = Vec::new();
    if !params.is_wrong() {
        // One more than is shown tells whether there is more.
        found = console.read(keys::list(console.db(), merchant, after, ROWS + 1)).await?;
    }
    let is_more = found.len() > ROWS;
    found.truncate(ROWS);
    let key = |key: &Key| PageKey { created_at: key.created_at, id: key.id };
    let next = found.last().filter(|_| is_more).map(key);
    let clock = visit.clock;
    render(&KeysPage {
        frame: visit.frame(Section::Keys, "API keys"),
        rows: found.iter().map(|key| row(key, clock)).collect(),
        roles: Role::ALL.map(Role::name).to_vec(),
        page: Pager::new(&params, next, false),
        params,
        once: Uuid::new_v4().simple().to_string(),
    })
}

fn row(key: &Key, clock: Clock) -> KeyRow {
    let state = key.state(clock.now).name();
    KeyRow {
        id: IdLink::new(key.id, ""),
        shown: format!("{}…{}", key.prefix, key.last4),
        name: key.name.clone(),
        state: Badge::of(state),
        role: key.role.name(),
        merchant: key.scope.merchant().map(|id| IdLink::to(id.0, "merchants")),
        created_by: key.created_by.clone(),
        created: clock.when(key.created_at),
        expires: key.expires_at.map(|at| clock.when(at)),
        last_used: key.last_used_at.map(|at| clock.when(at)),
        is_active: state == "active",
    }
}

/// `POST /keys`
pub async fn create(State(console): State<Console>, visit: Visit, form: Form) -> Result<Response, Fault> {
    form.viewer.must(Permission::ManageKeys)?;
    let new = read_new(&form, console.now())?;
    let created = keys::create(console.store(), &new, &form.actor()?).await.map_err(refused)?;
    let clock = visit.clock;
    render(&KeyCreatedPage {
        frame: visit.frame(Section::Keys, "A new API key"),
        secret: created.secret.reveal(),
        row: row(&created.key, clock),
        api: console.api_url(),
    })
}

fn read_new(form: &Form, now: Timestamp) -> Result<NewKey, Fault> {
    let role = form.get("role").unwrap_or_default();
    let merchant = form.get("merchant").map(Uuid::parse_str).transpose();
    let merchant = merchant.map_err(|_| Fault::bad_request("The merchant is an id. Nothing was changed."))?;
    let number = |name: &'static str, max: i64| match form.get(name) {
        None => Ok(None),
        Some(text) => {
            text.parse().ok().filter(|number| (1..=max).contains(number)).map(Some).ok_or_else(|| {
                Fault::bad_request(format!(
                    "“{name}” is a whole number from 1 to {max}. Nothing was changed."
                ))
            })
        }
    };
    let days = number("days", DAYS_MAX)?;
    Ok(NewKey {
        name: form.text("name", keys::KEY_NAME_CHARS_MAX)?.to_owned(),
        is_live: form.get("kind") != Some("test"),
        scope: merchant.map_or(Scope::Platform, |id| Scope::Merchant(MerchantId(id))),
        role: role.parse().map_err(|_| Fault::bad_request("Choose a role. Nothing was changed."))?,
        requests_per_second: number("rate", keys::REQUESTS_PER_SECOND_MAX.into())?
            .and_then(|rate| rate.try_into().ok()),
        expires_at: days.map(|days| Timestamp::from_micros(now.as_micros() + days * MICROS_A_DAY)),
    })
}

/// `POST /keys/{id}/revoke`
pub async fn revoke(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ManageKeys)?;
    keys::revoke(console.access(), id, &form.actor()?).await.map_err(refused)?;
    Ok(done("/keys", "revoked"))
}

/// What the crate of access refuses, as a page.
pub fn refused(error: AccessError) -> Fault {
    match error {
        AccessError::Store(error) => Fault::read(error),
        AccessError::Busy => Fault::new(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            "Not now",
            "Too many passwords are being checked. Nothing was changed; try again.",
        ),
        error => Fault::new(
            axum::http::StatusCode::CONFLICT,
            "Refused",
            format!("{}. Nothing was changed.", crate::change::capitalised(&error.to_string())),
        ),
    }
}
