//! `/audit`: who changed what, when and why. What people did by hand stands in the audit log; commands that keys and
//! operators sent stand with the events that they caused.

use access::Permission;
use askama::Template;
use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use domain::id::CommandId;
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use store::{
    audit::{self, Filter, Line},
    origins::{self, OriginFilter, OriginPage},
    queries::PageKey,
};

use super::{Pager, Visit, listed};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{IdLink, Tree, When, tree},
    state::Console,
};

/// Lines that are read at once for a file.
const EXPORT_ROWS: usize = 500;

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    params: Params,
    lines: Vec<LineRow>,
    page: Pager,
}

struct LineRow {
    at: When,
    actor: String,
    action: String,
    subject: String,
    reason: String,
    request_id: String,
    detail: Option<Tree>,
}

#[derive(Template)]
#[template(path = "commands.html")]
struct CommandsPage {
    frame: Frame,
    params: Params,
    rows: Vec<CommandRow>,
    page: Pager,
}

struct CommandRow {
    at: When,
    actor: String,
    request_id: String,
    command: IdLink,
    merchant: IdLink,
    deeds: Vec<DeedRow>,
    /// Beyond those that are shown.
    more: i64,
}

struct DeedRow {
    name: String,
    href: String,
}

/// `GET /audit`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::ReadAudit)?;
    let filter = filter(&mut params);
    let after = params.after();
    let page = listed(&console, &params, audit::list(console.db(), &filter, after, ROWS)).await?;
    let clock = visit.clock;
    let lines = page.rows.iter().map(|line| LineRow {
        at: clock.when(line.at),
        actor: line.actor.clone(),
        action: line.action.clone(),
        subject: line.subject.clone(),
        reason: line.reason.clone(),
        request_id: line.request_id.clone().unwrap_or_default(),
        detail: tree(&line.detail.to_string()),
    });
    render(&AuditPage {
        lines: lines.collect(),
        frame: visit.frame(Section::Audit, "Audit"),
        page: Pager::of(&params, &page),
        params,
    })
}

fn filter(params: &mut Params) -> Filter {
    Filter {
        actor: params.get("actor").map(str::to_owned),
        action_prefix: params.get("action").map(str::to_owned),
        subject: params.get("subject").map(str::to_owned),
        request_id: params.get("request").map(str::to_owned),
        from: params.moment("from", false),
        to: params.moment("to", true),
    }
}

/// `GET /audit.jsonl`: the lines of the filter, a JSON object each.
pub async fn export(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::ReadAudit)?;
    visit.must(Permission::Export)?;
    let filter = filter(&mut params);
    if params.is_wrong() {
        return Err(Fault::bad_request("The filter is not understood."));
    }
    super::note_export(&console, &visit, &params).await?;
    let pages = stream::try_unfold(Some(None), move |after: Option<Option<PageKey>>| {
        let (console, filter) = (console.clone(), filter.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let read = console.read(audit::list(console.db(), &filter, after, EXPORT_ROWS)).await;
            let page = read.map_err(|fault| std::io::Error::other(fault.detail.into_owned()))?;
            let text: String = page.rows.iter().map(json_line).collect();
            Ok::<_, std::io::Error>(Some((text, page.next.map(Some))))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.jsonl\""),
    ];
    Ok((headers, Body::from_stream(pages.fuse())).into_response())
}

fn json_line(line: &Line) -> String {
    let Line { id, at, actor, action, subject, detail, reason, request_id } = line;
    let object = json!({"id": id, "at": at, "actor": actor, "action": action, "subject": subject, "detail": detail,
        "reason": reason, "requestId": request_id});
    format!("{object}\n")
}

/// `GET /audit/commands`
pub async fn commands(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::ReadAudit)?;
    let filter = OriginFilter {
        actor: params.get("actor").map(str::to_owned),
        request_id: params.get("request").map(str::to_owned),
        merchant: params.merchant(),
    };
    let after = params.after().map(|key| CommandId(key.id));
    let page = if params.is_wrong() {
        OriginPage { lines: Vec::new(), next: None, is_cut_short: false }
    } else {
        console.read(origins::list(console.db(), &filter, after, ROWS)).await?
    };
    let clock = visit.clock;
    let rows = page.lines.iter().map(|line| CommandRow {
        at: clock.when(line.command.at),
        actor: line.command.origin.actor().to_owned(),
        request_id: line.command.origin.request_id().to_owned(),
        command: IdLink::new(line.command.command_id.0, ""),
        merchant: IdLink::to(line.command.merchant_id.0, "merchants"),
        more: line.command.events - i64::try_from(line.deeds.len()).unwrap_or(i64::MAX),
        deeds: line
            .deeds
            .iter()
            .map(|deed| DeedRow {
                name: deed.event_type.clone(),
                href: format!("/events/{}/{}/{}", deed.stream.name(), line.command.lane.0, deed.position),
            })
            .collect(),
    });
    let next = page.next.map(|id| PageKey { created_at: clock.now, id: id.0 });
    render(&CommandsPage {
        rows: rows.collect(),
        frame: visit.frame(Section::Audit, "Commands by who sent them"),
        page: Pager::new(&params, next, page.is_cut_short),
        params,
    })
}
