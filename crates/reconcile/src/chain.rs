//! The log by itself: nothing missing, nothing altered, time never ran back.

use domain::{event::Stream, lane::Lane, ledger::posting};
use store::{
    batch::LaneHead,
    error::ReadError,
    log::{self, Flaw, Verifier},
    sql::Reads,
};

use crate::{
    Area, Kind, PAGE, Report,
    sums::{self, Sums},
};

/// Walks a lane up to its head, and sums up what its events book.
pub async fn walk(
    db: &dyn Reads,
    head: &LaneHead,
    booked: &mut Sums,
    report: &mut Report<'_>,
) -> Result<(), ReadError> {
    let mut verifier = Verifier::new(head.lane);
    'lane: loop {
        let page = log::found_behind_sequence(db, head.lane, verifier.sequence(), PAGE).await?;
        for ((_, sequence), event) in &page {
            if *sequence > head.sequence {
                break 'lane;
            }
            report.summary.events += 1;
            let place = || Area::Events.at(format_args!("lane {} sequence {sequence}", head.lane));
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    report.tell(Kind::Altered, place(), "an event".to_owned(), error.to_string());
                    verifier.pass(*sequence);
                    continue;
                }
            };
            if let Err(flaw) = verifier.next(event) {
                tell(&flaw, report);
            }
            match event.parse() {
                Ok(parsed) => {
                    if let Some(posting) = posting(&parsed, head.lane) {
                        for (leg, amount_minor) in sums::legs(&posting) {
                            booked.add(&sums::of_leg(event, &posting, leg, amount_minor));
                        }
                    }
                }
                Err(error) => {
                    report.tell(Kind::Altered, place(), "an event".to_owned(), error.to_string());
                }
            }
        }
        report.listener.advanced(page.len());
        if page.is_empty() {
            break;
        }
    }
    if let Err(flaw) = verifier.end(head) {
        tell(&flaw, report);
    }
    Ok(())
}

fn tell(flaw: &Flaw, report: &mut Report<'_>) {
    let in_stream = |stream: &Stream, lane: &Lane, position: &i64| {
        Area::Events.at(format_args!("{} lane {lane} position {position}", stream.name()))
    };
    match flaw {
        Flaw::SequenceGap { lane, expected, found } => {
            let place = Area::Events.at(format_args!("lane {lane} sequence {expected}"));
            report.tell(Kind::Missing, place, format!("sequence {expected}"), found.to_string());
        }
        Flaw::PositionGap { stream, lane, expected, found } => {
            let kind = if found > expected { Kind::Missing } else { Kind::Duplicate };
            let place = in_stream(stream, lane, expected);
            report.tell(kind, place, format!("position {expected}"), found.to_string());
        }
        Flaw::Altered { stream, lane, position } => {
            let place = in_stream(stream, lane, position);
            report.tell(
                Kind::Altered,
                place,
                "the event that was sealed".to_owned(),
                "another one".to_owned(),
            );
        }
        Flaw::ClockRanBack { lane, sequence } => {
            let place = Area::Events.at(format_args!("lane {lane} sequence {sequence}"));
            let expected = "a time behind the one before".to_owned();
            report.tell(Kind::OutOfOrder, place, expected, "an earlier one".to_owned());
        }
        Flaw::HeadDiffers { lane, head, log } => {
            let kind = if head.sequence > log.sequence { Kind::Missing } else { Kind::Altered };
            let place = Area::LaneHeads.at(format_args!("lane {lane}"));
            report.tell(kind, place, format!("the log's end {}", end(log)), end(head));
        }
    }
}

fn end(head: &LaneHead) -> String {
    let positions: Vec<String> = head.streams.iter().map(|(position, _)| position.to_string()).collect();
    format!("sequence {}, positions {}", head.sequence, positions.join("/"))
}
