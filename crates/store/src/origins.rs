//! Who asked for what was done by commands. The event log says what a command changed, before and after; who asked, and
//! under which id of a request, is written beside it in the same transaction, and never changed.
//!
//! There is a row only for a command that took effect and whose caller has a name: none for a refusal, for an answer
//! that was given again, for one that changed nothing, or under open access.

use std::collections::HashMap;

use domain::{
    event::Stream,
    id::{CommandId, MerchantId},
    lane::Lane,
    time::Timestamp,
};
use uuid::Uuid;

use crate::{
    error::ReadError,
    queries::{Query, moment},
    request::Origin,
    sql::{Reads, Row, Value},
};

/// Of a command's events, a list shows the first ones; how many there are is told.
pub const EVENTS_SHOWN_MAX: i64 = 5;
/// Rows that a page looks at, at most, when several conditions must hold at once.
pub const ROWS_LOOKED_AT_MAX: usize = 10_000;

const IDS_OF_A_QUERY: usize = 200;

const ORIGIN: &str =
    "select command_id, at, actor, request_id, merchant_id, lane, sequence, events from command_origins";

/// A command that took effect, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOrigin {
    pub command_id: CommandId,
    /// When its events occurred.
    pub at: Timestamp,
    pub origin: Origin,
    pub merchant_id: MerchantId,
    pub lane: Lane,
    /// Of its first event; the others follow it without a gap.
    pub sequence: i64,
    /// At least one.
    pub events: i64,
}

/// One thing that a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    pub sequence: i64,
    pub stream: Stream,
    pub position: i64,
    pub event_type: String,
    /// The payment, withdrawal or merchant that it happened to.
    pub subject_id: Uuid,
}

/// A line of the list: the command, and the first of its deeds, at most [`EVENTS_SHOWN_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub command: CommandOrigin,
    pub deeds: Vec<Deed>,
}

/// Which lines are wanted; all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct OriginFilter {
    pub actor: Option<String>,
    pub request_id: Option<String>,
    pub merchant: Option<MerchantId>,
}

/// A page of lines, newest first.
#[derive(Clone, Debug)]
pub struct OriginPage {
    pub lines: Vec<Line>,
    /// Where the next page begins, behind it; `None`: there is nothing more.
    pub next: Option<CommandId>,
    /// The page ended because it had looked at [`ROWS_LOOKED_AT_MAX`] rows, not because it was full.
    pub is_cut_short: bool,
}

/// Who asked for these commands; without those of which it is not known.
pub async fn origins_of(
    db: &dyn Reads,
    ids: &[CommandId],
) -> Result<HashMap<CommandId, CommandOrigin>, ReadError> {
    let mut found = HashMap::new();
    for ids in ids.chunks(IDS_OF_A_QUERY) {
        let places: Vec<String> = (1..=ids.len()).map(|n| format!("${n}")).collect();
        let sql = format!("{ORIGIN} where command_id in ({})", places.join(", "));
        for row in &db.query(&sql, ids.iter().map(|id| id.0.into()).collect()).await? {
            let origin = origin_from(row)?;
            found.insert(origin.command_id, origin);
        }
    }
    Ok(found)
}

/// Commands by their ids, newest first: an id begins with the moment at which the command arrived.
pub async fn list(
    db: &dyn Reads,
    filter: &OriginFilter,
    after: Option<CommandId>,
    limit: usize,
) -> Result<OriginPage, ReadError> {
    let conditions = filter.conditions();
    let floor = if conditions.len() > 1 { floor(db, &conditions, after).await? } else { None };
    let mut query = Query::new(ORIGIN);
    for (left, value) in &conditions {
        query.and(left, value.clone());
    }
    begin(&mut query, after);
    if let Some(floor) = floor {
        query.and("command_id >=", floor.0);
    }
    // One more than is shown tells whether there is more.
    let sql = format!("{} order by command_id desc limit {}", query.sql, limit + 1);
    let rows = db.query(&sql, query.params).await?;
    let mut commands = rows.iter().map(origin_from).collect::<Result<Vec<_>, _>>()?;
    let is_full = commands.len() > limit;
    commands.truncate(limit);
    let next = if is_full { commands.last().map(|command| command.command_id) } else { floor };
    Ok(OriginPage { lines: with_deeds(db, commands).await?, next, is_cut_short: !is_full && floor.is_some() })
}

impl OriginFilter {
    /// The one that fewest rows are expected to meet stands first: its index is gone by.
    fn conditions(&self) -> Vec<(&'static str, Value)> {
        let conditions = [
            ("request_id =", self.request_id.as_deref().map(Value::from)),
            ("merchant_id =", self.merchant.map(|merchant| merchant.0.into())),
            ("actor =", self.actor.as_deref().map(Value::from)),
        ];
        conditions.into_iter().filter_map(|(left, value)| Some((left, value?))).collect()
    }
}

/// The last row that a page may look at, by the first condition; `None`: what meets it ends before.
async fn floor(
    db: &dyn Reads,
    conditions: &[(&'static str, Value)],
    after: Option<CommandId>,
) -> Result<Option<CommandId>, ReadError> {
    let mut query = Query::new("select command_id from command_origins");
    if let Some((left, value)) = conditions.first() {
        query.and(left, value.clone());
    }
    begin(&mut query, after);
    let sql = format!("{} order by command_id desc limit 1 offset {}", query.sql, ROWS_LOOKED_AT_MAX - 1);
    let rows = db.query(&sql, query.params).await?;
    rows.first().map(|row| row.uuid(0).map(CommandId)).transpose()
}

fn begin(query: &mut Query, after: Option<CommandId>) {
    if let Some(after) = after {
        query.and("command_id <", after.0);
    }
}

/// One query for the deeds of all commands of a page, by the key of the log.
async fn with_deeds(db: &dyn Reads, commands: Vec<CommandOrigin>) -> Result<Vec<Line>, ReadError> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let mut spans = Vec::with_capacity(commands.len());
    let mut params = Vec::with_capacity(commands.len() * 3);
    for command in &commands {
        let n = params.len();
        let span: Vec<String> = (n + 1..=n + 3).map(|n| format!("cast(${n} as bigint)")).collect();
        spans.push(format!("({})", span.join(", ")));
        let last = command.sequence + command.events.min(EVENTS_SHOWN_MAX) - 1;
        params.extend([i64::from(command.lane.0).into(), command.sequence.into(), last.into()]);
    }
    let sql = format!(
        "with span (of_lane, from_sequence, to_sequence) as (values {}) \
         select lane, sequence, stream, position, event_type, subject_id from events join span \
         on lane = of_lane and sequence >= from_sequence and sequence <= to_sequence",
        spans.join(", ")
    );
    let rows = db.query(&sql, params).await?;
    let mut deeds: HashMap<(i64, i64), Deed> = HashMap::with_capacity(rows.len());
    for row in &rows {
        deeds.insert((row.int(0)?, row.int(1)?), deed_from(row)?);
    }
    let lines = commands.into_iter().map(|command| {
        let lane = i64::from(command.lane.0);
        let shown = command.sequence..command.sequence + command.events.min(EVENTS_SHOWN_MAX);
        Line { deeds: shown.filter_map(|sequence| deeds.remove(&(lane, sequence))).collect(), command }
    });
    Ok(lines.collect())
}

fn deed_from(row: Row<'_>) -> Result<Deed, ReadError> {
    let stream = Stream::from_number(row.int(2)?);
    Ok(Deed {
        sequence: row.int(1)?,
        stream: stream.ok_or_else(|| ReadError::Invalid("an unknown stream".to_owned()))?,
        position: row.int(3)?,
        event_type: row.text(4)?.to_owned(),
        subject_id: row.uuid(5)?,
    })
}

fn origin_from(row: Row<'_>) -> Result<CommandOrigin, ReadError> {
    let lane = u16::try_from(row.int(5)?).map_err(|_| ReadError::Invalid("a lane below zero".to_owned()))?;
    Ok(CommandOrigin {
        command_id: CommandId(row.uuid(0)?),
        at: moment(row.int(1)?),
        origin: Origin::new(row.text(2)?, row.text(3)?),
        merchant_id: MerchantId(row.uuid(4)?),
        lane: Lane(lane),
        sequence: row.int(6)?,
        events: row.int(7)?,
    })
}
