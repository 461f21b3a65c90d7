//! How far the relay is behind the log, for people: by what it has noted, at most half a second ago.

use domain::{event::Stream, time::Timestamp};
use store::{error::ReadError, log, sql::Reads};

use super::cursor;

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
