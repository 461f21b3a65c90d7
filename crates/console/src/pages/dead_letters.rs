//! `/dead-letters`: what consumers could not handle, in groups by what went wrong, and one by one.

use askama::Template;
use axum::{extract::State, response::Response};
use domain::event::Stream;
use stream::{
    dead_letter::{Kind, State as Standing},
    letter_runs,
    letters::{self, GROUPS_MAX, Group, LETTERS_LOOKED_AT_MAX, Wanted},
    redrive::Letter,
};
use uuid::Uuid;

use access::Permission;

use super::{Pager, Visit, dead_letters_run::run_path, listed};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{Badge, Clock, IdLink, When},
    state::Console,
};

pub const KINDS: [Kind; 4] = [Kind::Poison, Kind::Parked, Kind::Foreign, Kind::Skipped];
const STATES: [Standing; 3] = [Standing::Open, Standing::Redriven, Standing::Discarded];
/// In the address, instead of a state.
const ANY: &str = "any";
/// The newest runs, above the list.
const RUNS_SHOWN_MAX: usize = 20;
/// Of a reason, in the address of its list.
const REASON_CHARS_MAX: usize = 200;

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLettersPage {
    frame: Frame,
    params: Params,
    consumers: Vec<&'static str>,
    states: Vec<&'static str>,
    kinds: Vec<&'static str>,
    groups: Vec<GroupRow>,
    groups_max: usize,
    /// There are more letters than the groups are made of.
    is_more: bool,
    looked_at_max: usize,
    rows: Vec<LetterRow>,
    page: Pager,
    is_filtered: bool,
    may_redrive: bool,
    runs: Vec<RunRow>,
}

pub struct GroupRow {
    pub consumer: String,
    pub kind: Badge,
    pub reason: String,
    pub letters: i64,
    pub newest: IdLink,
    pub newest_at: When,
    pub list: String,
    pub redrive: String,
    pub discard: String,
}

pub struct LetterRow {
    pub id: IdLink,
    pub consumer: String,
    pub kind: Badge,
    pub state: Badge,
    pub is_open: bool,
    pub event_type: String,
    pub subject: Option<IdLink>,
    pub place: String,
    pub reason: String,
    pub attempts: i64,
    pub created: When,
}

/// A run, of whichever process.
pub struct RunRow {
    pub id: IdLink,
    pub action: &'static str,
    pub by: String,
    pub done: usize,
    pub total: usize,
    pub begun: When,
    pub state: Badge,
}

impl LetterRow {
    pub fn new(letter: &Letter, clock: Clock) -> Self {
        let (stream, lane) = letter.place;
        let place = match (letter.position, letter.kafka_offset) {
            (Some(position), _) => format!("{} lane {}, position {position}", stream.name(), lane.0),
            (None, Some(offset)) => format!("{} partition {}, offset {offset}", stream.name(), lane.0),
            (None, None) => format!("{} lane {}", stream.name(), lane.0),
        };
        Self {
            id: IdLink::to(letter.id, "dead-letters"),
            consumer: letter.consumer.clone(),
            kind: Badge::of(letter.kind.name()),
            state: Badge::of(letter.state.name()),
            is_open: letter.state == Standing::Open,
            event_type: letter.event_type.clone().unwrap_or_default(),
            subject: letter.subject_id.map(|id| subject(stream, id)),
            place,
            reason: letter.reason.clone(),
            attempts: letter.attempts,
            created: clock.when(letter.created_at),
        }
    }
}

/// The payment, withdrawal or merchant that a stream's event is about.
pub fn subject(stream: Stream, id: Uuid) -> IdLink {
    let page = match stream {
        Stream::Payments => "payments",
        Stream::Withdrawals => "withdrawals",
        Stream::Merchants => "merchants",
    };
    IdLink::to(id, page)
}

/// `GET /dead-letters`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let wanted = wanted(&mut params);
    let after = params.after();
    let page = listed(&console, &params, letters::list(console.db(), &wanted, after, ROWS)).await?;
    let is_filtered = params.first_page() != "/dead-letters";
    // The groups are what the list begins with, not what each of its pages repeats.
    let (groups, is_more) = if is_filtered || after.is_some() {
        (Vec::new(), false)
    } else {
        console.read(letters::groups(console.db())).await?
    };
    let clock = visit.clock;
    render(&DeadLettersPage {
        consumers: console.consumers().iter().map(|consumer| consumer.name()).collect(),
        states: STATES.iter().map(|state| state.name()).chain([ANY]).collect(),
        kinds: KINDS.iter().map(|kind| kind.name()).collect(),
        groups: groups.iter().map(|group| group_row(group, clock)).collect(),
        groups_max: GROUPS_MAX,
        is_more,
        looked_at_max: LETTERS_LOOKED_AT_MAX,
        rows: page.rows.iter().map(|letter| LetterRow::new(letter, clock)).collect(),
        page: Pager::of(&params, &page),
        is_filtered,
        may_redrive: visit.viewer.may(Permission::Redrive),
        runs: if is_filtered { Vec::new() } else { runs(&console, clock).await? },
        params,
        frame: visit.frame(Section::DeadLetters, "Dead letters"),
    })
}

fn wanted(params: &mut Params) -> Wanted {
    let state = params.read("state", "open, redriven, discarded or any", |name| {
        let found = STATES.into_iter().find(|state| state.name() == name);
        if name == ANY { Some(None) } else { found.map(Some) }
    });
    Wanted {
        consumer: params.get("consumer").map(str::to_owned),
        // What waits for somebody is what one comes for.
        state: state.unwrap_or(Some(Standing::Open)),
        kind: params.read("kind", "poison, parked, foreign or skipped", |name| {
            KINDS.into_iter().find(|kind| kind.name() == name)
        }),
        reason: params.get("reason").map(str::to_owned),
    }
}

fn group_row(group: &Group, clock: Clock) -> GroupRow {
    let Group { consumer, kind, reason, letters, newest, newest_at } = group;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("consumer", consumer)
        .append_pair("kind", kind.name())
        // A part is enough, and keeps the address short.
        .append_pair("reason", &reason.chars().take(REASON_CHARS_MAX).collect::<String>())
        .finish();
    let act = |action: &str| format!("/dead-letters/bulk?action={action}&like={newest}");
    GroupRow {
        consumer: consumer.clone(),
        kind: Badge::of(kind.name()),
        reason: reason.clone(),
        letters: *letters,
        newest: IdLink::to(*newest, "dead-letters"),
        newest_at: clock.when(*newest_at),
        list: format!("/dead-letters?{query}"),
        redrive: act("redrive"),
        discard: act("discard"),
    }
}

async fn runs(console: &Console, clock: Clock) -> Result<Vec<RunRow>, Fault> {
    let found = console.read(letter_runs::latest(console.db(), console.now(), RUNS_SHOWN_MAX)).await?;
    let row = |run: letter_runs::Run| RunRow {
        id: IdLink::new(run.id, run_path(run.id)),
        action: run.action.name(),
        by: run.begun_by,
        done: run.done,
        total: run.letters,
        begun: clock.when(run.begun_at),
        state: Badge::of(run.standing.name()),
    };
    Ok(found.into_iter().map(row).collect())
}
