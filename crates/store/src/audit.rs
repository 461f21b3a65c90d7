//! The audit log: who changed what by hand, when and why. A line is written in the transaction of the change, so there is
//! no change without its line and no line without its change. Lines are never changed, and never deleted.

use domain::time::Timestamp;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::{
    browse::{Page, ROWS_LOOKED_AT_MAX, span},
    error::ReadError,
    queries::{PageKey, Query, moment},
    sql::{Reads, Row, Transaction},
};

/// Who acts, and why.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `key fk_live_ab12`, `operator anna`, or the user of a machine where a command was typed.
    pub name: String,
    pub why: String,
    /// Of the HTTP request, if it was one.
    pub request_id: Option<String>,
}

impl Actor {
    pub fn new(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), why: why.into(), request_id: None }
    }

    #[must_use]
    pub fn of_request(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}

/// A line as people read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub id: Uuid,
    pub at: Timestamp,
    pub actor: String,
    /// `key.create`, `dead-letter.redrive` …: what it is about, a dot, and what was done.
    pub action: String,
    pub subject: String,
    /// What was, what is, and whatever else belongs to the change.
    pub detail: Json,
    pub reason: String,
    pub request_id: Option<String>,
}

/// Which lines are wanted; what is `None` is not asked for. Both ends of the time are inclusive.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub actor: Option<String>,
    /// What the action begins with: `key.`
    pub action_prefix: Option<String>,
    pub subject: Option<String>,
    pub request_id: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

pub async fn write(
    transaction: &mut dyn Transaction,
    actor: &Actor,
    action: &str,
    subject: &str,
    detail: &Json,
    now: Timestamp,
) -> Result<(), ReadError> {
    let sql = "insert into audit_log (id, at, actor, action, subject, detail, reason, request_id) \
         values ($1, $2, $3, $4, $5, $6, $7, $8)";
    let params = vec![
        Uuid::now_v7().into(),
        now.as_micros().into(),
        actor.name.as_str().into(),
        action.into(),
        subject.into(),
        detail.to_string().into(),
        actor.why.as_str().into(),
        actor.request_id.as_deref().into(),
    ];
    transaction.execute(sql, params).await.map(|_| ())
}

/// Lines, newest first. A page looks at [`ROWS_LOOKED_AT_MAX`] rows at most: no index has actions by their beginning in
/// the order of time.
pub async fn list(
    db: &dyn Reads,
    filter: &Filter,
    after: Option<PageKey>,
    limit: usize,
) -> Result<Page<Line>, ReadError> {
    let floor = if filter.is_searched() { floor(db, filter, after).await? } else { None };
    let mut query =
        Query::new("select id, at, actor, action, subject, detail, reason, request_id from audit_log");
    filter.begin(&mut query, floor, after);
    if let Some(prefix) = &filter.action_prefix {
        query.and(&format!("substr(action, 1, {}) =", prefix.chars().count()), prefix.as_str());
    }
    // One more than is shown tells whether there is more.
    query.sql.push_str(ORDER);
    query.sql.push_str(&limit.saturating_add(1).to_string());
    let found = db.query(&query.sql, query.params).await?;
    let mut rows = found.iter().map(line_from).collect::<Result<Vec<_>, _>>()?;
    let is_full = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|line| PageKey { created_at: line.at, id: line.id });
    let next = if is_full { last } else { floor };
    Ok(Page { rows, next, is_cut_short: !is_full && floor.is_some() })
}

const ORDER: &str = " order by at desc, id desc limit ";

/// The last row that a page may look at; `None`: the list ends before.
async fn floor(
    db: &dyn Reads,
    filter: &Filter,
    after: Option<PageKey>,
) -> Result<Option<PageKey>, ReadError> {
    let mut query = Query::new("select at, id from audit_log");
    filter.begin(&mut query, None, after);
    query.sql.push_str(ORDER);
    query.sql.push_str("1 offset ");
    query.sql.push_str(&(ROWS_LOOKED_AT_MAX - 1).to_string());
    let rows = db.query(&query.sql, query.params).await?;
    rows.first().map(|row| Ok(PageKey { created_at: moment(row.int(0)?), id: row.uuid(1)? })).transpose()
}

impl Filter {
    /// Whether an index gives rows that are not wanted.
    fn is_searched(&self) -> bool {
        let by_index = [self.actor.is_some(), self.subject.is_some(), self.request_id.is_some()];
        self.action_prefix.is_some() || by_index.into_iter().filter(|is_given| *is_given).count() > 1
    }

    /// What an index gives, and where the page begins and ends.
    fn begin(&self, query: &mut Query, floor: Option<PageKey>, after: Option<PageKey>) {
        if let Some(actor) = &self.actor {
            query.and("actor =", actor.as_str());
        }
        if let Some(subject) = &self.subject {
            query.and("subject =", subject.as_str());
        }
        if let Some(request_id) = &self.request_id {
            query.and("request_id =", request_id.as_str());
        }
        let (lowest, below) = span(self.from, self.to, floor, after);
        for (comparison, key) in [(">=", lowest), ("<", below)] {
            if let Some((at, id)) = key {
                let (at, id) = (query.param(at.as_micros()), query.param(id));
                query.condition(&format!("(at, id) {comparison} ({at}, {id})"));
            }
        }
    }
}

fn line_from(row: Row<'_>) -> Result<Line, ReadError> {
    let detail = row.text(5)?;
    Ok(Line {
        id: row.uuid(0)?,
        at: moment(row.int(1)?),
        actor: row.text(2)?.to_owned(),
        action: row.text(3)?.to_owned(),
        subject: row.text(4)?.to_owned(),
        detail: serde_json::from_str(detail).unwrap_or_else(|_| Json::String(detail.to_owned())),
        reason: row.text(6)?.to_owned(),
        request_id: row.opt_text(7)?.map(str::to_owned),
    })
}
