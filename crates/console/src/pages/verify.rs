//! `/events/verify`: the chain of a lane's last events, computed again from what stands in the log now.

use access::Permission;
use askama::Template;
use axum::{extract::State, response::Response};
use domain::{event::Stream, lane::Lane};
use store::{
    batch::{LaneHead, LogEvent},
    error::ReadError,
    log::{self, Flaw, Found, Verifier},
    sql::Reads,
};

use super::Visit;
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::Params,
    show::Badge,
    state::Console,
};

/// Events that are verified while somebody waits.
const EVENTS_MAX: i64 = 1000;
/// Flaws of one walk that are told.
const FLAWS_TOLD_MAX: usize = 20;

#[derive(Template)]
#[template(path = "verify.html")]
struct VerifyPage {
    frame: Frame,
    lane: u16,
    events: i64,
    from: i64,
    until: i64,
    verdict: Badge,
    flaws: Vec<String>,
    are_flaws_cut: bool,
}

/// `GET /events/verify`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let lane = params.read("lane", "the number of a lane", |text| text.parse().ok().map(Lane));
    let lane = lane.ok_or_else(|| Fault::bad_request("Say which lane: its number."))?;
    let heads = console.read(log::heads(console.db())).await?;
    let head = heads.into_iter().find(|head| head.lane == lane);
    let head = head.ok_or_else(|| Fault::not_found(format!("There is no lane {lane}.")))?;
    let behind = (head.sequence - EVENTS_MAX).max(0);
    let flaws = console.read(walk(console.db(), &head, behind)).await?;
    render(&VerifyPage {
        frame: visit.frame(Section::Events, format!("Lane {lane}, verified")),
        lane: lane.0,
        events: head.sequence - behind,
        from: behind + 1,
        until: head.sequence,
        verdict: Badge::of(if flaws.is_empty() { "ok" } else { "broken" }),
        are_flaws_cut: flaws.len() > FLAWS_TOLD_MAX,
        flaws: flaws.into_iter().take(FLAWS_TOLD_MAX).collect(),
    })
}

/// What is wrong with the events behind a sequence, up to the head. What is written meanwhile is not looked at.
async fn walk(db: &dyn Reads, head: &LaneHead, behind: i64) -> Result<Vec<String>, ReadError> {
    let limit = usize::try_from(head.sequence - behind).unwrap_or(0);
    let found = log::found_behind_sequence(db, head.lane, behind, limit).await?;
    let mut verifier = Verifier::behind(reached(db, head, behind, &found).await?);
    let mut flaws = Vec::new();
    for (sequence, row) in found.into_iter().filter(|(sequence, _)| *sequence <= head.sequence) {
        match row {
            Ok(event) => flaws.extend(verifier.next(&event).err().map(|flaw| flaw.to_string())),
            Err(error) => {
                flaws.push(format!("lane {} sequence {sequence}: {error}", head.lane));
                verifier.pass(sequence);
            }
        }
    }
    // After a flaw the end only repeats it.
    if flaws.is_empty() {
        flaws.extend(verifier.end(head).err().map(|flaw| in_words(&flaw)));
    }
    Ok(flaws)
}

fn in_words(flaw: &Flaw) -> String {
    match flaw {
        Flaw::HeadDiffers { lane, .. } => format!("lane {lane}: the log does not end where its head says"),
        Flaw::SequenceGap { .. }
        | Flaw::PositionGap { .. }
        | Flaw::Altered { .. }
        | Flaw::ClockRanBack { .. } => flaw.to_string(),
    }
}

/// The lane as it was behind a sequence, where the walk begins: of each stream the event before its first one in the walk;
/// of one that has none in it, the last.
async fn reached(
    db: &dyn Reads,
    head: &LaneHead,
    behind: i64,
    found: &[(i64, Found)],
) -> Result<LaneHead, ReadError> {
    let mut reached = LaneHead { sequence: behind, ..head.clone() };
    let events = || found.iter().filter_map(|(_, row)| row.as_ref().ok());
    // Time is compared from the first one on.
    reached.clock = events().next().map_or(head.clock, |event| event.occurred_at);
    for stream in Stream::ALL {
        let Some(first) = events().find(|event| event.stream == stream) else { continue };
        reached.streams[stream.index()] = before(db, first).await?;
    }
    Ok(reached)
}

async fn before(db: &dyn Reads, event: &LogEvent) -> Result<(i64, domain::chain::Hash), ReadError> {
    let position = event.position - 1;
    let found = log::found_behind(db, event.stream, event.lane, position - 1, 1).await?;
    match found.into_iter().next() {
        Some((at, Ok(before))) if at == position => Ok((position, before.hash)),
        // The first of its stream; or one whose predecessor is missing, which no hash follows from.
        _ => Ok((position, domain::chain::GENESIS)),
    }
}
