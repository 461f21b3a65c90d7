//! `/events`: the log, newest first over all lanes; and the ways to one event: by its place, or by its id.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use domain::{
    event::{EVENT_TYPES, Stream},
    id::EventId,
    lane::Lane,
};
use store::{
    batch::LaneHead,
    log,
    recent::{self, Below, Brief, EventsPage, EventsWanted},
};
use uuid::Uuid;

use super::{Pager, Visit};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{Clock, IdLink, When},
    state::Console,
};

/// Lanes whose ends are shown.
const LANES_SHOWN_MAX: usize = 64;

#[derive(Template)]
#[template(path = "events.html")]
struct EventLogPage {
    frame: Frame,
    params: Params,
    streams: [&'static str; 3],
    types: Vec<&'static str>,
    is_filtered: bool,
    rows: Vec<EventRow>,
    page: Pager,
    lanes: Vec<LaneRow>,
    are_lanes_cut: bool,
}

struct EventRow {
    name: String,
    href: String,
    stream: &'static str,
    lane: u16,
    position: i64,
    sequence: i64,
    event: IdLink,
    merchant: IdLink,
    subject: IdLink,
    at: When,
}

/// The end of a lane.
struct LaneRow {
    lane: u16,
    events: i64,
    last: Option<When>,
    /// Of each stream: the position, and the way to it; empty when there is none.
    ends: Vec<(i64, String)>,
}

/// `GET /events`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let wanted = wanted(&mut params);
    let after = params.read("after", "the link of a page", below);
    let found = if params.is_wrong() {
        EventsPage { events: Vec::new(), next: None, is_cut_short: false }
    } else {
        console.read(recent::events(console.db(), &wanted, after.as_ref(), ROWS)).await?
    };
    let heads = console.read(log::heads(console.db())).await?;
    let clock = visit.clock;
    render(&EventLogPage {
        frame: visit.frame(Section::Events, "Event log"),
        streams: Stream::ALL.map(Stream::name),
        types: EVENT_TYPES.iter().map(|(_, name, _)| *name).collect(),
        is_filtered: params.first_page() != "/events",
        rows: found.events.iter().map(|event| event_row(event, clock)).collect(),
        page: Pager {
            is_behind_first: params.get("after").is_some(),
            first: params.first_page(),
            next: found.next.map(|next| params.with("after", &below_text(&next))).unwrap_or_default(),
            is_cut_short: found.is_cut_short,
        },
        params,
        lanes: heads.iter().take(LANES_SHOWN_MAX).map(|head| lane_row(head, clock)).collect(),
        are_lanes_cut: heads.len() > LANES_SHOWN_MAX,
    })
}

fn wanted(params: &mut Params) -> EventsWanted {
    EventsWanted {
        stream: params.read("stream", "one of the streams", stream_of),
        lane: params.read("lane", "the number of a lane", |text| text.parse().ok().map(Lane)),
        event_type: params.read("type", "one of the types of events", |text| {
            EVENT_TYPES.iter().find(|(_, name, _)| *name == text).map(|(_, name, _)| (*name).to_owned())
        }),
        merchant: params.merchant(),
        subject: params.uuid("subject"),
        from: params.moment("from", false),
        to: params.moment("to", true),
    }
}

pub fn stream_of(name: &str) -> Option<Stream> {
    Stream::ALL.into_iter().find(|stream| stream.name() == name)
}

/// The page of an event.
pub fn event_href(stream: Stream, lane: Lane, position: i64) -> String {
    format!("/events/{}/{lane}/{position}", stream.name())
}

/// A number a lane, each from 0 to 2^63 - 1, in few characters: their URL holds one for each of up to a thousand lanes.
fn below_text(Below(numbers): &Below) -> String {
    let numbers: Vec<String> = numbers.iter().map(|number| base36(*number)).collect();
    numbers.join(".")
}

fn below(text: &str) -> Option<Below> {
    let number = |text: &str| i64::from_str_radix(text, 36).ok().filter(|number| *number >= 0);
    text.split('.').map(number).collect::<Option<Vec<_>>>().map(Below)
}

fn base36(mut number: i64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

fn event_row(event: &Brief, clock: Clock) -> EventRow {
    let href = event_href(event.stream, event.lane, event.position);
    EventRow {
        name: event.event_type.clone(),
        stream: event.stream.name(),
        lane: event.lane.0,
        position: event.position,
        sequence: event.sequence,
        event: IdLink::new(event.event_id.0, href.clone()),
        merchant: IdLink::to(event.merchant_id.0, "merchants"),
        subject: subject_link(event.stream, event.subject_id),
        at: clock.when(event.occurred_at),
        href,
    }
}

/// The payment, withdrawal or merchant that an event of a stream belongs to.
pub fn subject_link(stream: Stream, subject: Uuid) -> IdLink {
    let page = match stream {
        Stream::Payments => "payments",
        Stream::Withdrawals => "withdrawals",
        Stream::Merchants => "merchants",
    };
    IdLink::to(subject, page)
}

fn lane_row(head: &LaneHead, clock: Clock) -> LaneRow {
    let end = |stream: Stream| {
        let (position, _) = head.streams[stream.index()];
        let href = event_href(stream, head.lane, position);
        (position, if position > 0 { href } else { String::new() })
    };
    LaneRow {
        lane: head.lane.0,
        events: head.sequence,
        last: (head.sequence > 0).then(|| clock.when(head.clock)),
        ends: Stream::ALL.map(end).into(),
    }
}

/// `GET /events/at`: to a place in the log; without a position, to the last one.
pub async fn at(State(console): State<Console>, visit: Visit, mut params: Params) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let stream = params.read("stream", "one of the streams", stream_of);
    let lane = params.read("lane", "the number of a lane", |text| text.parse().ok().map(Lane));
    let position = params.number("position", "a position");
    let (Some(stream), Some(lane), false) = (stream, lane, params.is_wrong()) else {
        return Err(Fault::bad_request("A place in the log is a stream, a lane and a position."));
    };
    let position = if let Some(position) = position {
        position
    } else {
        let heads = console.read(log::heads(console.db())).await?;
        let head = heads.iter().find(|head| head.lane == lane);
        head.map_or(0, |head| head.streams[stream.index()].0)
    };
    Ok(Redirect::to(&event_href(stream, lane, position)).into_response())
}

/// `GET /events/id/{id}`: to an event's place.
pub async fn by_id(
    State(console): State<Console>,
    visit: Visit,
    Path(id): Path<Uuid>,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let event = console.read(log::by_event_id(console.db(), EventId(id))).await?;
    let event = event.ok_or_else(|| Fault::not_found(format!("There is no event {id}.")))?;
    Ok(Redirect::to(&event_href(event.stream, event.lane, event.position)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_page_begins_survives_the_way_through_an_address() {
        for numbers in [vec![0], vec![35, 36, 0, 1_000_000], vec![i64::MAX, 0]] {
            let below_all = Below(numbers);
            assert_eq!(below(&below_text(&below_all)), Some(below_all));
        }
        assert_eq!(below_text(&Below(vec![10, 37, 0])), "a.11.0");
        for wrong in ["-1", "", "1..2", "é", "zzzzzzzzzzzzzzzz", "1.-5"] {
            assert_eq!(below(wrong), None, "{wrong}");
        }
    }
}
