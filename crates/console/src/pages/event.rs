//! `/events/{stream}/{lane}/{position}`: one event with all that proves it: its seal is computed again right here, from what
//! stands in the log now.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use domain::{
    chain::GENESIS,
    event::Stream,
    lane::Lane,
    ledger::{Leg, posting},
};
use store::{batch::LogEvent, error::ReadError, log, origins, tables};
use stream::redrive::{self, Selection};

use super::{
    Visit,
    events::{event_href, stream_of, subject_link},
    payment::{LetterRow, account_href, letter_row},
};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    pulse::owner_name,
    show::{Badge, Clock, IdLink, Money, Tree, When, tree},
    state::Console,
};

/// Dead letters of the event's subject that are looked through for those of the event.
const LETTERS_MAX: usize = 200;

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    frame: Frame,
    event: Facts,
    verdicts: Vec<Verdict>,
    previous: String,
    next: String,
    entries: Vec<BookedEntry>,
    letters: Vec<LetterRow>,
    payload: Option<Tree>,
    /// What is not JSON.
    raw: String,
    message: String,
}

struct Facts {
    name: String,
    version: u16,
    stream: &'static str,
    lane: u16,
    position: i64,
    sequence: i64,
    at: When,
    id: IdLink,
    command: IdLink,
    /// Who asked for it, and the id of the request; empty when it is not known.
    actor: String,
    request_id: String,
    merchant: IdLink,
    subject: IdLink,
    hash: String,
    hash_before: String,
}

/// What the chain says.
struct Verdict {
    badge: Badge,
    sentence: String,
}

/// An entry that the event books, beside the one that the ledger has.
struct BookedEntry {
    account: String,
    href: String,
    amount: Money,
    /// Number and balance after it; `None`: the ledger does not have it.
    found: Option<(i64, Money)>,
    badge: Badge,
}

/// An event with its neighbours in its stream and lane.
struct Found {
    before: Option<LogEvent>,
    event: LogEvent,
    after: Option<LogEvent>,
}

/// `GET /events/{stream}/{lane}/{position}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path((stream, lane, position)): Path<(String, u16, i64)>,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let stream = stream_of(&stream).ok_or_else(|| Fault::not_found("There is no such stream."))?;
    let found = find(&console, stream, Lane(lane), position).await?;
    let event = &found.event;
    let clock = visit.clock;
    let origin = console.read(origins::origins_of(console.db(), &[event.command_id])).await?;
    let origin = origin.get(&event.command_id).map(|command| &command.origin);
    let payload = tree(&event.payload);
    let href = |neighbour: &Option<LogEvent>| {
        neighbour.as_ref().map(|event| event_href(stream, event.lane, event.position)).unwrap_or_default()
    };
    render(&EventPage {
        frame: visit.frame(Section::Events, format!("{} event", IdLink::new(event.event_id.0, "").short)),
        event: Facts {
            name: event.event_type.clone(),
            version: event.version,
            stream: stream.name(),
            lane,
            position,
            sequence: event.sequence,
            at: clock.when(event.occurred_at),
            id: IdLink::new(event.event_id.0, ""),
            command: IdLink::new(event.command_id.0, ""),
            actor: origin.map(|origin| origin.actor().to_owned()).unwrap_or_default(),
            request_id: origin.map(|origin| origin.request_id().to_owned()).unwrap_or_default(),
            merchant: IdLink::to(event.merchant_id.0, "merchants"),
            subject: subject_link(stream, event.subject_id),
            hash: hex::encode(event.hash),
            hash_before: hex::encode(found.before.as_ref().map_or(GENESIS, |before| before.hash)),
        },
        verdicts: verdicts(&found),
        previous: href(&found.before),
        next: href(&found.after),
        entries: entries(&console, event).await?,
        letters: letters(&console, event, clock).await?,
        raw: if payload.is_some() { String::new() } else { event.payload.clone() },
        payload,
        message: format!("/topics/{}/messages?partition={lane}&position={position}", stream.name()),
    })
}

async fn find(console: &Console, stream: Stream, lane: Lane, position: i64) -> Result<Found, Fault> {
    let none = || {
        Fault::not_found(format!("There is no event at {} lane {lane} position {position}.", stream.name()))
    };
    if position < 1 {
        return Err(none());
    }
    let rows = console.read(log::found_behind(console.db(), stream, lane, position - 2, 3)).await?;
    let (mut before, mut event, mut after) = (None, None, None);
    for (at, row) in rows {
        match (at, row) {
            (at, Ok(row)) if at == position - 1 => before = Some(row),
            (at, Ok(row)) if at == position => event = Some(row),
            (at, Ok(row)) if at == position + 1 => after = Some(row),
            (at, Err(ReadError::Invalid(reason))) if at == position => return Err(unreadable(&reason)),
            _ => {}
        }
    }
    Ok(Found { before, event: event.ok_or_else(none)?, after })
}

fn unreadable(reason: &str) -> Fault {
    Fault::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Not readable",
        format!(
            "This row of the log holds what the program did not write: {reason}. Reconciliation says more."
        ),
    )
}

/// Whether it is the event that was sealed, and whether the next one was sealed with it.
fn verdicts(Found { before, event, after }: &Found) -> Vec<Verdict> {
    let ok = |sentence: &str| Verdict { badge: Badge::of("ok"), sentence: sentence.to_owned() };
    let broken = |sentence: &str| Verdict { badge: Badge::of("broken"), sentence: sentence.to_owned() };
    let seal = match before {
        Some(before) if event.seal(&before.hash) == event.hash => {
            ok("Its hash is the one of its content behind the event before it.")
        }
        None if event.position == 1 && event.seal(&GENESIS) == event.hash => {
            ok("It is the first of its stream in this lane, and its hash is the one of its content.")
        }
        None if event.position > 1 => {
            broken("The event before it cannot be read, so its seal proves nothing.")
        }
        _ => broken(
            "Its hash is not the one of its content behind the event before it: one of the two was altered.",
        ),
    };
    let link = match after {
        Some(after) if after.seal(&event.hash) == after.hash => {
            ok("The event after it was sealed with this one.")
        }
        Some(_) => broken("The event after it was sealed with another one than this."),
        None => Verdict { badge: Badge::of("waiting"), sentence: "No event follows it yet.".to_owned() },
    };
    vec![seal, link]
}

/// What the event books, by the function that booked it, beside what the ledger has.
async fn entries(console: &Console, event: &LogEvent) -> Result<Vec<BookedEntry>, Fault> {
    let Some(booked) = event.parse().ok().and_then(|parsed| posting(&parsed, event.lane)) else {
        return Ok(Vec::new());
    };
    let legs: [(Leg, i64); 2] = [(booked.from, -booked.amount_minor), (booked.to, booked.amount_minor)];
    let mut shown = Vec::with_capacity(legs.len());
    for (Leg { account, entry_id }, minor) in legs {
        let at = event.occurred_at.as_micros();
        let entries = console.read(tables::entries_at(console.db(), &account, at)).await?;
        let entry = entries.iter().find(|entry| entry.id == entry_id);
        let is_as_booked =
            entry.is_some_and(|entry| entry.amount_minor == minor && entry.transaction_id == event.event_id);
        shown.push(BookedEntry {
            account: format!("{} of {}", account.kind.name(), owner_name(account.owner)),
            href: account_href(&account),
            amount: Money::new(minor, account.currency),
            found: entry.map(|entry| (entry.number, Money::new(entry.balance_after_minor, account.currency))),
            badge: Badge::of(if is_as_booked { "ok" } else { "broken" }),
        });
    }
    Ok(shown)
}

async fn letters(console: &Console, event: &LogEvent, clock: Clock) -> Result<Vec<LetterRow>, Fault> {
    let selection = Selection { subject: Some(event.subject_id), ..Selection::default() };
    let found = console.read(redrive::select(console.db(), &selection, LETTERS_MAX)).await?;
    let of_event = found.iter().filter(|letter| letter.event_id == Some(event.event_id.0));
    Ok(of_event.map(|letter| letter_row(letter, clock)).collect())
}
