//! `/dead-letters/runs/{id}`: a run over many dead letters, in whichever process it goes on: how far it has come, what became
//! of each letter, and how to go on with what was left.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use stream::{
    letter_runs::{self, Outcome, Run, Standing},
    redrive::Letter,
};
use uuid::Uuid;

use super::{Visit, dead_letters_bulk::title};
use crate::{
    bulk::{self, Refused},
    change::Form,
    fault::{Fault, render},
    layout::{Frame, Section},
    show::{Badge, IdLink, When},
    state::Console,
};

/// While a run goes on, its page is loaded again; without a script.
const REFRESH: (HeaderName, HeaderValue) =
    (HeaderName::from_static("refresh"), HeaderValue::from_static("2"));

#[derive(Template)]
#[template(path = "dead_letters_run.html")]
struct RunPage {
    frame: Frame,
    id: Uuid,
    title: &'static str,
    state: Badge,
    is_running: bool,
    is_cut_off: bool,
    /// Whether the viewer may go on with it.
    can_be_taken_up: bool,
    by: String,
    reason: String,
    begun: When,
    ended: Option<When>,
    trouble: String,
    done: usize,
    total: usize,
    counts: Vec<(&'static str, usize)>,
    rows: Vec<OutcomeRow>,
    once: String,
}

struct OutcomeRow {
    id: IdLink,
    consumer: String,
    event_type: String,
    outcome: Badge,
    detail: String,
}

pub fn run_path(id: Uuid) -> String {
    format!("/dead-letters/runs/{id}")
}

/// `GET /dead-letters/runs/{id}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path(id): Path<Uuid>,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let run = find(&console, id).await?;
    let letters = console.read(letter_runs::letters(console.db(), id)).await?;
    let page = RunPage::new(run, &letters, visit);
    let mut response = render(&page)?;
    if page.is_running {
        response.headers_mut().insert(REFRESH.0, REFRESH.1);
    }
    Ok(response)
}

/// `POST /dead-letters/runs/{id}/go-on`: with what is left of it, in this process.
pub async fn go_on(
    State(console): State<Console>,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::Redrive)?;
    let actor = form.actor()?;
    let run = find(&console, id).await?;
    bulk::take_up(&console, &run, actor).await.map_err(refused)?;
    Ok(Redirect::to(&run_path(id)).into_response())
}

async fn find(console: &Console, id: Uuid) -> Result<Run, Fault> {
    let found = console.read(letter_runs::find(console.db(), id, console.now())).await?;
    found.ok_or_else(unknown)
}

fn unknown() -> Fault {
    Fault::not_found("There is no such run, or it is of long ago. The audit log has what it did.")
}

/// Why a run was not begun, for people.
pub fn refused(refused: Refused) -> Fault {
    match refused {
        Refused::Busy(other) => Fault::new(
            StatusCode::CONFLICT,
            "Not now",
            format!("Run {other} is under way: let it end first. Nothing was changed."),
        ),
        Refused::Unknown => unknown(),
        Refused::Fault(fault) => fault,
    }
}

impl RunPage {
    fn new(run: Run, letters: &[(Letter, Option<Outcome>)], visit: Visit) -> Self {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for outcome in letters.iter().filter_map(|(_, outcome)| outcome.as_ref()) {
            let name = badge(Some(outcome)).name;
            match counts.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += 1,
                None => counts.push((name, 1)),
            }
        }
        let clock = visit.clock;
        Self {
            id: run.id,
            title: title(run.action),
            state: Badge::of(run.standing.name()),
            is_running: run.standing == Standing::Running,
            is_cut_off: run.standing == Standing::CutOff,
            can_be_taken_up: run.standing.is_left() && visit.viewer.may(Permission::Redrive),
            by: run.begun_by,
            reason: run.reason,
            begun: clock.when(run.begun_at),
            ended: run.ended_at.map(|at| clock.when(at)),
            trouble: run.trouble.unwrap_or_default(),
            done: run.done,
            total: run.letters,
            counts,
            rows: letters.iter().map(|(letter, outcome)| OutcomeRow::new(letter, outcome.as_ref())).collect(),
            once: Uuid::new_v4().simple().to_string(),
            frame: visit.frame(
                Section::DeadLetters,
                format!("{} run over dead letters", IdLink::new(run.id, "").short),
            ),
        }
    }
}

impl OutcomeRow {
    fn new(letter: &Letter, outcome: Option<&Outcome>) -> Self {
        Self {
            id: IdLink::to(letter.id, "dead-letters"),
            consumer: letter.consumer.clone(),
            event_type: letter.event_type.clone().unwrap_or_default(),
            outcome: badge(outcome),
            detail: match outcome {
                Some(Outcome::Handled(count)) if *count > 1 => {
                    format!("{count} events of its subject, in their order")
                }
                Some(Outcome::Failed(reason)) => reason.clone(),
                Some(Outcome::WithAnother) => {
                    "handled, or not, with the one of its subject that came before".to_owned()
                }
                Some(Outcome::NotOpen) => "it was ended meanwhile".to_owned(),
                Some(Outcome::Handled(_) | Outcome::Discarded) | None => String::new(),
            },
        }
    }
}

fn badge(outcome: Option<&Outcome>) -> Badge {
    let (name, class) = match outcome {
        Some(Outcome::Handled(_)) => ("handled", "good"),
        Some(Outcome::Failed(_)) => ("failed again", "bad"),
        Some(Outcome::WithAnother) => ("with another", "plain"),
        Some(Outcome::Discarded) => ("discarded", "plain"),
        Some(Outcome::NotOpen) => ("not open", "plain"),
        None => ("not tried", "wait"),
    };
    Badge { name, class }
}
