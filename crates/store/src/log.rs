//! The event log, read: by position for consumers, by sequence for whoever folds it, by subject for an
//! answer that is given again.

use std::collections::HashMap;

use domain::{
    chain::{self, GENESIS, Hash, Link},
    event::{Event, EventError, Stream},
    id::{CommandId, EventId, MerchantId, PaymentId, WithdrawalId},
    lane::Lane,
    state::{Outcome, State, Subject},
    time::Timestamp,
};
use telemetry::trace::TraceContext;
use uuid::Uuid;

use crate::{
    batch::{LaneHead, LogEvent, StoredAnswer, SubjectKind},
    error::ReadError,
    queries::moment,
    rows::{HEAD, head_from},
    sql::{Reads, Row, Rows},
};

pub(crate) const EVENT: &str = "select lane, sequence, stream, position, event_id, command_id, event_type, version, \
     occurred_at, merchant_id, subject_id, payload, hash, trace from events";

const SEALED: &str =
    "select sequence, stream, position, version, event_type, occurred_at, payload, hash, lane";

const IDS_OF_A_QUERY: usize = 200;

impl LogEvent {
    /// The event as the domain knows it.
    pub fn parse(&self) -> Result<Event, EventError> {
        let Self { event_id, command_id, occurred_at, event_type, payload, .. } = self;
        Event::parse(*event_id, *command_id, *occurred_at, event_type, payload)
    }
}

/// The events of a (stream, lane) behind a position, in order.
pub async fn behind(
    db: &dyn Reads,
    stream: Stream,
    lane: Lane,
    position: i64,
    limit: usize,
) -> Result<Vec<LogEvent>, ReadError> {
    let sql = format!("{EVENT} where stream = $1 and lane = $2 and position > $3 order by position limit $4");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params = vec![stream.number().into(), i64::from(lane.0).into(), position.into(), limit.into()];
    db.query(&sql, params).await?.iter().map(event_from).collect()
}

/// The events of a (stream, lane) behind a position, up to another one, inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub stream: Stream,
    pub lane: Lane,
    pub behind: i64,
    pub until: i64,
}

/// The events of several spans with one query; in order of lane, stream and position. The spans are few:
/// one a stream and lane.
pub async fn spans(db: &dyn Reads, spans: &[Span]) -> Result<Vec<LogEvent>, ReadError> {
    let mut rows = Vec::with_capacity(spans.len());
    let mut params = Vec::with_capacity(spans.len() * 4);
    for Span { stream, lane, behind, until } in spans {
        let n = params.len();
        let row: Vec<String> = (n + 1..=n + 4).map(|n| format!("cast(${n} as bigint)")).collect();
        rows.push(format!("({})", row.join(", ")));
        params.extend([stream.number().into(), i64::from(lane.0).into(), (*behind).into(), (*until).into()]);
    }
    // A join rather than a union of many: what a database needs to plan it does not grow with the spans.
    let sql = format!(
        "with span (of_stream, of_lane, behind, until) as (values {}) {EVENT} join span \
         on stream = of_stream and lane = of_lane and position > behind and position <= until",
        rows.join(", ")
    );
    let rows = db.query(&sql, params).await?;
    let mut events = rows.iter().map(event_from).collect::<Result<Vec<_>, _>>()?;
    events.sort_unstable_by_key(|event| (event.lane, event.stream.index(), event.position));
    Ok(events)
}

/// The events of a lane behind a sequence, over all streams, in order.
pub async fn behind_sequence(
    db: &dyn Reads,
    lane: Lane,
    sequence: i64,
    limit: usize,
) -> Result<Vec<LogEvent>, ReadError> {
    let sql = format!("{EVENT} where lane = $1 and sequence > $2 order by sequence limit {limit}");
    db.query(&sql, vec![i64::from(lane.0).into(), sequence.into()]).await?.iter().map(event_from).collect()
}

/// A row of the log, readable or not.
pub type Found = Result<LogEvent, ReadError>;

/// The events of a (stream, lane) behind a position, each by its position, readable or not.
pub async fn found_behind(
    db: &dyn Reads,
    stream: Stream,
    lane: Lane,
    position: i64,
    limit: usize,
) -> Result<Vec<(i64, Result<LogEvent, ReadError>)>, ReadError> {
    let sql =
        format!("{EVENT} where stream = $1 and lane = $2 and position > $3 order by position limit {limit}");
    let params = vec![stream.number().into(), i64::from(lane.0).into(), position.into()];
    db.query(&sql, params).await?.iter().map(|row| Ok((row.int(3)?, event_from(row)))).collect()
}

/// The events of a lane behind a sequence, each by its sequence, readable or not.
pub async fn found_behind_sequence(
    db: &dyn Reads,
    lane: Lane,
    sequence: i64,
    limit: usize,
) -> Result<Vec<(i64, Found)>, ReadError> {
    let sql = format!("{EVENT} where lane = $1 and sequence > $2 order by sequence limit {limit}");
    let rows = db.query(&sql, vec![i64::from(lane.0).into(), sequence.into()]).await?;
    rows.iter().map(|row| Ok((row.int(1)?, event_from(row)))).collect()
}

/// What is sealed of events, with their hashes.
#[derive(Debug)]
pub struct Sealed(Rows);

impl Sealed {
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn last(&self) -> Option<SealedRow<'_>> {
        self.0.last().map(SealedRow)
    }

    pub fn iter(&self) -> impl Iterator<Item = SealedRow<'_>> {
        self.0.iter().map(SealedRow)
    }
}

/// What is sealed of an event, with its hash.
#[derive(Debug)]
pub struct SealedRow<'a>(Row<'a>);

impl<'a> SealedRow<'a> {
    pub fn sequence(&self) -> Result<i64, ReadError> {
        self.0.int(0)
    }

    pub fn lane(&self) -> Result<Lane, ReadError> {
        lane(self.0.int(8)?)
    }

    /// Where SQLite appended it; of [`sealed_as_appended`] only.
    pub fn number(&self) -> Result<i64, ReadError> {
        self.0.int(9)
    }

    pub fn link(&self) -> Result<(Link<'a>, Hash), ReadError> {
        let row = self.0;
        let stream = Stream::from_number(row.int(1)?);
        let hash: Result<Hash, _> = row.bytes(7)?.try_into();
        let link = Link {
            stream: stream.ok_or_else(|| ReadError::Invalid("an unknown stream".to_owned()))?,
            lane: self.lane()?,
            position: row.int(2)?,
            sequence: row.int(0)?,
            event_type: row.text(4)?,
            version: version(row.int(3)?)?,
            occurred_at: moment(row.int(5)?),
            payload: row.text(6)?.as_bytes(),
        };
        Ok((link, hash.unwrap_or(GENESIS)))
    }
}

/// What is sealed of the events of a lane behind a sequence, in order.
pub async fn sealed(db: &dyn Reads, lane: Lane, sequence: i64, limit: usize) -> Result<Sealed, ReadError> {
    let sql =
        format!("{SEALED} from events where lane = $1 and sequence > $2 order by sequence limit {limit}");
    db.query(&sql, vec![i64::from(lane.0).into(), sequence.into()]).await.map(Sealed)
}

/// The same of all lanes, in the order in which SQLite appended them, behind a number of it.
pub async fn sealed_as_appended(db: &dyn Reads, number: i64, limit: usize) -> Result<Sealed, ReadError> {
    let sql = format!("{SEALED}, no from events where no > $1 order by no limit {limit}");
    db.query(&sql, vec![number.into()]).await.map(Sealed)
}

/// What folding an event needs of it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub lane: Lane,
    pub event_id: EventId,
    pub event_type: &'a str,
    pub occurred_at: Timestamp,
    pub merchant_id: MerchantId,
    pub payload: &'a str,
}

impl Step<'_> {
    /// The event as the domain knows it, but for the command.
    pub fn parse(&self) -> Result<Event, EventError> {
        let Self { event_id, occurred_at, event_type, payload, .. } = self;
        Event::parse(*event_id, CommandId(Uuid::nil()), *occurred_at, event_type, payload)
    }
}

/// Steps by their subjects and sequences.
#[derive(Debug)]
pub struct Steps {
    places: Vec<(Uuid, i64)>,
    rows: Rows,
}

impl Steps {
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn last(&self) -> Option<(Uuid, i64)> {
        self.places.last().copied()
    }

    /// Each of them, readable or not.
    pub fn iter(&self) -> impl Iterator<Item = ((Uuid, i64), Result<Step<'_>, ReadError>)> {
        self.places.iter().copied().zip(self.rows.iter().map(step_from))
    }
}

/// Events in the order of their subjects, each subject's in order, behind a subject and a sequence of it.
pub async fn behind_subject(
    db: &dyn Reads,
    subject: Uuid,
    sequence: i64,
    limit: usize,
) -> Result<Steps, ReadError> {
    let sql = format!(
        "select subject_id, sequence, lane, event_id, event_type, occurred_at, merchant_id, payload from events \
         where (subject_id, sequence) > ($1, $2) order by subject_id, sequence limit {limit}"
    );
    let rows = db.query(&sql, vec![subject.into(), sequence.into()]).await?;
    let places: Result<_, ReadError> = rows.iter().map(|row| Ok((row.uuid(0)?, row.int(1)?))).collect();
    Ok(Steps { places: places?, rows })
}

fn step_from(row: Row<'_>) -> Result<Step<'_>, ReadError> {
    Ok(Step {
        lane: lane(row.int(2)?)?,
        event_id: EventId(row.uuid(3)?),
        event_type: row.text(4)?,
        occurred_at: moment(row.int(5)?),
        merchant_id: MerchantId(row.uuid(6)?),
        payload: row.text(7)?,
    })
}

/// Lane and sequence of those of these events that the log has.
pub async fn places(db: &dyn Reads, ids: &[EventId]) -> Result<HashMap<EventId, (Lane, i64)>, ReadError> {
    let mut found = HashMap::new();
    for ids in ids.chunks(IDS_OF_A_QUERY) {
        let places: Vec<String> = (1..=ids.len()).map(|n| format!("${n}")).collect();
        let sql =
            format!("select event_id, lane, sequence from events where event_id in ({})", places.join(", "));
        for row in &db.query(&sql, ids.iter().map(|id| id.0.into()).collect()).await? {
            found.insert(EventId(row.uuid(0)?), (lane(row.int(1)?)?, row.int(2)?));
        }
    }
    Ok(found)
}

pub async fn by_event_id(db: &dyn Reads, id: EventId) -> Result<Option<LogEvent>, ReadError> {
    let rows = db.query(&format!("{EVENT} where event_id = $1"), vec![id.0.into()]).await?;
    rows.first().map(event_from).transpose()
}

/// All that happened to a payment, withdrawal or merchant, in order.
pub async fn by_subject(db: &dyn Reads, subject: Uuid, limit: usize) -> Result<Vec<LogEvent>, ReadError> {
    let sql = format!("{EVENT} where subject_id = $1 order by sequence limit {limit}");
    db.query(&sql, vec![subject.into()]).await?.iter().map(event_from).collect()
}

/// The ends of all lanes.
pub async fn heads(db: &dyn Reads) -> Result<Vec<LaneHead>, ReadError> {
    let rows = db.query(&format!("{HEAD} order by lane"), Vec::new()).await?;
    rows.iter().map(head_from).collect()
}

/// The answer that was given to a request with an idempotency key: its subject, folded from the log up
/// to the sequence that its lane had then.
pub async fn replay(db: &dyn Reads, answer: &StoredAnswer) -> Result<Outcome, ReadError> {
    let (sql, params) = match answer.kind {
        SubjectKind::Payments => (
            format!("{EVENT} where lane = $1 and sequence > $2 and sequence <= $3 order by sequence"),
            vec![
                i64::from(answer.lane.0).into(),
                (answer.sequence - answer.size).into(),
                answer.sequence.into(),
            ],
        ),
        SubjectKind::Merchant | SubjectKind::Payment | SubjectKind::Withdrawal => (
            format!("{EVENT} where subject_id = $1 and sequence <= $2 order by sequence"),
            vec![answer.subject_id.into(), answer.sequence.into()],
        ),
    };
    let mut state = State::default();
    let mut created = Vec::new();
    for row in &db.query(&sql, params).await? {
        let event = event_from(row)?.parse().map_err(|error| ReadError::Invalid(error.to_string()))?;
        state.apply_resource(&event).map_err(|error| ReadError::Invalid(error.to_string()))?;
        created.extend(event.body.payment_id());
    }
    let subject = match answer.kind {
        SubjectKind::Merchant => Subject::Merchant(MerchantId(answer.subject_id)),
        SubjectKind::Payment => Subject::Payment(PaymentId(answer.subject_id)),
        SubjectKind::Payments => Subject::Payments(created),
        SubjectKind::Withdrawal => Subject::Withdrawal(WithdrawalId(answer.subject_id)),
    };
    let missing = || ReadError::Invalid("the log does not hold what an idempotency key speaks of".to_owned());
    state.outcome(&subject).ok_or_else(missing)
}

/// What is wrong with an event, seen from the one before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("lane {lane}: sequence {expected} is missing, {found} follows")]
    SequenceGap { lane: Lane, expected: i64, found: i64 },
    #[error("{} lane {lane}: position {expected} is missing, {found} follows", stream.name())]
    PositionGap { stream: Stream, lane: Lane, expected: i64, found: i64 },
    #[error("{} lane {lane} position {position}: the event is not the one that was sealed", stream.name())]
    Altered { stream: Stream, lane: Lane, position: i64 },
    #[error("lane {lane} sequence {sequence}: the time is earlier than that of the event before")]
    ClockRanBack { lane: Lane, sequence: i64 },
    #[error("lane {lane}: the head says {head:?} and the log ends at {log:?}")]
    HeadDiffers { lane: Lane, head: Box<LaneHead>, log: Box<LaneHead> },
}

/// Checks a lane event by event: sequences and positions without gaps, the chain, the clock.
#[derive(Debug)]
pub struct Verifier {
    lane: LaneHead,
}

impl Verifier {
    pub const fn new(lane: Lane) -> Self {
        Self { lane: LaneHead::empty(lane) }
    }

    /// Goes on behind the place that another one had reached.
    pub const fn behind(reached: LaneHead) -> Self {
        Self { lane: reached }
    }

    pub const fn reached(&self) -> &LaneHead {
        &self.lane
    }

    /// The next event of the lane in order of sequence. After a flaw the walk goes on from the event
    /// itself, so that one flaw is told once.
    pub fn next(&mut self, event: &LogEvent) -> Result<(), Flaw> {
        self.next_link(&event.link(), event.hash)
    }

    /// The same by what is sealed of the event.
    pub fn next_link(&mut self, link: &Link<'_>, hash: Hash) -> Result<(), Flaw> {
        let &Link { stream, lane, position, sequence, occurred_at, .. } = link;
        let (last_position, last_hash): (i64, Hash) = self.lane.streams[stream.index()];
        let expected_sequence = self.lane.sequence + 1;
        let clock = self.lane.clock;
        self.lane.sequence = sequence;
        self.lane.clock = occurred_at;
        self.lane.streams[stream.index()] = (position, hash);
        if sequence != expected_sequence {
            return Err(Flaw::SequenceGap { lane, expected: expected_sequence, found: sequence });
        }
        if position != last_position + 1 {
            return Err(Flaw::PositionGap { stream, lane, expected: last_position + 1, found: position });
        }
        if chain::seal(&last_hash, link) != hash {
            return Err(Flaw::Altered { stream, lane, position });
        }
        if occurred_at < clock {
            return Err(Flaw::ClockRanBack { lane, sequence });
        }
        Ok(())
    }

    /// Whether the lane ends where its head says.
    pub fn end(&self, head: &LaneHead) -> Result<(), Flaw> {
        if *head == self.lane {
            return Ok(());
        }
        Err(Flaw::HeadDiffers {
            lane: head.lane,
            head: Box::new(head.clone()),
            log: Box::new(self.lane.clone()),
        })
    }

    /// Goes past an event that cannot be read. What follows it in its stream does not follow from the one before.
    pub const fn pass(&mut self, sequence: i64) {
        self.lane.sequence = sequence;
    }

    pub const fn sequence(&self) -> i64 {
        self.lane.sequence
    }
}

pub(crate) fn lane(number: i64) -> Result<Lane, ReadError> {
    u16::try_from(number).map(Lane).map_err(|_| ReadError::Invalid("a lane below zero".to_owned()))
}

fn version(number: i64) -> Result<u16, ReadError> {
    u16::try_from(number).map_err(|_| ReadError::Invalid("a version below zero".to_owned()))
}

pub(crate) fn event_from(row: Row<'_>) -> Result<LogEvent, ReadError> {
    let version = version(row.int(7)?)?;
    let stream = Stream::from_number(row.int(2)?);
    let hash: Result<Hash, _> = row.bytes(12)?.try_into();
    Ok(LogEvent {
        lane: lane(row.int(0)?)?,
        sequence: row.int(1)?,
        stream: stream.ok_or_else(|| ReadError::Invalid("an unknown stream".to_owned()))?,
        position: row.int(3)?,
        event_id: EventId(row.uuid(4)?),
        command_id: CommandId(row.uuid(5)?),
        event_type: row.text(6)?.to_owned(),
        version,
        occurred_at: moment(row.int(8)?),
        merchant_id: MerchantId(row.uuid(9)?),
        subject_id: row.uuid(10)?,
        payload: row.text(11)?.to_owned(),
        hash: hash.unwrap_or(GENESIS),
        trace: row.opt_bytes(13)?.and_then(TraceContext::from_bytes),
    })
}
