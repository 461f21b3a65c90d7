//! What people do with dead letters: look at them, redrive them, discard them.
//!
//! A redrive works on a subject (a payment, a withdrawal, a merchant): its dead letters are handled in their order,
//! each in a transaction of its own, and it stops at the first that fails again. While it handles one, it holds the
//! consumer's position of that place, so the running consumer either sees the queue or finds it empty: later events
//! of the subject join the queue until then. Every change leaves an audit line.

use std::{panic::AssertUnwindSafe, sync::Arc};

use domain::time::Timestamp;
use futures_util::FutureExt as _;
use serde_json::json;
use store::{
    Store,
    audit::{self, Actor},
    error::ReadError,
    log::{self, Span},
    sql::{Reads, Row, Value},
};
use telemetry::{metrics, metrics::Handled};
use uuid::Uuid;

use crate::{
    consumer::{Consumer, HandleError},
    dead_letter::{Kind, State},
    measure::{How, Spans},
    position::{self, Place},
};

/// Which dead letters are meant. What is `None` is not asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub ids: Vec<Uuid>,
    pub consumer: Option<String>,
    /// A part of the reason.
    pub reason: Option<String>,
    /// Of this payment, withdrawal or merchant.
    pub subject: Option<Uuid>,
    pub state: Option<State>,
    /// Only those behind this one, for the next page.
    pub behind: Option<Uuid>,
}

/// A dead letter as people see it.
#[derive(Clone, Debug)]
pub struct Letter {
    pub id: Uuid,
    pub consumer: String,
    pub place: Place,
    pub position: Option<i64>,
    pub kafka_offset: Option<i64>,
    pub event_id: Option<Uuid>,
    pub event_type: Option<String>,
    pub subject_id: Option<Uuid>,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Option<String>,
    pub kind: Kind,
    pub reason: String,
    pub attempts: i64,
    pub state: State,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

const LETTER: &str = "select id, consumer, stream, lane, position, kafka_offset, event_id, event_type, subject_id, \
     key, payload, headers, kind, reason, attempts, state, created_at, ended_at from dead_letters";

/// Dead letters in the order in which they came, at most `limit`.
pub async fn select(db: &dyn Reads, selection: &Selection, limit: usize) -> Result<Vec<Letter>, ReadError> {
    let mut wheres = vec!["1 = 1".to_owned()];
    let mut params: Vec<Value> = Vec::new();
    if !selection.ids.is_empty() {
        let first = params.len() + 1;
        let places: Vec<String> = (first..first + selection.ids.len()).map(|n| format!("${n}")).collect();
        params.extend(selection.ids.iter().map(|id| Value::from(*id)));
        wheres.push(format!("id in ({})", places.join(", ")));
    }
    if let Some(consumer) = &selection.consumer {
        params.push(consumer.as_str().into());
        wheres.push(format!("consumer = ${}", params.len()));
    }
    if let Some(reason) = &selection.reason {
        let escaped = reason.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        params.push(format!("%{escaped}%").into());
        wheres.push(format!("reason like ${} escape '\\'", params.len()));
    }
    if let Some(subject) = selection.subject {
        params.push(subject.into());
        wheres.push(format!("subject_id = ${}", params.len()));
    }
    if let Some(state) = selection.state {
        wheres.push(format!("state = {}", state as i64));
    }
    if let Some(behind) = selection.behind {
        params.push(behind.into());
        wheres.push(format!("id > ${}", params.len()));
    }
    let sql = format!("{LETTER} where {} order by id limit {limit}", wheres.join(" and "));
    db.query(&sql, params).await?.iter().map(letter).collect()
}

pub(crate) fn letter(row: Row<'_>) -> Result<Letter, ReadError> {
    let unknown = || ReadError::Invalid("a dead letter of an unknown kind or state".to_owned());
    Ok(Letter {
        id: row.uuid(0)?,
        consumer: row.text(1)?.to_owned(),
        place: position::place(row, 2)?,
        position: row.opt_int(4)?,
        kafka_offset: row.opt_int(5)?,
        event_id: row.opt_uuid(6)?,
        event_type: row.opt_text(7)?.map(str::to_owned),
        subject_id: row.opt_uuid(8)?,
        key: row.opt_bytes(9)?.map(<[u8]>::to_vec),
        payload: row.opt_bytes(10)?.map(<[u8]>::to_vec),
        headers: row.opt_text(11)?.map(str::to_owned),
        kind: Kind::from_number(row.int(12)?).ok_or_else(unknown)?,
        reason: row.text(13)?.to_owned(),
        attempts: row.int(14)?,
        state: State::from_number(row.int(15)?).ok_or_else(unknown)?,
        created_at: Timestamp::from_micros(row.int(16)?),
        ended_at: row.opt_int(17)?.map(Timestamp::from_micros),
    })
}

/// What became of a subject's dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    pub handled: usize,
    /// Why the next one failed again; it and those behind it stay.
    pub failed: Option<String>,
}

/// Handles the dead letters of a letter's subject, in their order.
pub async fn redrive(
    store: &Store,
    consumer: &Arc<dyn Consumer>,
    letter: &Letter,
    actor: &Actor,
) -> Result<Redriven, ReadError> {
    let mut redriven = Redriven { handled: 0, failed: None };
    let Some(subject) = letter.subject_id else {
        redriven.failed =
            Some("a message that is not of this log cannot be redriven, only discarded".to_owned());
        return Ok(redriven);
    };
    loop {
        match redrive_next(store, consumer.as_ref(), letter.place, subject, actor).await? {
            Next::Handled => {
                count(consumer.name(), "handled");
                redriven.handled += 1;
            }
            Next::None => return Ok(redriven),
            Next::Failed(id, reason) => {
                count(consumer.name(), "failed");
                note_failure(store, id, &reason, actor).await?;
                redriven.failed = Some(reason);
                return Ok(redriven);
            }
        }
    }
}

fn count(consumer: &'static str, outcome: &'static str) {
    metrics().dead_letters_redriven.get_or_create(&Handled { consumer, outcome }).inc();
}

enum Next {
    Handled,
    Failed(Uuid, String),
    None,
}

/// The first open dead letter of a subject: handled and ended in one transaction.
async fn redrive_next(
    store: &Store,
    consumer: &dyn Consumer,
    place: Place,
    subject: Uuid,
    actor: &Actor,
) -> Result<Next, ReadError> {
    let now = store.now();
    let mut transaction = store.begin().await?;
    position::hold(transaction.as_mut(), consumer.name(), place).await?;
    let sql = "select id, position from dead_letters \
         where consumer = $1 and subject_id = $2 and state = 1 order by position limit 1";
    let rows = transaction.query(sql, vec![consumer.name().into(), subject.into()]).await?;
    let Some(row) = rows.first() else { return Ok(Next::None) };
    let (id, position) = (row.uuid(0)?, row.int(1)?);
    let span = Span { stream: place.0, lane: place.1, behind: position - 1, until: position };
    let events = log::spans(store.reads(), &[span]).await?;
    if events.is_empty() {
        return Ok(Next::Failed(id, "the event is not in the log".to_owned()));
    }
    #[cfg(debug_assertions)]
    if let Err(error) = crate::fail::handle(&events) {
        return Ok(Next::Failed(id, error.to_string()));
    }
    let spans = Spans::begin(consumer.name(), &events, How::Again);
    let handled = AssertUnwindSafe(consumer.handle(&events, transaction.as_mut()))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(HandleError::Poison("the handler panicked".to_owned())));
    if let Err(error) = handled {
        return Ok(Next::Failed(id, error.to_string()));
    }
    end(transaction.as_mut(), id, State::Redriven, now).await?;
    let detail =
        json!({"consumer": consumer.name(), "subject": subject, "position": position, "outcome": "handled"});
    audit::write(transaction.as_mut(), actor, "dead-letter.redrive", &id.to_string(), &detail, now).await?;
    transaction.commit().await?;
    spans.committed();
    Ok(Next::Handled)
}

async fn note_failure(store: &Store, id: Uuid, reason: &str, actor: &Actor) -> Result<(), ReadError> {
    let now = store.now();
    let mut transaction = store.begin().await?;
    let sql = "update dead_letters set attempts = attempts + 1 where id = $1 and state = 1";
    transaction.execute(sql, vec![id.into()]).await?;
    let detail = json!({"outcome": "failed", "reason": reason});
    audit::write(transaction.as_mut(), actor, "dead-letter.redrive", &id.to_string(), &detail, now).await?;
    transaction.commit().await
}

/// Ends a dead letter without handling it; gives whether it was open.
pub async fn discard(store: &Store, letter: &Letter, actor: &Actor) -> Result<bool, ReadError> {
    let now = store.now();
    let mut transaction = store.begin().await?;
    position::hold(transaction.as_mut(), &letter.consumer, letter.place).await?;
    if !end(transaction.as_mut(), letter.id, State::Discarded, now).await? {
        return Ok(false);
    }
    let detail = json!({
        "consumer": letter.consumer, "eventId": letter.event_id, "subject": letter.subject_id,
        "kind": letter.kind.name(), "reason": letter.reason,
    });
    audit::write(transaction.as_mut(), actor, "dead-letter.discard", &letter.id.to_string(), &detail, now)
        .await?;
    transaction.commit().await?;
    Ok(true)
}

async fn end(
    transaction: &mut dyn store::sql::Transaction,
    id: Uuid,
    state: State,
    now: Timestamp,
) -> Result<bool, ReadError> {
    let sql = "update dead_letters set state = $2, ended_at = $3 where id = $1 and state = 1";
    let params = vec![id.into(), (state as i64).into(), now.as_micros().into()];
    Ok(transaction.execute(sql, params).await? == 1)
}
