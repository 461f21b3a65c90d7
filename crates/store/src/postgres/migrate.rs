//! Migrations on PostgreSQL: under an advisory lock, so that several nodes may start at once.

use domain::{chain::GENESIS, time::Timestamp};
use tokio_postgres::{Client, Config};

use super::{EFFECTS_OPTIONS, config, connect, describe, location};
use crate::{
    error::OpenError,
    migrate::{self, Applied, checksum},
};

/// Any number that nobody else in the database uses.
const ADVISORY_LOCK: i64 = 0x0066_696e_7465_6368;

/// Brings the database up to date; gives the number of lanes.
pub(crate) async fn migrate(text: &str, wanted_lanes: Option<u16>, now: Timestamp) -> Result<u16, OpenError> {
    let options = EFFECTS_OPTIONS.replace("synchronous_commit=off", "synchronous_commit=on");
    // Creating an index on a big table takes as long as it takes.
    let options = options
        .replace("statement_timeout=20s", "statement_timeout=0")
        .replace("lock_timeout=10s", "lock_timeout=0")
        + " -c client_min_messages=warning";
    let config = config(text, "fintech migrate", &options)?;
    let mut client = connect(&config).await.map_err(|error| failed(&config, &error))?;
    client
        .execute("select pg_advisory_lock($1)", &[&ADVISORY_LOCK])
        .await
        .map_err(|error| failed(&config, &error))?;
    // The lock goes with the connection when this function returns.
    apply(&mut client, &config, wanted_lanes, now).await
}

fn failed(config: &Config, error: &tokio_postgres::Error) -> OpenError {
    OpenError::Connect { location: location(config), reason: describe(error) }
}

async fn apply(
    client: &mut Client,
    config: &Config,
    wanted_lanes: Option<u16>,
    now: Timestamp,
) -> Result<u16, OpenError> {
    let connect = |error: tokio_postgres::Error| failed(config, &error);
    client
        .batch_execute(
            "create table if not exists migrations (number bigint primary key, name text not null, \
             checksum text not null, applied_at bigint not null)",
        )
        .await
        .map_err(connect)?;
    let rows = client
        .query("select number, checksum from migrations order by number", &[])
        .await
        .map_err(connect)?;
    let applied: Vec<Applied> =
        rows.iter().map(|row| Applied { number: row.get(0), checksum: row.get(1) }).collect();
    for migration in migrate::pending(&applied, |migration| migration.postgres)? {
        let failed = |error: tokio_postgres::Error| OpenError::Migration {
            number: migration.number,
            name: migration.name.to_owned(),
            reason: describe(&error),
        };
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.batch_execute(migration.postgres).await.map_err(failed)?;
        transaction
            .execute(
                "insert into migrations (number, name, checksum, applied_at) values ($1, $2, $3, $4)",
                &[&migration.number, &migration.name, &checksum(migration.postgres), &now.as_micros()],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    let stored: i64 = client.query_one("select count(*) from lane_heads", &[]).await.map_err(connect)?.get(0);
    let stored = u16::try_from(stored).unwrap_or(u16::MAX);
    let Some(new) = migrate::lanes(stored, wanted_lanes)? else {
        return Ok(stored);
    };
    client
        .execute(
            "insert into lane_heads select lane, 0, 0, 0, $2, 0, $2, 0, $2 \
             from generate_series(0, $1::int - 1) as lane",
            &[&i32::from(new), &GENESIS.as_slice()],
        )
        .await
        .map_err(connect)?;
    Ok(new)
}
