//! Nobody stands behind the log's end: neither a consumer nor what the relay has noted.

use domain::event::Stream;
use store::{error::ReadError, log, sql::Row};

use crate::{Area, Error, Kind, run::Run};

/// Positions move after the event is committed. Read before the heads, they lie behind none of them.
pub async fn check(run: &mut Run<'_>) -> Result<(), Error> {
    let db = run.db;
    let consumers = "select stream, lane, position, consumer from consumer_positions \
         order by consumer, stream, lane";
    let relay = "select stream, lane, position from relay_cursors order by stream, lane";
    let consumers = db.query(consumers, Vec::new()).await?;
    let relay = db.query(relay, Vec::new()).await?;
    let heads = log::heads(db).await?;
    let mut compare = |row: Row<'_>, area: Area, holder: &str| {
        let (stream, lane, position) = (row.int(0)?, row.int(1)?, row.int(2)?);
        let name = Stream::from_number(stream).map_or_else(|| stream.to_string(), |s| s.name().to_owned());
        let place = area.at(format_args!("{holder}{name} lane {lane}"));
        let head = heads.iter().find(|head| i64::from(head.lane.0) == lane);
        let end = Stream::from_number(stream).zip(head).map(|(stream, head)| head.streams[stream.index()].0);
        match end {
            None => run.tell(Kind::Foreign, place, "a lane of the log".to_owned(), "none".to_owned()),
            Some(end) if position < 0 || position > end => {
                let expected = format!("a position from 0 to {end}");
                run.tell(Kind::Altered, place, expected, position.to_string());
            }
            Some(_) => {}
        }
        Ok::<_, ReadError>(())
    };
    for row in &consumers {
        compare(row, Area::Positions, &format!("{} ", row.text(3)?))?;
    }
    for row in &relay {
        compare(row, Area::Cursors, "")?;
    }
    Ok(())
}
