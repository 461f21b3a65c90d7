//! The log by itself: nothing missing, nothing altered, time never ran back.

use domain::{event::Stream, lane::Lane};
use store::{
    batch::LaneHead,
    log::{self, Flaw, Sealed, Verifier},
};

use crate::{Area, Error, Kind, PAGE, progress::Phase, run::Run};

/// Walks each lane up to its head.
pub async fn walk(run: &mut Run<'_>, lanes_done: usize) -> Result<(), Error> {
    for number in lanes_done..run.watermark.heads.len() {
        let head = run.watermark.heads[number].clone();
        lane(run, &head).await?;
        run.reached(|| Phase::Log { lanes_done: number + 1 }).await?;
    }
    Ok(())
}

async fn lane(run: &mut Run<'_>, head: &LaneHead) -> Result<(), Error> {
    let db = run.db;
    let mut verifier = Verifier::new(head.lane);
    let mut page = log::sealed(db, head.lane, 0, PAGE).await?;
    while let Some(last) = page.last() {
        let last = last.sequence()?;
        // The next page is read while this one is verified.
        let (next, ()) = tokio::join!(log::sealed(db, head.lane, last, PAGE), async {
            verify(&page, head, &mut verifier, run);
        });
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
    Ok(())
}

fn verify(page: &Sealed, head: &LaneHead, verifier: &mut Verifier, run: &mut Run<'_>) {
    for row in page.iter() {
        let Ok(sequence) = row.sequence() else { continue };
        if sequence > head.sequence {
            return;
        }
        run.summary.events += 1;
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
