//! `/dead-letters/{id}`: one dead letter with its bytes, what it is about, and what people did with it.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use store::audit::{self, Filter, Line};
use stream::redrive::{self, Letter, Selection};
use uuid::Uuid;

use super::{Visit, dead_letters::LetterRow};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    layout::{Frame, Section},
    show::{
        Content, IdLink, When,
        content::{WHOLE_BYTES_MAX, line},
    },
    state::Console,
};

/// Lines of its history.
const LINES_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 200;
/// Headers of a foreign message, and what is shown of one.
const HEADERS_MAX: usize = 200;
const HEADER_CHARS_MAX: usize = 1_000;

#[derive(Template)]
#[template(path = "dead_letter.html")]
struct DeadLetterPage {
    frame: Frame,
    row: LetterRow,
    ended: Option<When>,
    event: Option<IdLink>,
    message: String,
    /// Only for who may read messages.
    holds: Option<Holds>,
    lines: Vec<LineRow>,
    may_redrive: bool,
    once: String,
}

/// What it holds, byte for byte.
struct Holds {
    key: String,
    payload: Content,
    headers: Vec<(String, String)>,
    headers_hidden: usize,
}

/// What somebody did.
struct LineRow {
    at: When,
    actor: String,
    action: String,
    reason: String,
    detail: String,
}

/// `GET /dead-letters/{id}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path(id): Path<Uuid>,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let letter = find(&console, id).await?;
    let filter = Filter { subject: Some(id.to_string()), ..Filter::default() };
    let lines = console.read(audit::list(console.db(), &filter, None, LINES_MAX)).await?.rows;
    let clock = visit.clock;
    let (stream, lane) = letter.place;
    let topic = stream.name();
    let event = letter.event_id.zip(letter.position);
    let message = match (letter.position, letter.kafka_offset) {
        (Some(position), _) => format!("/topics/{topic}/messages?partition={}&position={position}", lane.0),
        (None, Some(offset)) => format!("/topics/{topic}/messages/{}/{offset}", lane.0),
        (None, None) => String::new(),
    };
    let line = |line: &Line| LineRow {
        at: clock.when(line.at),
        actor: line.actor.clone(),
        action: line.action.clone(),
        reason: line.reason.clone(),
        detail: line.detail.to_string(),
    };
    render(&DeadLetterPage {
        row: LetterRow::new(&letter, clock),
        ended: letter.ended_at.map(|at| clock.when(at)),
        event: event.map(|(id, position)| IdLink::new(id, format!("/events/{topic}/{}/{position}", lane.0))),
        message,
        holds: visit.viewer.may(Permission::ReadMessages).then(|| Holds::new(&letter)),
        lines: lines.iter().map(line).collect(),
        may_redrive: visit.viewer.may(Permission::Redrive),
        once: Uuid::new_v4().simple().to_string(),
        frame: visit.frame(Section::DeadLetters, format!("{} dead letter", IdLink::new(id, "").short)),
    })
}

impl Holds {
    fn new(letter: &Letter) -> Self {
        let headers: Vec<(String, Option<String>)> =
            letter.headers.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let shown = headers.iter().take(HEADERS_MAX).map(|(name, value)| {
            let value = value.as_deref().unwrap_or("–");
            (line(name.as_bytes(), KEY_CHARS_MAX), line(value.as_bytes(), HEADER_CHARS_MAX))
        });
        Self {
            key: letter.key.as_deref().map(|key| line(key, KEY_CHARS_MAX)).unwrap_or_default(),
            payload: Content::new(letter.payload.as_deref(), WHOLE_BYTES_MAX),
            headers_hidden: headers.len().saturating_sub(HEADERS_MAX),
            headers: shown.collect(),
        }
    }
}

pub async fn find(console: &Console, id: Uuid) -> Result<Letter, Fault> {
    let selection = Selection { ids: vec![id], ..Selection::default() };
    let found = console.read(redrive::select(console.db(), &selection, 1)).await?;
    found.into_iter().next().ok_or_else(|| Fault::not_found(format!("There is no dead letter {id}.")))
}

/// `POST /dead-letters/{id}/redrive`: its subject's, in their order.
pub async fn redrive(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::Redrive)?;
    let actor = form.actor()?;
    let letter = find(&console, id).await?;
    let consumer = console.consumer(&letter.consumer).ok_or_else(|| {
        Fault::bad_request("This program has no consumer of that name. Nothing was changed.")
    })?;
    // Not under the time of a query: a handler may take long, and is not cut off in the middle.
    let redriven = redrive::redrive(console.store(), consumer, &letter, &actor).await.map_err(Fault::read)?;
    let notice = if redriven.failed.is_some() { "still-failing" } else { "redriven" };
    Ok(done(&format!("/dead-letters/{id}"), notice))
}

/// `POST /dead-letters/{id}/discard`
pub async fn discard(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::Redrive)?;
    let actor = form.actor()?;
    let letter = find(&console, id).await?;
    console.read(redrive::discard(console.store(), &letter, &actor)).await?;
    Ok(done(&format!("/dead-letters/{id}"), "discarded"))
}
