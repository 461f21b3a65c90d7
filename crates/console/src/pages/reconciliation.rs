//! `/reconciliation`: the runs that compare tables, log and topics, and what they found; and the way to begin one now.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use reconcile::{
    Area,
    runs::{self, State as RunState, StoredBreak, StoredRun},
};
use serde_json::json;
use store::audit;
use uuid::Uuid;

use super::{Pager, Visit};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{Badge, Clock, IdLink, When, span},
    state::Console,
};

/// Breaks that stand on the page of all runs.
const OPEN_BREAKS_SHOWN_MAX: usize = 50;

#[derive(Template)]
#[template(path = "reconciliation.html")]
struct ReconciliationPage {
    frame: Frame,
    params: Params,
    rows: Vec<RunRow>,
    /// Whether a run can be begun in this process, by who looks.
    can_begin: bool,
    once: String,
    page: Pager,
    breaks: Vec<BreakRow>,
    are_breaks_cut: bool,
}

#[derive(Template)]
#[template(path = "reconciliation_run.html")]
struct RunPage {
    frame: Frame,
    run: RunRow,
    breaks: Vec<BreakRow>,
    is_cut: bool,
}

struct RunRow {
    id: IdLink,
    state: Badge,
    started: When,
    /// How long it took, or has taken so far.
    took: String,
    breaks: u64,
    /// Whether what it has looked at is right.
    verdict: Badge,
    looked_at: [(&'static str, u64); 6],
    failure: String,
}

struct BreakRow {
    kind: &'static str,
    area: &'static str,
    place: String,
    /// Empty: there is no page of it.
    href: String,
    expected: String,
    found: String,
    remedy: &'static str,
    first_seen: When,
    last_seen: When,
    closed: Option<When>,
}

/// `GET /reconciliation`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let behind = params.uuid("after");
    let mut found = if params.is_wrong() {
        Vec::new()
    } else {
        console.read(runs::page(console.db(), behind, ROWS + 1)).await?
    };
    let is_more = found.len() > ROWS;
    found.truncate(ROWS);
    let next = found.last().filter(|_| is_more).map(|run| params.with("after", &run.id.to_string()));
    let breaks = console.read(runs::open_breaks(console.db(), OPEN_BREAKS_SHOWN_MAX + 1)).await?;
    let clock = visit.clock;
    let can_begin = console.reconcile_now().is_some() && visit.viewer.may(Permission::Reconcile);
    render(&ReconciliationPage {
        frame: visit.frame(Section::Reconciliation, "Reconciliation"),
        rows: found.iter().map(|run| run_row(run, clock)).collect(),
        can_begin,
        once: Uuid::new_v4().simple().to_string(),
        page: Pager {
            is_behind_first: params.get("after").is_some(),
            first: params.first_page(),
            next: next.unwrap_or_default(),
            is_cut_short: false,
        },
        params,
        breaks: breaks.iter().take(OPEN_BREAKS_SHOWN_MAX).map(|found| break_row(found, clock)).collect(),
        are_breaks_cut: breaks.len() > OPEN_BREAKS_SHOWN_MAX,
    })
}

/// `POST /reconciliation`: has the role of this process begin a run now.
pub async fn begin(State(console): State<Console>, form: Form) -> Result<Response, Fault> {
    form.viewer.must(Permission::Reconcile)?;
    let actor = form.actor()?;
    let wake = console.reconcile_now().ok_or_else(|| {
        Fault::new(
            StatusCode::CONFLICT,
            "Not here",
            "This process has not the role reconcile. Run fintech reconcile. Nothing was begun.",
        )
    })?;
    let store = console.store();
    let noted = async {
        let mut transaction = store.begin_durable().await?;
        let detail = json!({});
        audit::write(
            transaction.as_mut(),
            &actor,
            "reconciliation.begin",
            "reconciliation",
            &detail,
            store.now(),
        )
        .await?;
        transaction.commit().await
    };
    console.read(noted).await?;
    wake.notify_one();
    Ok(done("/reconciliation", "begun"))
}

/// `GET /reconciliation/{run}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path(id): Path<Uuid>,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let run = console.read(runs::find(console.db(), id)).await?;
    let run = run.ok_or_else(|| Fault::not_found(format!("There is no run {id}; old ones are deleted.")))?;
    let breaks = console.read(runs::breaks(console.db(), id)).await?;
    let clock = visit.clock;
    render(&RunPage {
        frame: visit.frame(Section::Reconciliation, format!("{} run", IdLink::new(id, "").short)),
        is_cut: run.summary.breaks() > breaks.len() as u64,
        run: run_row(&run, clock),
        breaks: breaks.iter().map(|found| break_row(found, clock)).collect(),
    })
}

fn run_row(run: &StoredRun, clock: Clock) -> RunRow {
    let summary = &run.summary;
    let until = run.ended_at.unwrap_or(clock.now);
    let verdict = match (run.state, summary.breaks()) {
        (RunState::Ended, 0) => "clean",
        (RunState::Failed, 0) => "not known",
        (RunState::Running | RunState::Interrupted, 0) => "nothing yet",
        _ => "broken",
    };
    RunRow {
        id: IdLink::to(run.id, "reconciliation"),
        state: Badge::of(run.state.name()),
        started: clock.when(run.started_at),
        took: duration(until.as_micros() - run.started_at.as_micros()),
        breaks: summary.breaks(),
        verdict: Badge::of(verdict),
        looked_at: [
            ("events", summary.events),
            ("merchants, payments and withdrawals", summary.resources),
            ("accounts", summary.accounts),
            ("ledger entries", summary.entries),
            ("idempotency keys", summary.keys),
            ("records on Kafka", summary.records),
        ],
        failure: run.failure.clone().unwrap_or_default(),
    }
}

/// In milliseconds while it is short: an embedded database is compared in less than a second.
fn duration(micros: i64) -> String {
    if (0..10_000_000).contains(&micros) { format!("{} ms", micros / 1000) } else { span(micros) }
}

fn break_row(found: &StoredBreak, clock: Clock) -> BreakRow {
    let of = &found.found;
    BreakRow {
        kind: of.kind.name(),
        area: of.place.area.name(),
        place: of.place.place.clone(),
        href: page_of(of.place.area, &of.place.place),
        expected: of.expected.clone(),
        found: of.found.clone(),
        remedy: of.remedy(),
        first_seen: clock.when(found.first_seen_at),
        last_seen: clock.when(found.last_seen_at),
        closed: found.closed_at.map(|at| clock.when(at)),
    }
}

/// Of a row whose place is its id.
fn page_of(area: Area, place: &str) -> String {
    let page = match area {
        Area::Payments => "payments",
        Area::Withdrawals => "withdrawals",
        Area::Merchants => "merchants",
        Area::Events
        | Area::LaneHeads
        | Area::Accounts
        | Area::Entries
        | Area::Keys
        | Area::Positions
        | Area::Cursors
        | Area::Topic => return String::new(),
    };
    Uuid::parse_str(place).map(|id| format!("/{page}/{id}")).unwrap_or_default()
}
