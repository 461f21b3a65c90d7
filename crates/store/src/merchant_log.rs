//! The event log as one merchant sees it: the events of its lane in order of sequence, without those of others. No
//! query reads more than a stretch of the lane's key, whoever the events in it belong to.

use domain::{id::MerchantId, lane::Lane};

use crate::{
    error::ReadError,
    log::{EVENT, Found, event_from, lane},
    sql::Reads,
};

/// The last sequence of each lane.
pub async fn lane_ends(db: &dyn Reads) -> Result<Vec<(Lane, i64)>, ReadError> {
    let rows = db.query("select lane, sequence from lane_heads order by lane", Vec::new()).await?;
    rows.iter().map(|row| Ok((lane(row.int(0)?)?, row.int(1)?))).collect()
}

/// The last sequence of a lane.
pub async fn lane_end(db: &dyn Reads, lane: Lane) -> Result<i64, ReadError> {
    let sql = "select sequence from lane_heads where lane = $1";
    let rows = db.query(sql, vec![i64::from(lane.0).into()]).await?;
    let row = rows.first().ok_or_else(|| ReadError::Invalid(format!("there is no lane {lane}")))?;
    row.int(0)
}

/// A merchant's events in a stretch of its lane: behind a sequence, up to another one, inclusive. Each by its sequence,
/// readable or not.
pub async fn events(
    db: &dyn Reads,
    (lane, merchant): (Lane, MerchantId),
    behind: i64,
    until: i64,
    limit: usize,
) -> Result<Vec<(i64, Found)>, ReadError> {
    let sql = format!(
        "{EVENT} where lane = $1 and sequence > $2 and sequence <= $3 and merchant_id = $4 \
         order by sequence limit {limit}"
    );
    let params = vec![i64::from(lane.0).into(), behind.into(), until.into(), merchant.0.into()];
    db.query(&sql, params).await?.iter().map(|row| Ok((row.int(1)?, event_from(row)))).collect()
}
