//! How far a consumer has come in each (stream, lane): its whole memory of what it has handled.

use std::collections::BTreeMap;

use domain::{event::Stream, lane::Lane, time::Timestamp};
use store::{
    error::ReadError,
    sql::{Reads, Row, Transaction},
};

/// The place of a position, and of what is counted beside it; on Kafka a topic and its partition.
pub type Place = (Stream, Lane);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Of the last event that was handled, or set aside.
    pub position: i64,
    /// Where to go on reading the partition; `None` until something was read from Kafka.
    pub kafka_offset: Option<i64>,
}

pub type Positions = BTreeMap<Place, Mark>;

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

pub async fn load(db: &dyn Reads, consumer: &str) -> Result<Positions, ReadError> {
    let sql = "select stream, lane, position, kafka_offset from consumer_positions where consumer = $1";
    let rows = db.query(sql, vec![consumer.into()]).await?;
    let mark = |row: Row<'_>| Ok(Mark { position: row.int(2)?, kafka_offset: row.opt_int(3)? });
    rows.iter().map(|row| Ok((place(row, 0)?, mark(row)?))).collect()
}

/// Where to go on reading the partitions of several consumers: the smallest offset of those that read a place; from its
/// beginning, `None`, when one of them has none.
pub async fn starts(
    db: &dyn Reads,
    consumers: &[(&'static str, &'static [Stream])],
) -> Result<BTreeMap<Place, Option<i64>>, ReadError> {
    let mut starts: BTreeMap<Place, Option<i64>> = BTreeMap::new();
    for (name, streams) in consumers {
        let positions = load(db, name).await?;
        for (place, mark) in positions.iter().filter(|((stream, _), _)| streams.contains(stream)) {
            let start = starts.entry(*place).or_insert(mark.kafka_offset);
            // `None` is the smallest.
            *start = (*start).min(mark.kafka_offset);
        }
    }
    Ok(starts)
}

/// A move of a position: where it must be, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub place: Place,
    pub from: Mark,
    pub to: Mark,
}

/// Moves positions, all of them or none, and holds them until the transaction ends: of two processes that
/// handle the same events the second one waits here, then finds the positions moved and gets `false`.
pub async fn advance(
    transaction: &mut dyn Transaction,
    consumer: &str,
    steps: &[Step],
    now: Timestamp,
) -> Result<bool, ReadError> {
    let mut rows = Vec::with_capacity(steps.len());
    let mut params = vec![consumer.into(), now.as_micros().into()];
    for Step { place: (stream, lane), from, to } in steps {
        let n = params.len();
        let row: Vec<String> = (n + 1..=n + 6).map(|n| format!("cast(${n} as bigint)")).collect();
        rows.push(format!("({})", row.join(", ")));
        params.extend([
            stream.number().into(),
            i64::from(lane.0).into(),
            from.position.into(),
            from.kafka_offset.into(),
            to.position.into(),
            to.kafka_offset.into(),
        ]);
    }
    let sql = format!(
        "with step (of_stream, of_lane, from_position, from_offset, to_position, to_offset) as (values {}) \
         update consumer_positions set position = to_position, kafka_offset = to_offset, updated_at = $2 \
         from step where consumer = $1 and stream = of_stream and lane = of_lane \
         and position = from_position and kafka_offset is not distinct from from_offset",
        rows.join(", ")
    );
    let moved = transaction.execute(&sql, params).await?;
    Ok(usize::try_from(moved).is_ok_and(|moved| moved == steps.len()))
}

/// Holds one position until the transaction ends, without moving it; gives it.
pub async fn hold(
    transaction: &mut dyn Transaction,
    consumer: &str,
    (stream, lane): Place,
) -> Result<Option<Mark>, ReadError> {
    let params = || vec![consumer.into(), stream.number().into(), i64::from(lane.0).into()];
    let sql = "update consumer_positions set updated_at = updated_at \
         where consumer = $1 and stream = $2 and lane = $3";
    transaction.execute(sql, params()).await?;
    let sql = "select position, kafka_offset from consumer_positions \
         where consumer = $1 and stream = $2 and lane = $3";
    let rows = transaction.query(sql, params()).await?;
    rows.first().map(|row| Ok(Mark { position: row.int(0)?, kafka_offset: row.opt_int(1)? })).transpose()
}

/// Sets a position, wherever it is. Where its record lies on Kafka is not known any more.
pub async fn place_at(
    transaction: &mut dyn Transaction,
    consumer: &str,
    (stream, lane): Place,
    position: i64,
    now: Timestamp,
) -> Result<(), ReadError> {
    let sql = "update consumer_positions set position = $4, kafka_offset = null, updated_at = $5 \
         where consumer = $1 and stream = $2 and lane = $3 and position <> $4";
    let params = vec![
        consumer.into(),
        stream.number().into(),
        i64::from(lane.0).into(),
        position.into(),
        now.as_micros().into(),
    ];
    transaction.execute(sql, params).await.map(|_| ())
}

/// Stream and lane from two columns.
pub fn place(row: Row<'_>, column: usize) -> Result<Place, ReadError> {
    let unknown = || ReadError::Invalid("a position of an unknown stream or lane".to_owned());
    let stream = Stream::from_number(row.int(column)?).ok_or_else(unknown)?;
    let lane = u16::try_from(row.int(column + 1)?).map_err(|_| unknown())?;
    Ok((stream, Lane(lane)))
}
