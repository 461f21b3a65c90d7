//! What people want of consumers: to pause, to go on, to begin again from another place.
//!
//! What is wanted stands in the table, for every process: each looks at it between two batches, at most once every
//! [`LOOK_INTERVAL`]. A consumer that is paused keeps its membership and its positions, and handles nothing.
//!
//! A restart moves positions of a consumer that is paused. Back, an event is handled again, so only where that may be:
//! never for a consumer whose effect leaves the database, and only from the beginning for one whose effect is made of all
//! events, which is taken back in the same transaction. Forward, what is skipped is kept as dead letters that are
//! discarded, so nothing is left out without a trace. Dead letters that are open stay, and hold up the later events of
//! their subjects as before. Every change leaves an audit line.

use std::time::Duration;

use domain::{lane::Lane, time::Timestamp};
use serde_json::json;
use store::{
    Store,
    audit::{self, Actor},
    error::ReadError,
    log::{self, Span},
    sql::{Reads, Transaction},
};
use tokio::time::Instant;

use crate::{
    consumer::{Consumer, Replay},
    dead_letter::{self, Cause},
    position::{self, Place},
    replay::{self, From},
};

/// How soon a running consumer sees what is wanted of it.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Events that one restart skips at most: each is kept.
pub const SKIPPED_EVENTS_MAX: i64 = 10_000;
const SKIPPED_A_PAGE: i64 = 500;

/// What is wanted of a consumer, of which somebody has wanted something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub consumer: String,
    pub is_paused: bool,
    pub changed_at: Timestamp,
    pub changed_by: String,
}

pub async fn states(db: &dyn Reads) -> Result<Vec<State>, ReadError> {
    let sql = "select consumer, is_paused, changed_at, changed_by from consumer_controls order by consumer";
    let rows = db.query(sql, Vec::new()).await?;
    rows.iter()
        .map(|row| {
            Ok(State {
                consumer: row.text(0)?.to_owned(),
                is_paused: row.int(1)? == 1,
                changed_at: Timestamp::from_micros(row.int(2)?),
                changed_by: row.text(3)?.to_owned(),
            })
        })
        .collect()
}

/// Pauses a consumer in every process; gives whether it was not paused before.
pub async fn pause(store: &Store, consumer: &str, actor: &Actor) -> Result<bool, ReadError> {
    let sql = "insert into consumer_controls (consumer, is_paused, changed_at, changed_by) values ($1, 1, $2, $3) \
         on conflict (consumer) do update set is_paused = 1, changed_at = excluded.changed_at, \
         changed_by = excluded.changed_by where consumer_controls.is_paused = 0";
    change(store, consumer, sql, "consumer.pause", actor).await
}

/// Lets a consumer go on where its positions are; gives whether it was paused.
pub async fn resume(store: &Store, consumer: &str, actor: &Actor) -> Result<bool, ReadError> {
    let sql = "update consumer_controls set is_paused = 0, changed_at = $2, changed_by = $3 \
         where consumer = $1 and is_paused = 1";
    change(store, consumer, sql, "consumer.resume", actor).await
}

async fn change(
    store: &Store,
    consumer: &str,
    sql: &str,
    action: &str,
    actor: &Actor,
) -> Result<bool, ReadError> {
    let now = store.now();
    let mut transaction = store.begin_durable().await?;
    let params = vec![consumer.into(), now.as_micros().into(), actor.name.as_str().into()];
    if transaction.execute(sql, params).await? == 0 {
        return Ok(false);
    }
    audit::write(transaction.as_mut(), actor, action, consumer, &json!({}), now).await?;
    transaction.commit().await?;
    Ok(true)
}

/// What one consumer in one process knows of what is wanted of it.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    /// `None` until it was read once.
    is_on: Option<bool>,
    /// When it was changed last, by the database's word.
    changed_at: Option<i64>,
    looked_at: Option<Instant>,
}

/// What was seen of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub is_on: bool,
    /// It was changed since the look before: also where it was paused, moved and resumed between two looks, so that its
    /// positions may be elsewhere although it never seemed to stand still.
    pub is_changed: bool,
}

impl Brake {
    /// Whether the consumer is paused, as it was a moment ago. What was known counts while the database does not answer.
    pub(crate) async fn look(&mut self, db: &dyn Reads, consumer: &str) -> Result<Seen, ReadError> {
        let is_fresh = self.looked_at.is_some_and(|at| at.elapsed() < LOOK_INTERVAL);
        if let (Some(is_on), true) = (self.is_on, is_fresh) {
            return Ok(Seen { is_on, is_changed: false });
        }
        let sql = "select is_paused, changed_at from consumer_controls where consumer = $1";
        let rows = match (db.query(sql, vec![consumer.into()]).await, self.is_on) {
            (Ok(rows), _) => rows,
            (Err(_), Some(is_on)) => {
                self.looked_at = Some(Instant::now());
                return Ok(Seen { is_on, is_changed: false });
            }
            (Err(error), None) => return Err(error),
        };
        let row = rows.first();
        let is_on = row.map_or(Ok(0), |row| row.int(0))? == 1;
        let changed_at = row.map(|row| row.int(1)).transpose()?;
        let is_changed = self.is_on.is_some() && self.changed_at != changed_at;
        if is_changed || (self.is_on.is_none() && is_on) {
            tracing::info!(consumer, is_paused = is_on, "what is wanted of the consumer has changed");
        }
        (self.looked_at, self.is_on, self.changed_at) = (Some(Instant::now()), Some(is_on), changed_at);
        Ok(Seen { is_on, is_changed })
    }
}

/// Where a consumer is to begin again.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// One place; all of the consumer's otherwise.
    pub place: Option<Place>,
    pub from: From,
    /// Whether events may be skipped.
    pub may_skip: bool,
}

/// A position that is moved, or would be: that of the last event that counts as handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub place: Place,
    pub from: i64,
    pub to: i64,
}

impl Move {
    /// Events that are skipped.
    pub fn skipped(&self) -> i64 {
        (self.to - self.from).max(0)
    }

    /// Events that are handled again.
    pub fn repeated(&self) -> i64 {
        (self.from - self.to).max(0)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Database(#[from] ReadError),
    #[error("{0} is not paused: pause it first")]
    NotPaused(&'static str),
    #[error("a replay of {0} has not come to its end: let it end first")]
    ReplayUnderWay(&'static str),
    #[error("{consumer} does not read {} lane {}", place.0.name(), place.1.0)]
    NotRead { consumer: &'static str, place: Place },
    #[error("{0} has effects outside of the database, which cannot be taken back: no event is handled again")]
    NotAgain(&'static str),
    #[error("{0} is made of all events: it can be restarted from the beginning only, in all of its lanes")]
    NotFromBeginning(&'static str),
    #[error("{events} events would be skipped by {consumer}: that must be asked for")]
    WouldSkip { consumer: &'static str, events: i64 },
    #[error(
        "{events} events would be skipped, and {SKIPPED_EVENTS_MAX} at most are skipped at once: restart nearer"
    )]
    SkipsTooMany { events: i64 },
    #[error("the effects of {consumer} could not be taken back: {reason}")]
    NotTakenBack { consumer: &'static str, reason: String },
}

/// What a restart would move, without doing it; refused where the restart would be, but for the pause.
pub async fn plan(
    store: &Store,
    consumer: &dyn Consumer,
    restart: &Restart,
) -> Result<Vec<Move>, ControlError> {
    let targets = targets(store, consumer, restart).await?;
    let positions = position::load(store.reads(), consumer.name()).await?;
    let moves = targets.into_iter().map(|(place, to)| {
        let from = positions.get(&place).map_or(0, |mark| mark.position);
        Move { place, from, to }
    });
    let moves: Vec<Move> = moves.collect();
    check(consumer, restart, &moves)?;
    Ok(moved(moves))
}

/// Moves the positions of a consumer that is paused; gives those that were moved. It begins there when it is resumed.
pub async fn restart(
    store: &Store,
    consumer: &dyn Consumer,
    restart: &Restart,
    actor: &Actor,
) -> Result<Vec<Move>, ControlError> {
    let targets = targets(store, consumer, restart).await?;
    if consumer.replay() != Replay::Rebuilds {
        return apply(store, consumer, restart, &targets, actor).await;
    }
    // Taking effects back may take long, and a transaction of it holds up others: one a lane. Cut off, the restart is
    // asked for again; a lane that was set back is set back once more, which changes nothing.
    let mut moves = Vec::new();
    for lane in (0..store.lanes()).map(Lane) {
        let of_lane: Vec<_> = targets.iter().copied().filter(|(place, _)| place.1 == lane).collect();
        moves.extend(apply(store, consumer, restart, &of_lane, actor).await?);
    }
    Ok(moves)
}

fn moved(moves: Vec<Move>) -> Vec<Move> {
    moves.into_iter().filter(|step| step.from != step.to).collect()
}

/// The position behind which the consumer is to go on, of each place.
async fn targets(
    store: &Store,
    consumer: &dyn Consumer,
    restart: &Restart,
) -> Result<Vec<(Place, i64)>, ControlError> {
    let name = consumer.name();
    if consumer.replay() == Replay::Rebuilds
        && (restart.place.is_some() || !matches!(restart.from, From::Beginning))
    {
        return Err(ControlError::NotFromBeginning(name));
    }
    let mut targets = Vec::new();
    for head in log::heads(store.reads()).await? {
        for stream in consumer.streams() {
            let place = (*stream, head.lane);
            if restart.place.is_some_and(|wanted| wanted != place) {
                continue;
            }
            let end = head.streams[stream.index()].0;
            targets.push((place, replay::behind(store, place, restart.from, end).await?));
        }
    }
    match restart.place {
        Some(place) if targets.is_empty() => Err(ControlError::NotRead { consumer: name, place }),
        _ => Ok(targets),
    }
}

/// Whether these moves are safe for this consumer.
fn check(consumer: &dyn Consumer, restart: &Restart, moves: &[Move]) -> Result<(), ControlError> {
    let name = consumer.name();
    if consumer.replay() == Replay::Refused && moves.iter().any(|step| step.repeated() > 0) {
        return Err(ControlError::NotAgain(name));
    }
    let events: i64 = moves.iter().map(Move::skipped).sum();
    if events > 0 && !restart.may_skip {
        return Err(ControlError::WouldSkip { consumer: name, events });
    }
    if events > SKIPPED_EVENTS_MAX {
        return Err(ControlError::SkipsTooMany { events });
    }
    Ok(())
}

/// One transaction: the pause is held, so that nobody resumes, and the positions, so that a batch which began before the
/// pause has ended.
async fn apply(
    store: &Store,
    consumer: &dyn Consumer,
    restart: &Restart,
    targets: &[(Place, i64)],
    actor: &Actor,
) -> Result<Vec<Move>, ControlError> {
    let (name, now) = (consumer.name(), store.now());
    let mut transaction = store.begin_durable().await?;
    hold_pause(transaction.as_mut(), name).await?;
    let places: Vec<Place> = targets.iter().map(|(place, _)| *place).collect();
    position::initialise(transaction.as_mut(), name, &places, now).await?;
    let mut moves = Vec::with_capacity(targets.len());
    for (place, to) in targets {
        let mark = position::hold(transaction.as_mut(), name, *place).await?.unwrap_or_default();
        moves.push(Move { place: *place, from: mark.position, to: *to });
    }
    check(consumer, restart, &moves)?;
    if consumer.replay() == Replay::Rebuilds {
        take_back(transaction.as_mut(), consumer, &places).await?;
    }
    for step in &moves {
        if step.skipped() > 0 {
            skip(store, transaction.as_mut(), name, *step, actor).await?;
        }
        position::place_at(transaction.as_mut(), name, step.place, step.to, now).await?;
    }
    let moves = moved(moves);
    let told: Vec<_> = moves
        .iter()
        .map(|step| {
            let (stream, lane) = step.place;
            json!({"stream": stream.name(), "lane": lane.0, "before": step.from, "after": step.to})
        })
        .collect();
    audit::write(transaction.as_mut(), actor, "consumer.restart", name, &json!({"positions": told}), now)
        .await?;
    transaction.commit().await?;
    Ok(moves)
}

async fn hold_pause(transaction: &mut dyn Transaction, consumer: &'static str) -> Result<(), ControlError> {
    let sql = "update consumer_controls set is_paused = is_paused where consumer = $1 and is_paused = 1";
    if transaction.execute(sql, vec![consumer.into()]).await? == 0 {
        return Err(ControlError::NotPaused(consumer));
    }
    let sql = "select 1 from replays where consumer = $1 limit 1";
    if transaction.query(sql, vec![consumer.into()]).await?.is_empty() {
        Ok(())
    } else {
        Err(ControlError::ReplayUnderWay(consumer))
    }
}

async fn take_back(
    transaction: &mut dyn Transaction,
    consumer: &dyn Consumer,
    places: &[Place],
) -> Result<(), ControlError> {
    let mut lanes: Vec<Lane> = places.iter().map(|place| place.1).collect();
    lanes.dedup();
    for lane in lanes {
        consumer.reset(lane, transaction).await.map_err(|error| ControlError::NotTakenBack {
            consumer: consumer.name(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

/// Keeps the events of a move forward as dead letters that nobody will handle.
async fn skip(
    store: &Store,
    transaction: &mut dyn Transaction,
    consumer: &str,
    step: Move,
    actor: &Actor,
) -> Result<(), ReadError> {
    let (stream, lane) = step.place;
    let reason = format!("skipped by {}: {}", actor.name, actor.why);
    let mut behind = step.from;
    while behind < step.to {
        let until = step.to.min(behind + SKIPPED_A_PAGE);
        let open = dead_letter::open_between(transaction, consumer, step.place, (behind, until)).await?;
        let events = log::spans(store.reads(), &[Span { stream, lane, behind, until }]).await?;
        for event in events.into_iter().filter(|event| !open.contains(&event.position)) {
            let cause = Cause::Skipped { reason: &reason };
            dead_letter::park(transaction, consumer, &event, &cause, store.now()).await?;
        }
        behind = until;
    }
    Ok(())
}
