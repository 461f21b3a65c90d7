//! What the relay notes of how far it came. A hint where to begin reading the topics; never the truth.

use std::collections::BTreeMap;

use domain::{chain::Hash, time::Timestamp};
use store::{Store, error::ReadError, sql::Reads};

use crate::{kafka::ends::Noted, position};

/// The notes, each with the hash that the log has at its position; without those whose event is not in the log.
pub async fn load(db: &dyn Reads) -> Result<BTreeMap<position::Place, Noted>, ReadError> {
    let sql = "select c.stream, c.lane, c.position, c.kafka_offset, e.hash from relay_cursors c \
         join events e on e.stream = c.stream and e.lane = c.lane and e.position = c.position";
    let rows = db.query(sql, Vec::new()).await?;
    let mut noted = BTreeMap::new();
    for row in &rows {
        let hash: Hash = row.bytes(4)?.try_into().unwrap_or_default();
        let note = Noted { position: row.int(2)?, offset: row.int(3)?, hash };
        noted.insert(position::place(row, 0)?, note);
    }
    Ok(noted)
}

/// The positions that are surely published.
pub async fn published(db: &dyn Reads) -> Result<BTreeMap<position::Place, i64>, ReadError> {
    let rows = db.query("select stream, lane, position from relay_cursors", Vec::new()).await?;
    rows.iter().map(|row| Ok((position::place(row, 0)?, row.int(2)?))).collect()
}

/// Where a place's published events end: position and offset of the last one.
pub type Ends = BTreeMap<position::Place, (i64, i64)>;

/// Notes the ends, under the lease's epoch only: a deposed relay must not set them back.
pub async fn store(store: &Store, ends: &Ends, epoch: i64, now: Timestamp) -> Result<(), ReadError> {
    if ends.is_empty() {
        return Ok(());
    }
    let mut transaction = store.begin().await?;
    let sql = "select 1 from relay_lease where name = 'relay' and epoch = $1";
    if transaction.query(sql, vec![epoch.into()]).await?.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::with_capacity(ends.len());
    let mut params = vec![now.as_micros().into()];
    for ((stream, lane), (position, offset)) in ends {
        let n = params.len();
        rows.push(format!("(${}, ${}, ${}, ${}, $1)", n + 1, n + 2, n + 3, n + 4));
        params.extend([
            stream.number().into(),
            i64::from(lane.0).into(),
            (*position).into(),
            (*offset).into(),
        ]);
    }
    let sql = format!(
        "insert into relay_cursors (stream, lane, position, kafka_offset, updated_at) values {} \
         on conflict (stream, lane) do update set position = excluded.position, \
         kafka_offset = excluded.kafka_offset, updated_at = excluded.updated_at",
        rows.join(", ")
    );
    transaction.execute(&sql, params).await?;
    transaction.commit().await
}
