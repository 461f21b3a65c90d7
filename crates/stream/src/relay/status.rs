//! How far the relay is behind the log, for people: by what it has noted, at most half a second ago.

use std::collections::BTreeMap;

use domain::{event::Stream, time::Timestamp};
use store::{error::ReadError, log, sql::Reads};

use crate::position::{self, Place};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Raised by each take-over.
    pub epoch: i64,
    pub is_held: bool,
    pub unpublished: i64,
    /// The age of the oldest event that is not published; 0 when there is none.
    pub micros: i64,
}

pub async fn status(db: &dyn Reads, now: Timestamp) -> Result<Status, ReadError> {
    let lease = db.query("select epoch, holder from relay_lease where name = 'relay'", Vec::new()).await?;
    let (epoch, is_held) = match lease.first() {
        Some(row) => (row.int(0)?, row.opt_uuid(1)?.is_some()),
        None => (0, false),
    };
    let places = places(db, now).await?;
    Ok(Status {
        epoch,
        is_held,
        unpublished: places.iter().map(|place| place.unpublished().max(0)).sum(),
        micros: places.iter().map(|place| place.micros).max().unwrap_or(0),
    })
}

/// How far one place is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub place: Place,
    /// Of the last event that is surely published, and where its record lies; `None`: nothing was noted yet.
    pub noted: Option<Noted>,
    pub head: i64,
    /// The age of the oldest event that is not published; 0 when there is none.
    pub micros: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    pub position: i64,
    pub kafka_offset: i64,
    pub at: Timestamp,
}

impl Published {
    pub fn unpublished(&self) -> i64 {
        self.head - self.noted.map_or(0, |noted| noted.position)
    }
}

/// The same, place by place, in the order of streams and lanes.
pub async fn places(db: &dyn Reads, now: Timestamp) -> Result<Vec<Published>, ReadError> {
    let notes = notes(db).await?;
    // Read after the notes, so that no place is ahead of its head.
    let heads = log::heads(db).await?;
    let mut places = Vec::with_capacity(heads.len() * Stream::ALL.len());
    for stream in Stream::ALL {
        for head in &heads {
            let place = (stream, head.lane);
            let (noted, mut oldest_at) = notes.get(&place).copied().unzip();
            let mut published = Published { place, noted, head: head.streams[stream.index()].0, micros: 0 };
            if published.unpublished() > 0 {
                // Of a place of which nothing was noted yet, the notes cannot tell it.
                if noted.is_none() {
                    let oldest = log::behind(db, stream, head.lane, 0, 1).await?;
                    oldest_at = Some(oldest.first().map(|event| event.occurred_at));
                }
                // Absent: committed since then.
                let age = |at: Timestamp| now.as_micros() - at.as_micros();
                published.micros = oldest_at.flatten().map_or(0, age);
            }
            places.push(published);
        }
    }
    Ok(places)
}

/// What the relay has noted of each place, and when the event behind it occurred, which positions, being dense, name.
async fn notes(db: &dyn Reads) -> Result<BTreeMap<Place, (Noted, Option<Timestamp>)>, ReadError> {
    let sql = "select relay_cursors.stream, relay_cursors.lane, relay_cursors.position, \
         relay_cursors.kafka_offset, relay_cursors.updated_at, events.occurred_at from relay_cursors \
         left join events on events.stream = relay_cursors.stream and events.lane = relay_cursors.lane \
         and events.position = relay_cursors.position + 1";
    let rows = db.query(sql, Vec::new()).await?;
    let mut notes = BTreeMap::new();
    for row in &rows {
        let noted = Noted {
            position: row.int(2)?,
            kafka_offset: row.int(3)?,
            at: Timestamp::from_micros(row.int(4)?),
        };
        let oldest_at = row.opt_int(5)?.map(Timestamp::from_micros);
        notes.insert(position::place(row, 0)?, (noted, oldest_at));
    }
    Ok(notes)
}
