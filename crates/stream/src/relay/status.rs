//! How far the relay is behind the log, for people: by what it has noted, at most half a second ago.

use domain::{event::Stream, time::Timestamp};
use store::{
    error::ReadError,
    log,
    sql::{Reads, Row},
};

use super::cursor;
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
    // Before the heads, so that no place is ahead of its head.
    let published = cursor::published(db).await?;
    let mut status = Status { epoch, is_held, unpublished: 0, micros: 0 };
    for head in log::heads(db).await? {
        for stream in Stream::ALL {
            let behind = published.get(&(stream, head.lane)).copied().unwrap_or(0);
            let unpublished = head.streams[stream.index()].0 - behind;
            if unpublished > 0 {
                status.unpublished += unpublished;
                let oldest = log::behind(db, stream, head.lane, behind, 1).await?;
                let age = oldest.first().map_or(0, |event| now.as_micros() - event.occurred_at.as_micros());
                status.micros = status.micros.max(age);
            }
        }
    }
    Ok(status)
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
    let sql =
        "select stream, lane, position, kafka_offset, updated_at from relay_cursors order by stream, lane";
    let noted = |row: Row<'_>| {
        let noted = Noted {
            position: row.int(2)?,
            kafka_offset: row.int(3)?,
            at: Timestamp::from_micros(row.int(4)?),
        };
        Ok((position::place(row, 0)?, noted))
    };
    let rows = db.query(sql, Vec::new()).await?;
    let notes: Vec<(Place, Noted)> = rows.iter().map(noted).collect::<Result<_, ReadError>>()?;
    // Read after the notes, so that no place is ahead of its head.
    let heads = log::heads(db).await?;
    let mut places = Vec::with_capacity(heads.len() * Stream::ALL.len());
    for stream in Stream::ALL {
        for head in &heads {
            let place = (stream, head.lane);
            let noted = notes.iter().find(|(noted, _)| *noted == place).map(|(_, noted)| *noted);
            let mut published = Published { place, noted, head: head.streams[stream.index()].0, micros: 0 };
            if published.unpublished() > 0 {
                let behind = noted.map_or(0, |noted| noted.position);
                let oldest = log::behind(db, stream, head.lane, behind, 1).await?;
                published.micros =
                    oldest.first().map_or(0, |event| now.as_micros() - event.occurred_at.as_micros());
            }
            places.push(published);
        }
    }
    Ok(places)
}
