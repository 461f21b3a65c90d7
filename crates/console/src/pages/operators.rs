//! `/operators`: who may sign in to the console, and as what.

use access::{
    OperatorRole, Permission,
    operators::{self, Operator},
};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use uuid::Uuid;

use super::{Visit, keys::refused};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    layout::{Frame, Section},
    show::{Badge, When},
    state::Console,
};

const PASSWORD_CHARS_MAX: usize = 1024;

#[derive(Template)]
#[template(path = "operators.html")]
struct OperatorsPage {
    frame: Frame,
    rows: Vec<OperatorRow>,
    roles: Vec<&'static str>,
    once: String,
}

struct OperatorRow {
    name: String,
    role: &'static str,
    state: Badge,
    is_active: bool,
    locked_until: Option<When>,
    created: When,
    changed: When,
}

/// `GET /operators`
pub async fn list(State(console): State<Console>, visit: Visit) -> Result<Response, Fault> {
    visit.must(Permission::ManageOperators)?;
    let clock = visit.clock;
    let found = console.read(operators::list(console.db())).await?;
    let row = |operator: &Operator| OperatorRow {
        name: operator.name.clone(),
        role: operator.role.name(),
        state: Badge::of(if operator.is_active { "active" } else { "inactive" }),
        is_active: operator.is_active,
        locked_until: operator.locked_until.filter(|until| *until > clock.now).map(|until| clock.when(until)),
        created: clock.when(operator.created_at),
        changed: clock.when(operator.changed_at),
    };
    render(&OperatorsPage {
        rows: found.iter().map(row).collect(),
        frame: visit.frame(Section::Operators, "Operators"),
        roles: OperatorRole::ALL.map(OperatorRole::name).to_vec(),
        once: Uuid::new_v4().simple().to_string(),
    })
}

/// `POST /operators`
pub async fn create(State(console): State<Console>, form: Form) -> Result<Response, Fault> {
    form.viewer.must(Permission::ManageOperators)?;
    let (name, password) = (form.text("name", 100)?, form.text("password", PASSWORD_CHARS_MAX)?);
    let created = operators::create(console.store(), name, role(&form)?, password, &form.actor()?).await;
    created.map_err(refused)?;
    Ok(done("/operators", "created"))
}

/// `POST /operators/{name}/{what}`: a new password or role, out, or in again.
pub async fn change(
    State(console): State<Console>,
    Path((name, what)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ManageOperators)?;
    let (store, actor) = (console.store(), form.actor()?);
    let changed = match what.as_str() {
        "password" => {
            operators::set_password(store, &name, form.text("password", PASSWORD_CHARS_MAX)?, &actor).await
        }
        "role" => operators::set_role(store, &name, role(&form)?, &actor).await,
        "disable" => operators::disable(store, &name, &actor).await,
        "enable" => operators::enable(store, &name, &actor).await,
        _ => return Err(Fault::not_found("There is no such action.")),
    };
    changed.map_err(refused)?;
    Ok(done("/operators", "changed"))
}

fn role(form: &Form) -> Result<OperatorRole, Fault> {
    let role = form.get("role").unwrap_or_default().parse();
    role.map_err(|_| Fault::bad_request("Choose a role. Nothing was changed."))
}
