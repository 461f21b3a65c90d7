//! How far behind the log a consumer is, in events and in seconds.

use std::collections::BTreeMap;

use domain::{event::Stream, time::Timestamp};
use store::{error::ReadError, log, sql::Reads};

use crate::{
    control,
    position::{self, Place},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub consumer: String,
    pub events: i64,
    /// The age of the oldest event that is not handled yet; 0 when there is none.
    pub micros: i64,
    pub dead_letters: i64,
    /// Somebody has paused it.
    pub is_paused: bool,
}

/// The lag of every consumer that has ever run on this database, by name.
pub async fn lags(db: &dyn Reads, now: Timestamp) -> Result<Vec<Lag>, ReadError> {
    let sql =
        "select consumer, stream, lane, position from consumer_positions order by consumer, stream, lane";
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
            micros: 0,
            dead_letters: 0,
            is_paused: false,
        });
        if head > behind {
            lag.events += head - behind;
            let oldest = log::behind(db, stream, lane, behind, 1).await?;
            let age = oldest.first().map_or(0, |event| now.as_micros() - event.occurred_at.as_micros());
            lag.micros = lag.micros.max(age);
        }
    }
    let sql = "select consumer, count(*) from dead_letters where state = 1 group by consumer";
    for row in &db.query(sql, Vec::new()).await? {
        if let Some(lag) = lags.get_mut(row.text(0)?) {
            lag.dead_letters = row.int(1)?;
        }
    }
    for state in control::states(db).await? {
        if let Some(lag) = lags.get_mut(&state.consumer) {
            lag.is_paused = state.is_paused;
        }
    }
    Ok(lags.into_values().collect())
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
