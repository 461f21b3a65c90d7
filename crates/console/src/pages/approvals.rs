//! `/approvals`: what needs a second pair of eyes, and what was decided.

use access::approvals::{self, Approval, State as Standing};
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use store::queries::PageKey;
use uuid::Uuid;

use super::{Pager, Visit};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    four_eyes::{self, Sensitive},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{Badge, Clock, When},
    state::Console,
};

#[derive(Template)]
#[template(path = "approvals.html")]
struct ApprovalsPage {
    frame: Frame,
    rows: Vec<ApprovalRow>,
    page: Pager,
}

struct ApprovalRow {
    /// Also what its form is sent once by: of two that are approved from one page, each is done.
    id: Uuid,
    what: String,
    href: String,
    state: Badge,
    asked_by: String,
    asked: When,
    reason: String,
    decided_by: String,
    decided: Option<When>,
    /// Whether this viewer may decide it.
    is_decidable: bool,
    is_own: bool,
}

/// `GET /approvals`; with `?id=` one of them.
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    let after = params.after().map(|key| key.id);
    let mut found = match params.uuid("id") {
        Some(id) => console.read(approvals::get(console.db(), id)).await?.into_iter().collect(),
        // One more than is shown tells whether there is more.
        None => console.read(approvals::list(console.db(), after, ROWS + 1)).await?,
    };
    let is_more = found.len() > ROWS;
    found.truncate(ROWS);
    let key = |last: &Approval| PageKey { created_at: last.requested_at, id: last.id };
    let next = found.last().filter(|_| is_more).map(key);
    let clock = visit.clock;
    render(&ApprovalsPage {
        rows: found.iter().map(|approval| row(approval, &visit, clock)).collect(),
        page: Pager::new(&params, next, false),
        frame: visit.frame(Section::Approvals, "Approvals"),
    })
}

fn row(approval: &Approval, visit: &Visit, clock: Clock) -> ApprovalRow {
    let sensitive = Sensitive::of(approval);
    let is_open = approval.state == Standing::Open;
    let is_own = approval.requested_by == visit.viewer.name;
    let may = sensitive.as_ref().is_some_and(|sensitive| visit.viewer.may(sensitive.permission()));
    ApprovalRow {
        id: approval.id,
        what: sensitive
            .as_ref()
            .map_or_else(|| format!("{} {}", approval.kind, approval.subject), Sensitive::sentence),
        href: sensitive.as_ref().map(Sensitive::href).unwrap_or_default(),
        state: Badge::of(approval.state.name()),
        asked_by: approval.requested_by.clone(),
        asked: clock.when(approval.requested_at),
        reason: approval.reason.clone(),
        decided_by: approval.decided_by.clone().unwrap_or_default(),
        decided: approval.decided_at.map(|at| clock.when(at)),
        is_decidable: is_open && may && !is_own,
        is_own: is_open && is_own,
    }
}

/// `POST /approvals/{id}`
pub async fn decide(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    match form.get("decision") {
        Some("approve") => {
            four_eyes::approve(&console, &form, id).await.map(|()| done("/approvals", "approved"))
        }
        Some("refuse") => {
            four_eyes::refuse(&console, &form, id).await.map(|()| done("/approvals", "refused"))
        }
        _ => Err(Fault::bad_request("Approve it or refuse it. Nothing was changed.")),
    }
}
