//! The log by itself: nothing missing, nothing altered, time never ran back.

use std::collections::BTreeSet;

use domain::{event::Stream, lane::Lane};
use store::{
    batch::LaneHead,
    log::{self, Flaw, Sealed, Verifier},
    sql::Dialect,
};

use crate::{
    Area, Error, Kind, PAGE,
    progress::{Appended, Phase},
    run::Run,
};

/// SQLite keeps the log in the order of appending; walking it lane by lane would read each page of the file once a lane.
pub fn first(run: &Run<'_>) -> Phase {
    match run.db.dialect() {
        Dialect::Sqlite => {
            let lanes: Vec<Verifier> =
                run.watermark.heads.iter().map(|head| Verifier::new(head.lane)).collect();
            Phase::Appended(Appended::new(0, &lanes, BTreeSet::new()))
        }
        Dialect::Postgres => Phase::Log { lanes_done: 0 },
    }
}

/// Walks all lanes at once, in the order of appending, up to their heads. Gives the lanes in which something does not
/// follow; what that is comes out when they are walked in their own order.
pub async fn appended(run: &mut Run<'_>, from: Appended) -> Result<Vec<u16>, Error> {
    let db = run.db;
    let (mut lanes, mut suspects) = (from.verifiers(), from.suspects);
    let mut page = log::sealed_as_appended(db, from.number, PAGE).await?;
    while let Some(last) = page.last() {
        let number = last.number()?;
        // The next page is read while this one is verified.
        let (next, is_any) = tokio::join!(log::sealed_as_appended(db, number, PAGE), async {
            verify_appended(&page, &mut lanes, &mut suspects, run)
        });
        run.advanced(page.len());
        run.reached(|| Phase::Appended(Appended::new(number, &lanes, suspects.clone()))).await?;
        page = next?;
        if !is_any {
            // Everything here was appended behind the watermark, and what follows too.
            break;
        }
    }
    let ends = lanes.iter().zip(&run.watermark.heads);
    suspects.extend(ends.filter(|(lane, head)| lane.end(head).is_err()).map(|(_, head)| head.lane.0));
    Ok(suspects.into_iter().collect())
}

/// Whether any of the rows lies before the watermark.
fn verify_appended(
    page: &Sealed,
    lanes: &mut [Verifier],
    suspects: &mut BTreeSet<u16>,
    run: &mut Run<'_>,
) -> bool {
    let mut is_any = false;
    for row in page.iter() {
        let (Ok(lane), Ok(sequence)) = (row.lane(), row.sequence()) else { continue };
        // There is a verifier a head; none where no head speaks of the lane.
        let index = run.watermark.index_of(lane);
        let Some(verifier) = index.and_then(|index| lanes.get_mut(index)) else { continue };
        if run.watermark.is_behind(lane, sequence) {
            continue;
        }
        is_any = true;
        run.summary.events += 1;
        let follows = row.link().is_ok_and(|(link, hash)| verifier.next_link(&link, hash).is_ok());
        if !follows {
            suspects.insert(lane.0);
        }
    }
    is_any
}

/// Walks each lane up to its head.
pub async fn walk(run: &mut Run<'_>, lanes_done: usize) -> Result<(), Error> {
    for number in lanes_done..run.watermark.heads.len() {
        let head = run.watermark.heads[number].clone();
        let events = lane(run, &head).await?;
        run.summary.events += events;
        run.reached(|| Phase::Log { lanes_done: number + 1 }).await?;
    }
    Ok(())
}

/// Walks lanes whose events are counted already.
pub async fn walk_again(run: &mut Run<'_>, lanes: &[u16]) -> Result<(), Error> {
    let heads = run.watermark.heads.iter().filter(|head| lanes.contains(&head.lane.0));
    for head in heads.cloned().collect::<Vec<_>>() {
        lane(run, &head).await?;
    }
    Ok(())
}

/// Gives how many events there are up to the head.
async fn lane(run: &mut Run<'_>, head: &LaneHead) -> Result<u64, Error> {
    let db = run.db;
    let mut events = 0;
    let mut verifier = Verifier::new(head.lane);
    let mut page = log::sealed(db, head.lane, 0, PAGE).await?;
    while let Some(last) = page.last() {
        let last = last.sequence()?;
        // The next page is read while this one is verified.
        let (next, verified) = tokio::join!(log::sealed(db, head.lane, last, PAGE), async {
            verify(&page, head, &mut verifier, run)
        });
        events += verified;
        run.advanced(page.len());
        run.breathe().await?;
        page = next?;
        if last >= head.sequence {
            break;
        }
    }
    if let Err(flaw) = verifier.end(head) {
        tell(&flaw, run);
    }
    Ok(events)
}

fn verify(page: &Sealed, head: &LaneHead, verifier: &mut Verifier, run: &mut Run<'_>) -> u64 {
    let mut events = 0;
    for row in page.iter() {
        let Ok(sequence) = row.sequence() else { continue };
        if sequence > head.sequence {
            break;
        }
        events += 1;
        match row.link() {
            Ok((link, hash)) => {
                if let Err(flaw) = verifier.next_link(&link, hash) {
                    tell(&flaw, run);
                }
            }
            Err(error) => {
                let place = Area::Events.at(format_args!("lane {} sequence {sequence}", head.lane));
                run.tell(Kind::Altered, place, "an event".to_owned(), error.to_string());
                verifier.pass(sequence);
            }
        }
    }
    events
}

fn tell(flaw: &Flaw, run: &mut Run<'_>) {
    let in_stream = |stream: &Stream, lane: &Lane, position: &i64| {
        Area::Events.at(format_args!("{} lane {lane} position {position}", stream.name()))
    };
    match flaw {
        Flaw::SequenceGap { lane, expected, found } => {
            let place = Area::Events.at(format_args!("lane {lane} sequence {expected}"));
            run.tell(Kind::Missing, place, format!("sequence {expected}"), found.to_string());
        }
        Flaw::PositionGap { stream, lane, expected, found } => {
            let kind = if found > expected { Kind::Missing } else { Kind::Duplicate };
            let place = in_stream(stream, lane, expected);
            run.tell(kind, place, format!("position {expected}"), found.to_string());
        }
        Flaw::Altered { stream, lane, position } => {
            let place = in_stream(stream, lane, position);
            run.tell(Kind::Altered, place, "the event that was sealed".to_owned(), "another one".to_owned());
        }
        Flaw::ClockRanBack { lane, sequence } => {
            let place = Area::Events.at(format_args!("lane {lane} sequence {sequence}"));
            let expected = "a time behind the one before".to_owned();
            run.tell(Kind::OutOfOrder, place, expected, "an earlier one".to_owned());
        }
        Flaw::HeadDiffers { lane, head, log } => {
            let kind = if head.sequence > log.sequence { Kind::Missing } else { Kind::Altered };
            let place = Area::LaneHeads.at(format_args!("lane {lane}"));
            run.tell(kind, place, format!("the log's end {}", end(log)), end(head));
        }
    }
}

fn end(head: &LaneHead) -> String {
    let positions: Vec<String> = head.streams.iter().map(|(position, _)| position.to_string()).collect();
    format!("sequence {}, positions {}", head.sequence, positions.join("/"))
}
