//! What a person has in the hand, and what it belongs to: the id of a command, or of a request.

use domain::id::{CommandId, IdSource};

use crate::{
    batch::LogEvent,
    error::ReadError,
    log::{EVENT, event_from},
    sql::Reads,
};

/// What a command creates is numbered from its id (`domain::id`). Before its first event it numbers what that creates: a
/// payment or a withdrawal, and the entries of its bookings.
const IDS_BEFORE_FIRST_EVENT_MAX: usize = 6;

/// The first event of a command; the log has no index by commands, and needs none: the event's id follows from the
/// command's.
pub async fn first_event(db: &dyn Reads, command: CommandId) -> Result<Option<LogEvent>, ReadError> {
    let mut ids = IdSource::new(command);
    let numbered: Vec<_> = (0..=IDS_BEFORE_FIRST_EVENT_MAX).map(|_| ids.next_id().into()).collect();
    let places: Vec<String> = (1..=numbered.len()).map(|n| format!("${n}")).collect();
    let sql = format!("{EVENT} where event_id in ({})", places.join(", "));
    let rows = db.query(&sql, numbered).await?;
    let events = rows.iter().map(event_from).collect::<Result<Vec<_>, _>>()?;
    Ok(events.into_iter().filter(|event| event.command_id == command).min_by_key(|event| event.sequence))
}

/// How many lines of the audit log have this id of a request, up to `limit`.
pub async fn audit_lines(db: &dyn Reads, request_id: &str, limit: usize) -> Result<usize, ReadError> {
    let sql = format!("select id from audit_log where request_id = $1 limit {limit}");
    Ok(db.query(&sql, vec![request_id.into()]).await?.len())
}
