//! Running a consumer again over events that it has handled, beside live traffic.
//!
//! It reads the log, not Kafka. A consumer whose effect may be repeated gets positions of its own for the replay,
//! and the live one is not touched. A consumer whose effect is made of all events is set back lane by lane, effect and
//! position in one transaction, and then catches up; the live one helps. Either goes on where it was when it is
//! called again after it was cut off.

use std::sync::Arc;

use domain::{event::Stream, lane::Lane, time::Timestamp};
use serde_json::json;
use store::{
    Store,
    audit::{self, Actor},
    error::ReadError,
    log::{self, Span},
    sql::Transaction,
};

use crate::{
    consumer::{Consumer, HandleError, Replay},
    engine::{Settings, Stopped},
    measure::{How, Spans},
    position::{self, Place},
    runtime,
};

/// Where a replay begins.
#[derive(Clone, Copy, Debug)]
pub enum From {
    Beginning,
    /// This position, in every lane.
    Position(i64),
    /// The first event of each lane that is not earlier.
    Time(Timestamp),
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Database(#[from] ReadError),
    #[error("{0} has effects outside of the database, which cannot be taken back: it is not replayed")]
    Refused(&'static str),
    #[error("{0} is made of all events: it can be replayed from the beginning only")]
    NotFromBeginning(&'static str),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("the event at position {position} of {} lane {lane} could not be handled: {reason}", stream.name())]
    Handler { stream: Stream, lane: Lane, position: i64, reason: String },
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub events: i64,
    pub of: i64,
}

/// Replays a consumer up to the end that the log has now.
pub async fn run(
    store: &Store,
    consumer: &Arc<dyn Consumer>,
    settings: Settings,
    from: From,
    actor: &Actor,
    progress: impl FnMut(Progress),
) -> Result<Progress, ReplayError> {
    match (consumer.replay(), from) {
        (Replay::Refused, _) => Err(ReplayError::Refused(consumer.name())),
        (Replay::Rebuilds, From::Beginning) => rebuild(store, consumer, settings, actor, progress).await,
        (Replay::Rebuilds, _) => Err(ReplayError::NotFromBeginning(consumer.name())),
        (Replay::Repeats, _) => repeat(store, consumer.as_ref(), settings, from, actor, progress).await,
    }
}

/// How far a replay is in one place.
#[derive(Clone, Copy, Debug)]
struct Part {
    place: Place,
    position: i64,
    until: i64,
}

async fn repeat(
    store: &Store,
    consumer: &dyn Consumer,
    settings: Settings,
    from: From,
    actor: &Actor,
    mut progress: impl FnMut(Progress),
) -> Result<Progress, ReplayError> {
    let mut parts = load(store, consumer.name()).await?;
    if parts.is_empty() {
        parts = begin(store, consumer, from, actor).await?;
    }
    let mut done = Progress { events: 0, of: parts.iter().map(|part| part.until - part.position).sum() };
    for part in &mut parts {
        while part.position < part.until {
            let step = i64::try_from(settings.batch_events_max).unwrap_or(i64::MAX);
            let until = part.until.min(part.position + step);
            let span = Span { stream: part.place.0, lane: part.place.1, behind: part.position, until };
            let events = log::spans(store.reads(), &[span]).await?;
            let mut transaction = store.begin().await?;
            let spans = Spans::begin(consumer.name(), &events, How::Again);
            if let Err(error) = consumer.handle(&events, transaction.as_mut()).await {
                return Err(failed(*part, &error));
            }
            move_part(transaction.as_mut(), consumer.name(), part.place, until).await?;
            transaction.commit().await?;
            spans.committed();
            done.events += until - part.position;
            part.position = until;
            progress(done);
        }
    }
    end(store, consumer.name()).await?;
    Ok(done)
}

fn failed(part: Part, error: &HandleError) -> ReplayError {
    let (stream, lane) = part.place;
    ReplayError::Handler { stream, lane, position: part.position + 1, reason: error.to_string() }
}

/// Takes the effects back, lane by lane, and makes them anew.
async fn rebuild(
    store: &Store,
    consumer: &Arc<dyn Consumer>,
    settings: Settings,
    actor: &Actor,
    mut progress: impl FnMut(Progress),
) -> Result<Progress, ReplayError> {
    let name = consumer.name();
    let begun = load(store, name).await?;
    let mut until = Vec::new();
    for head in log::heads(store.reads()).await? {
        let now = store.now();
        let lane = head.lane;
        // A lane that an earlier call has set back is not set back again.
        if let Some(part) = begun.iter().find(|part| part.place.1 == lane) {
            until.push((part.place, part.until));
            continue;
        }
        let mut transaction = store.begin().await?;
        let places: Vec<Place> = consumer.streams().iter().map(|stream| (*stream, lane)).collect();
        position::initialise(transaction.as_mut(), name, &places, now).await?;
        for place in &places {
            position::hold(transaction.as_mut(), name, *place).await?;
        }
        consumer.reset(lane, transaction.as_mut()).await.map_err(|error| ReplayError::Handler {
            stream: places[0].0,
            lane,
            position: 0,
            reason: error.to_string(),
        })?;
        for place in &places {
            let head = head.streams[place.0.index()].0;
            set_back(transaction.as_mut(), name, *place).await?;
            insert(transaction.as_mut(), name, Part { place: *place, position: 0, until: head }).await?;
            until.push((*place, head));
        }
        let detail = json!({"lane": lane.0, "from": "the beginning"});
        audit::write(transaction.as_mut(), actor, "replay", name, &detail, now).await?;
        transaction.commit().await?;
    }
    let of = until.iter().map(|(_, until)| until).sum();
    let mut done = Progress { events: 0, of };
    runtime::catch_up(store.clone(), consumer.clone(), settings, |positions| {
        let come =
            |place: &Place, until: i64| positions.get(place).map_or(0, |mark| mark.position.min(until));
        done.events = until.iter().map(|(place, until)| come(place, *until)).sum();
        progress(done);
    })
    .await?;
    end(store, name).await?;
    Ok(Progress { events: of, of })
}

async fn load(store: &Store, consumer: &str) -> Result<Vec<Part>, ReadError> {
    let sql = "select stream, lane, position, until_position from replays where consumer = $1 order by stream, lane";
    let rows = store.reads().query(sql, vec![consumer.into()]).await?;
    rows.iter()
        .map(|row| Ok(Part { place: position::place(row, 0)?, position: row.int(2)?, until: row.int(3)? }))
        .collect()
}

async fn begin(
    store: &Store,
    consumer: &dyn Consumer,
    from: From,
    actor: &Actor,
) -> Result<Vec<Part>, ReadError> {
    let mut parts = Vec::new();
    for head in log::heads(store.reads()).await? {
        for stream in consumer.streams() {
            let until = head.streams[stream.index()].0;
            let place = (*stream, head.lane);
            parts.push(Part { place, position: behind(store, place, from, until).await?, until });
        }
    }
    let now = store.now();
    let mut transaction = store.begin().await?;
    for part in &parts {
        insert(transaction.as_mut(), consumer.name(), *part).await?;
    }
    let detail = json!({"from": format!("{from:?}")});
    audit::write(transaction.as_mut(), actor, "replay", consumer.name(), &detail, now).await?;
    transaction.commit().await?;
    Ok(parts)
}

/// The position behind which that begins, of a place that ends at `head`.
pub(crate) async fn behind(store: &Store, place: Place, from: From, head: i64) -> Result<i64, ReadError> {
    match from {
        From::Beginning => Ok(0),
        From::Position(position) => Ok(position.saturating_sub(1).clamp(0, head)),
        From::Time(time) => before(store, place, time, head).await,
    }
}

/// The last position of an event earlier than a time. Time never runs back within a lane, so halving finds it.
async fn before(store: &Store, (stream, lane): Place, time: Timestamp, head: i64) -> Result<i64, ReadError> {
    let (mut low, mut high) = (0, head);
    while low < high {
        let middle = low + (high - low + 1) / 2;
        let event = log::behind(store.reads(), stream, lane, middle - 1, 1).await?;
        if event.first().is_some_and(|event| event.occurred_at < time) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}

async fn insert(transaction: &mut dyn Transaction, consumer: &str, part: Part) -> Result<(), ReadError> {
    let sql =
        "insert into replays (consumer, stream, lane, position, until_position) values ($1, $2, $3, $4, $5)";
    let (stream, lane) = part.place;
    let params = vec![
        consumer.into(),
        stream.number().into(),
        i64::from(lane.0).into(),
        part.position.into(),
        part.until.into(),
    ];
    transaction.execute(sql, params).await.map(|_| ())
}

async fn move_part(
    transaction: &mut dyn Transaction,
    consumer: &str,
    (stream, lane): Place,
    position: i64,
) -> Result<(), ReadError> {
    let sql = "update replays set position = $4 where consumer = $1 and stream = $2 and lane = $3";
    let params = vec![consumer.into(), stream.number().into(), i64::from(lane.0).into(), position.into()];
    transaction.execute(sql, params).await.map(|_| ())
}

async fn set_back(
    transaction: &mut dyn Transaction,
    consumer: &str,
    (stream, lane): Place,
) -> Result<(), ReadError> {
    let sql = "update consumer_positions set position = 0 where consumer = $1 and stream = $2 and lane = $3";
    let params = vec![consumer.into(), stream.number().into(), i64::from(lane.0).into()];
    transaction.execute(sql, params).await.map(|_| ())
}

async fn end(store: &Store, consumer: &str) -> Result<(), ReadError> {
    let mut transaction = store.begin().await?;
    transaction.execute("delete from replays where consumer = $1", vec![consumer.into()]).await?;
    transaction.commit().await
}
