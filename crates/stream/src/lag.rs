//! How far behind the log a consumer is, in events and in seconds.

use std::collections::BTreeMap;

use domain::{event::Stream, time::Timestamp};
use store::{error::ReadError, log, sql::Reads};

use crate::{
    control,
    position::{self, Place},
};

/// Open dead letters of one consumer that are counted; there are at least as many when it is as many.
pub const DEAD_LETTERS_COUNTED_MAX: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub consumer: String,
    pub events: i64,
    /// The same by [`Stream::index`].
    pub events_by_stream: [i64; 3],
    /// The age of the oldest event that is not handled yet; 0 when there is none.
    pub micros: i64,
    /// Those that are open.
    pub dead_letters: i64,
    /// Somebody has paused it.
    pub is_paused: bool,
}

/// The lag of every consumer that has ever run on this database, by name. Positions are dense, so the oldest event that a
/// consumer has not handled is the next one, and one statement finds all of them.
pub async fn lags(db: &dyn Reads, now: Timestamp) -> Result<Vec<Lag>, ReadError> {
    let sql = "select consumer_positions.consumer, consumer_positions.stream, consumer_positions.lane, \
         consumer_positions.position, events.occurred_at from consumer_positions \
         left join events on events.stream = consumer_positions.stream and events.lane = consumer_positions.lane \
         and events.position = consumer_positions.position + 1 \
         order by consumer_positions.consumer, consumer_positions.stream, consumer_positions.lane";
    let positions = db.query(sql, Vec::new()).await?;
    // Read after the positions, so that no position is ahead of its head.
    let heads: BTreeMap<_, _> = log::heads(db).await?.into_iter().map(|head| (head.lane, head)).collect();
    let mut lags: BTreeMap<String, Lag> = BTreeMap::new();
    for row in &positions {
        let consumer = row.text(0)?;
        let (stream, lane) = position::place(row, 1)?;
        let behind = row.int(3)?;
        let head = heads.get(&lane).map_or(0, |head| head.streams[stream.index()].0);
        let lag = lags.entry(consumer.to_owned()).or_insert_with(|| Lag {
            consumer: consumer.to_owned(),
            events: 0,
            events_by_stream: [0; 3],
            micros: 0,
            dead_letters: 0,
            is_paused: false,
        });
        if head > behind {
            lag.events += head - behind;
            lag.events_by_stream[stream.index()] += head - behind;
            // Absent: committed since then.
            let age = row.opt_int(4)?.map_or(0, |occurred_at| now.as_micros() - occurred_at);
            lag.micros = lag.micros.max(age);
        }
    }
    for lag in lags.values_mut() {
        lag.dead_letters = open_dead_letters(db, &lag.consumer).await?;
    }
    for state in control::states(db).await? {
        if let Some(lag) = lags.get_mut(&state.consumer) {
            lag.is_paused = state.is_paused;
        }
    }
    Ok(lags.into_values().collect())
}

/// Counted in the index of those that are open, up to [`DEAD_LETTERS_COUNTED_MAX`].
async fn open_dead_letters(db: &dyn Reads, consumer: &str) -> Result<i64, ReadError> {
    let sql = format!(
        "select count(*) from (select 1 from dead_letters where consumer = $1 and state = 1 \
         limit {DEAD_LETTERS_COUNTED_MAX}) counted"
    );
    db.query(&sql, vec![consumer.into()]).await?.first().map_or(Ok(0), |row| row.int(0))
}

/// How far a consumer has come in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceLag {
    pub place: Place,
    /// Of the last event that was handled, or set aside; `None`: it has never looked at the place.
    pub position: Option<i64>,
    /// Where to go on reading the partition, where that is known.
    pub kafka_offset: Option<i64>,
    pub head: i64,
    /// The age of the oldest event that is not handled yet; 0 when there is none.
    pub micros: i64,
}

impl PlaceLag {
    pub fn events(&self) -> i64 {
        self.head - self.position.unwrap_or(0)
    }
}

/// The lag of one consumer in all places of its streams.
pub async fn places(
    db: &dyn Reads,
    consumer: &str,
    streams: &[Stream],
    now: Timestamp,
) -> Result<Vec<PlaceLag>, ReadError> {
    let positions = position::load(db, consumer).await?;
    // Read after the positions, so that no position is ahead of its head.
    let heads = log::heads(db).await?;
    let mut places = Vec::with_capacity(heads.len() * streams.len());
    for stream in streams {
        for head in &heads {
            let place = (*stream, head.lane);
            let mark = positions.get(&place);
            let mut lag = PlaceLag {
                place,
                position: mark.map(|mark| mark.position),
                kafka_offset: mark.and_then(|mark| mark.kafka_offset),
                head: head.streams[stream.index()].0,
                micros: 0,
            };
            if lag.events() > 0 {
                let oldest = log::behind(db, *stream, head.lane, lag.position.unwrap_or(0), 1).await?;
                lag.micros =
                    oldest.first().map_or(0, |event| now.as_micros() - event.occurred_at.as_micros());
            }
            places.push(lag);
        }
    }
    Ok(places)
}
