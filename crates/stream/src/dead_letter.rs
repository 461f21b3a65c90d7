//! Events that a consumer could not handle, kept with the later ones of the same subject; and messages that
//! are not of this log.

use std::collections::HashSet;

use domain::time::Timestamp;
use store::{
    batch::LogEvent,
    error::ReadError,
    sql::{Transaction, Value},
};
use uuid::Uuid;

use crate::position::Place;

/// A longer reason is cut: it may quote what the handler met.
const REASON_CHARS_MAX: usize = 1000;
/// Subjects that are asked for in one query.
const SUBJECTS_A_QUERY_MAX: usize = 500;

/// Why an event was set aside; the number in the table never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its own handling failed.
    Poison = 1,
    /// An earlier event of the same subject is a dead letter.
    Parked = 2,
    /// A message that did not come from this log.
    Foreign = 3,
    /// Somebody had the consumer go on behind it.
    Skipped = 4,
}

impl Kind {
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Poison),
            2 => Some(Self::Parked),
            3 => Some(Self::Foreign),
            4 => Some(Self::Skipped),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Poison => "poison",
            Self::Parked => "parked",
            Self::Foreign => "foreign",
            Self::Skipped => "skipped",
        }
    }
}

/// What has become of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open = 1,
    Redriven = 2,
    Discarded = 3,
}

impl State {
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Open),
            2 => Some(Self::Redriven),
            3 => Some(Self::Discarded),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
        }
    }
}

/// A message on a topic of ours that is not of our log.
#[derive(Clone, Debug)]
pub struct Foreign {
    pub place: Place,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub reason: String,
}

/// Why an event is set aside.
pub enum Cause<'a> {
    /// Its own handling failed this often, the last time for this reason.
    Poison { reason: &'a str, attempts: u32 },
    /// An earlier event of the same subject is a dead letter.
    Parked,
    /// Somebody had the consumer go on behind it, for this reason: it will not be handled.
    Skipped { reason: &'a str },
}

/// Stores an event verbatim as a dead letter. One that is open already stays as it is: a consumer that was set back meets
/// it again.
pub async fn park(
    transaction: &mut dyn Transaction,
    consumer: &str,
    event: &LogEvent,
    cause: &Cause<'_>,
    now: Timestamp,
) -> Result<(), ReadError> {
    let (reason, attempts, kind) = match cause {
        Cause::Poison { reason, attempts } => (*reason, *attempts, Kind::Poison),
        Cause::Parked => ("an earlier event of the same subject is a dead letter", 0, Kind::Parked),
        Cause::Skipped { reason } => (*reason, 0, Kind::Skipped),
    };
    let letter = Letter {
        consumer,
        place: (event.stream, event.lane),
        position: Some(event.position),
        kafka_offset: None,
        event_id: Some(event.event_id.0),
        event_type: Some(&event.event_type),
        subject_id: Some(event.subject_id),
        key: Some(event.merchant_id.to_string().into_bytes()),
        payload: Some(event.payload.as_bytes().to_vec()),
        headers: None,
        kind,
        reason,
        attempts,
    };
    letter.insert(transaction, now).await
}

/// Stores a foreign message verbatim as a dead letter.
pub async fn park_foreign(
    transaction: &mut dyn Transaction,
    consumer: &str,
    message: &Foreign,
    now: Timestamp,
) -> Result<(), ReadError> {
    let text = |name: &str| {
        let (_, value) = message.headers.iter().find(|(header, _)| header == name)?;
        String::from_utf8(value.clone()?).ok()
    };
    let event_type = text("event-type");
    let headers: Vec<(&str, Option<String>)> = message
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str(), value.as_deref().map(|v| String::from_utf8_lossy(v).into_owned()))
        })
        .collect();
    let letter = Letter {
        consumer,
        place: message.place,
        position: None,
        kafka_offset: Some(message.offset),
        event_id: None,
        event_type: event_type.as_deref(),
        subject_id: None,
        key: message.key.clone(),
        payload: message.payload.clone(),
        headers: serde_json::to_string(&headers).ok(),
        kind: Kind::Foreign,
        reason: &message.reason,
        attempts: 0,
    };
    letter.insert(transaction, now).await
}

struct Letter<'a> {
    consumer: &'a str,
    place: Place,
    position: Option<i64>,
    kafka_offset: Option<i64>,
    event_id: Option<Uuid>,
    event_type: Option<&'a str>,
    subject_id: Option<Uuid>,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: Option<String>,
    kind: Kind,
    reason: &'a str,
    attempts: u32,
}

impl Letter<'_> {
    async fn insert(self, transaction: &mut dyn Transaction, now: Timestamp) -> Result<(), ReadError> {
        let (stream, lane) = self.place;
        let reason: String = self.reason.chars().take(REASON_CHARS_MAX).collect();
        let sql = "insert into dead_letters (id, consumer, stream, lane, position, kafka_offset, event_id, \
             event_type, subject_id, key, payload, headers, kind, reason, attempts, state, created_at, \
             ended_at) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
             on conflict (consumer, stream, lane, position) where state = 1 do nothing";
        let (state, ended_at) = match self.kind {
            Kind::Skipped => (State::Discarded, Some(now.as_micros())),
            Kind::Poison | Kind::Parked | Kind::Foreign => (State::Open, None),
        };
        let params = vec![
            Uuid::now_v7().into(),
            self.consumer.into(),
            stream.number().into(),
            i64::from(lane.0).into(),
            self.position.into(),
            self.kafka_offset.into(),
            self.event_id.into(),
            self.event_type.into(),
            self.subject_id.into(),
            self.key.into(),
            self.payload.into(),
            self.headers.into(),
            (self.kind as i64).into(),
            reason.into(),
            i64::from(self.attempts).into(),
            (state as i64).into(),
            now.as_micros().into(),
            ended_at.into(),
        ];
        transaction.execute(sql, params).await.map(|_| ())
    }
}

/// The positions of a place, behind one and up to another, whose events are open dead letters.
pub async fn open_between(
    transaction: &mut dyn Transaction,
    consumer: &str,
    (stream, lane): Place,
    (behind, until): (i64, i64),
) -> Result<HashSet<i64>, ReadError> {
    let sql = "select position from dead_letters where consumer = $1 and stream = $2 and lane = $3 \
         and position > $4 and position <= $5 and state = 1";
    let params =
        vec![consumer.into(), stream.number().into(), i64::from(lane.0).into(), behind.into(), until.into()];
    transaction.query(sql, params).await?.iter().map(|row| row.int(0)).collect()
}

/// Which of the events' subjects have an open dead letter of this consumer. One look-up when it has none.
pub async fn blocked(
    transaction: &mut dyn Transaction,
    consumer: &str,
    events: &[LogEvent],
) -> Result<HashSet<Uuid>, ReadError> {
    let any =
        "select 1 from dead_letters where consumer = $1 and state = 1 and subject_id is not null limit 1";
    if events.is_empty() || transaction.query(any, vec![consumer.into()]).await?.is_empty() {
        return Ok(HashSet::new());
    }
    let subjects: HashSet<Uuid> = events.iter().map(|event| event.subject_id).collect();
    let subjects: Vec<Uuid> = subjects.into_iter().collect();
    let mut blocked = HashSet::new();
    for asked in subjects.chunks(SUBJECTS_A_QUERY_MAX) {
        // Filled up to a power of two with one of them, so that few different statements are prepared.
        let mut asked = asked.to_vec();
        asked.resize(asked.len().next_power_of_two(), asked[0]);
        let places: Vec<String> = (2..asked.len() + 2).map(|n| format!("${n}")).collect();
        let sql = format!(
            "select distinct subject_id from dead_letters where consumer = $1 and state = 1 \
             and subject_id in ({})",
            places.join(", ")
        );
        let mut params: Vec<Value> = vec![consumer.into()];
        params.extend(asked.into_iter().map(Value::from));
        for row in &transaction.query(&sql, params).await? {
            blocked.insert(row.uuid(0)?);
        }
    }
    Ok(blocked)
}
