//! Migrations on SQLite: under an exclusive lock, so that several programs may start at once.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use domain::{chain, time::Timestamp};
use rusqlite::{Connection, ErrorCode, params};

use super::{location, open};
use crate::{
    error::OpenError,
    migrate::{self, Applied, checksum},
    sql::Durability,
};

const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// Brings the file up to date; gives the number of lanes.
pub(crate) fn migrate(path: &Path, wanted_lanes: Option<u16>, now: Timestamp) -> Result<u16, OpenError> {
    let connect =
        |error: rusqlite::Error| OpenError::Connect { location: location(path), reason: error.to_string() };
    let connection = open_patiently(path).map_err(connect)?;
    connection.execute_batch("begin exclusive").map_err(connect)?;
    let lanes = apply(&connection, wanted_lanes, now, connect)?;
    connection.execute_batch("commit").map_err(connect)?;
    Ok(lanes)
}

/// Only one program can turn a new file to WAL mode; SQLite tells the others at once that it is busy, without
/// its busy time-out.
fn open_patiently(path: &Path) -> Result<Connection, rusqlite::Error> {
    let deadline = Instant::now() + OPEN_TIMEOUT;
    loop {
        match open(path, Durability::Full) {
            Err(error) if is_locked(&error) && Instant::now() < deadline => thread::sleep(OPEN_PAUSE),
            opened => return opened,
        }
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

pub(super) fn apply(
    connection: &Connection,
    wanted_lanes: Option<u16>,
    now: Timestamp,
    connect: impl Fn(rusqlite::Error) -> OpenError,
) -> Result<u16, OpenError> {
    connection
        .execute_batch(
            "create table if not exists migrations (number integer primary key, name text not null, \
             checksum text not null, applied_at integer not null) strict",
        )
        .map_err(&connect)?;
    let applied = applied(connection).map_err(&connect)?;
    for migration in migrate::pending(&applied, |migration| migration.sqlite)? {
        let failed = |error: rusqlite::Error| OpenError::Migration {
            number: migration.number,
            name: migration.name.to_owned(),
            reason: error.to_string(),
        };
        connection.execute_batch(migration.sqlite).map_err(failed)?;
        let row = params![migration.number, migration.name, checksum(migration.sqlite), now.as_micros()];
        connection
            .execute("insert into migrations (number, name, checksum, applied_at) values (?, ?, ?, ?)", row)
            .map_err(failed)?;
    }
    let stored: u16 =
        connection.query_row("select count(*) from lane_heads", [], |row| row.get(0)).map_err(&connect)?;
    let Some(new) = migrate::lanes(stored, wanted_lanes)? else {
        return Ok(stored);
    };
    for lane in 0..new {
        connection
            .execute(
                "insert into lane_heads values (?1, 0, 0, 0, ?2, 0, ?2, 0, ?2)",
                params![lane, chain::GENESIS],
            )
            .map_err(&connect)?;
    }
    Ok(new)
}

fn applied(connection: &Connection) -> Result<Vec<Applied>, rusqlite::Error> {
    let mut statement = connection.prepare("select number, checksum from migrations order by number")?;
    let rows = statement.query_map([], |row| Ok(Applied { number: row.get(0)?, checksum: row.get(1)? }))?;
    rows.collect()
}
