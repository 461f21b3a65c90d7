//! Events that a consumer could not handle, kept with the later ones of the same payment.

use std::collections::HashSet;

use domain::time::Timestamp;
use store::{batch::LogEvent, error::ReadError, sql::Transaction};
use uuid::Uuid;

/// A longer reason is cut: it may quote what the handler met.
const REASON_CHARS_MAX: usize = 1000;

/// Why an event is set aside.
pub enum Cause<'a> {
    /// Its own handling failed this often, the last time for this reason.
    Poison { reason: &'a str, attempts: u32 },
    /// An earlier event of the same payment is a dead letter.
    Parked,
}

/// Stores an event verbatim as a dead letter.
pub async fn park(
    transaction: &mut dyn Transaction,
    consumer: &str,
    event: &LogEvent,
    cause: &Cause<'_>,
    now: Timestamp,
) -> Result<(), ReadError> {
    let (reason, attempts, is_parked) = match cause {
        Cause::Poison { reason, attempts } => (*reason, *attempts, 0_i64),
        Cause::Parked => ("an earlier event of the same subject is a dead letter", 0, 1),
    };
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let sql = "insert into dead_letters (consumer, stream, lane, position, event_id, event_type, merchant_id, \
         subject_id, payload, reason, attempts, is_parked, created_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let params = vec![
        consumer.into(),
        event.stream.number().into(),
        i64::from(event.lane.0).into(),
        event.position.into(),
        event.event_id.0.into(),
        event.event_type.as_str().into(),
        event.merchant_id.0.into(),
        event.subject_id.into(),
        event.payload.as_str().into(),
        reason.into(),
        i64::from(attempts).into(),
        is_parked.into(),
        now.as_micros().into(),
    ];
    transaction.execute(sql, params).await.map(|_| ())
}

/// Which of the events' subjects have a dead letter of this consumer. One look-up when it has none.
pub async fn blocked(
    transaction: &mut dyn Transaction,
    consumer: &str,
    events: &[LogEvent],
) -> Result<HashSet<Uuid>, ReadError> {
    let any = "select 1 from dead_letters where consumer = $1 limit 1";
    if transaction.query(any, vec![consumer.into()]).await?.is_empty() {
        return Ok(HashSet::new());
    }
    let mut blocked = HashSet::new();
    let mut asked = HashSet::new();
    for event in events {
        if !asked.insert(event.subject_id) {
            continue;
        }
        let sql = "select 1 from dead_letters where consumer = $1 and lane = $2 and subject_id = $3 limit 1";
        let params = vec![consumer.into(), i64::from(event.lane.0).into(), event.subject_id.into()];
        if !transaction.query(sql, params).await?.is_empty() {
            blocked.insert(event.subject_id);
        }
    }
    Ok(blocked)
}
