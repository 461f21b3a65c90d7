//! How far a consumer has come in each (stream, lane): its whole memory of what it has handled.

use std::collections::BTreeMap;

use domain::{event::Stream, lane::Lane, time::Timestamp};
use store::{
    error::ReadError,
    sql::{Row, Transaction},
};

/// The place of a position, and of what is counted beside it.
pub type Place = (Stream, Lane);
pub type Positions = BTreeMap<Place, i64>;

/// Makes a row for each place, at position 0, where there is none.
pub async fn initialise(
    transaction: &mut dyn Transaction,
    consumer: &str,
    places: &[Place],
    now: Timestamp,
) -> Result<(), ReadError> {
    for (stream, lane) in places {
        let sql = "insert into consumer_positions (consumer, stream, lane, position, updated_at) \
             values ($1, $2, $3, 0, $4) on conflict (consumer, stream, lane) do nothing";
        let params =
            vec![consumer.into(), stream.number().into(), i64::from(lane.0).into(), now.as_micros().into()];
        transaction.execute(sql, params).await?;
    }
    Ok(())
}

/// Locks the consumer's positions until the transaction ends, and reads them: of two processes that run
/// the same consumer one waits here, and then sees what the other has done.
pub async fn lock(
    transaction: &mut dyn Transaction,
    consumer: &str,
    now: Timestamp,
) -> Result<Positions, ReadError> {
    // One row stands for all of them: a lock on it is taken before anything is moved.
    let sql = "update consumer_positions set updated_at = $2 where consumer = $1 and lane = 0 \
         and stream = (select min(stream) from consumer_positions where consumer = $1)";
    transaction.execute(sql, vec![consumer.into(), now.as_micros().into()]).await?;
    let sql = "select stream, lane, position from consumer_positions where consumer = $1";
    let rows = transaction.query(sql, vec![consumer.into()]).await?;
    rows.iter().map(|row| Ok((place(row, 0)?, row.int(2)?))).collect()
}

/// Moves the positions of rows that are there and locked, in one statement.
pub async fn store(
    transaction: &mut dyn Transaction,
    consumer: &str,
    moved: &Positions,
    now: Timestamp,
) -> Result<(), ReadError> {
    let mut rows = Vec::with_capacity(moved.len());
    let mut params = vec![consumer.into(), now.as_micros().into()];
    for ((stream, lane), position) in moved {
        let n = params.len();
        rows.push(format!("($1, ${}, ${}, ${}, $2)", n + 1, n + 2, n + 3));
        params.extend([stream.number().into(), i64::from(lane.0).into(), (*position).into()]);
    }
    let sql = format!(
        "insert into consumer_positions (consumer, stream, lane, position, updated_at) values {} \
         on conflict (consumer, stream, lane) do update set position = excluded.position",
        rows.join(", ")
    );
    transaction.execute(&sql, params).await.map(|_| ())
}

/// Stream and lane from two columns.
pub fn place(row: &Row, column: usize) -> Result<Place, ReadError> {
    let unknown = || ReadError::Invalid("a position of an unknown stream or lane".to_owned());
    let stream = Stream::from_number(row.int(column)?).ok_or_else(unknown)?;
    let lane = u16::try_from(row.int(column + 1)?).map_err(|_| unknown())?;
    Ok((stream, Lane(lane)))
}
