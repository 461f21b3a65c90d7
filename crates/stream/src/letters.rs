//! Dead letters as people look through them: newest first, by keyset, and in groups by what went wrong.
//!
//! Whatever is asked for, one look goes over [`LETTERS_LOOKED_AT_MAX`] letters at most, and says so when there are more.
//! What they hold is left in the table; [`crate::redrive::select`] gives it.

use std::fmt::{self, Write as _};

use domain::time::Timestamp;
use store::{
    browse::Page,
    error::ReadError,
    queries::PageKey,
    sql::{Dialect, Reads, Value},
};
use uuid::Uuid;

use crate::{
    dead_letter::{Kind, State},
    redrive::{Letter, letter},
};

/// Letters that one look goes over, at most.
pub const LETTERS_LOOKED_AT_MAX: usize = 10_000;
/// Groups that are told, the largest first.
pub const GROUPS_MAX: usize = 50;

/// Which are wanted; what is `None` is not asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub consumer: Option<String>,
    pub state: Option<State>,
    pub kind: Option<Kind>,
    /// A part of the reason.
    pub reason: Option<String>,
}

/// Open letters that went wrong in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub consumer: String,
    pub kind: Kind,
    pub reason: String,
    pub letters: i64,
    /// The newest of them stands for all.
    pub newest: Uuid,
    pub newest_at: Timestamp,
}

const HEAD: &str = "select id, consumer, stream, lane, position, kafka_offset, event_id, event_type, subject_id, \
     null, null, null, kind, reason, attempts, state, created_at, ended_at from dead_letters";

/// A SELECT that grows conditions.
struct Query {
    sql: String,
    params: Vec<Value>,
}

impl Query {
    /// Those of a state before a letter, with what is asked for in every look.
    fn before(select: &str, state: Option<State>, before: Uuid) -> Self {
        let mut query = Self { sql: format!("{select} where "), params: vec![before.into()] };
        // Open letters have an index of their own, however many were ended.
        if let Some(state) = state {
            query.push(format_args!("state = {} and ", state as i64));
        }
        query.sql.push_str("id < $1");
        query
    }

    fn push(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.sql.write_fmt(text);
    }

    fn and(&mut self, left: &str, value: impl Into<Value>, right: &str) {
        self.params.push(value.into());
        let number = self.params.len();
        self.push(format_args!(" and {left} ${number}{right}"));
    }
}

/// A page of them, newest first.
pub async fn list(
    db: &dyn Reads,
    wanted: &Wanted,
    after: Option<PageKey>,
    limit: usize,
) -> Result<Page<Letter>, ReadError> {
    let before = after.map_or(Uuid::max(), |after| after.id);
    let floor = floor(db, wanted, before).await?;
    let mut query = Query::before(HEAD, wanted.state, before);
    if let Some(floor) = floor {
        query.and("id >=", floor.id, "");
    }
    if let Some(consumer) = &wanted.consumer {
        query.and("consumer =", consumer.as_str(), "");
    }
    if let Some(kind) = wanted.kind {
        query.push(format_args!(" and kind = {}", kind as i64));
    }
    if let Some(reason) = &wanted.reason {
        let escaped = reason.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        query.and("lower(reason) like", format!("%{escaped}%"), " escape '\\'");
    }
    // One more than is shown tells whether there is more.
    query.push(format_args!(" order by id desc limit {}", limit.saturating_add(1)));
    let mut rows: Vec<Letter> =
        db.query(&query.sql, query.params).await?.iter().map(letter).collect::<Result<_, _>>()?;
    let is_full = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|letter| PageKey { created_at: letter.created_at, id: letter.id });
    let next = if is_full { last } else { floor };
    Ok(Page { rows, next, is_cut_short: !is_full && floor.is_some() })
}

/// The last letter that a page may look at; `None`: the list ends before.
async fn floor(db: &dyn Reads, wanted: &Wanted, before: Uuid) -> Result<Option<PageKey>, ReadError> {
    // An ended letter is found among all of them.
    let state = wanted.state.filter(|state| *state == State::Open);
    let query = Query::before("select id, created_at from dead_letters", state, before);
    let sql = format!("{} order by id desc limit 1 offset {}", query.sql, LETTERS_LOOKED_AT_MAX - 1);
    let rows = db.query(&sql, query.params).await?;
    let key = rows
        .first()
        .map(|row| Ok(PageKey { id: row.uuid(0)?, created_at: Timestamp::from_micros(row.int(1)?) }));
    key.transpose()
}

/// The newest [`LETTERS_LOOKED_AT_MAX`] open letters in groups, the largest first, and whether there are more letters.
pub async fn groups(db: &dyn Reads) -> Result<(Vec<Group>, bool), ReadError> {
    // PostgreSQL 15 has no max() of ids; their texts are in the same order.
    let id = match db.dialect() {
        Dialect::Sqlite => "hex(id)",
        Dialect::Postgres => "cast(id as text) collate \"C\"",
    };
    let sql = format!(
        "select consumer, kind, reason, count(*) as letters, max({id}) as newest, max(created_at), \
         cast(sum(count(*)) over () as bigint) \
         from (select id, consumer, kind, reason, created_at from dead_letters where state = 1 and id < $1 \
           order by id desc limit {}) looked \
         group by consumer, kind, reason order by letters desc, newest desc limit {GROUPS_MAX}",
        LETTERS_LOOKED_AT_MAX + 1
    );
    let rows = db.query(&sql, vec![Uuid::max().into()]).await?;
    let has_more = match rows.first() {
        Some(row) => row.int(6)? > i64::try_from(LETTERS_LOOKED_AT_MAX).unwrap_or(i64::MAX),
        None => false,
    };
    let group = |row: store::sql::Row<'_>| {
        let unknown = || ReadError::Invalid("a dead letter of an unknown kind".to_owned());
        Ok(Group {
            consumer: row.text(0)?.to_owned(),
            kind: Kind::from_number(row.int(1)?).ok_or_else(unknown)?,
            reason: row.text(2)?.to_owned(),
            letters: row.int(3)?,
            newest: Uuid::try_parse(row.text(4)?)
                .map_err(|_| ReadError::Invalid("an id that is none".to_owned()))?,
            newest_at: Timestamp::from_micros(row.int(5)?),
        })
    };
    let groups: Result<_, ReadError> = rows.iter().map(group).collect();
    Ok((groups?, has_more))
}

/// Open letters that went wrong as this one did, among the newest [`LETTERS_LOOKED_AT_MAX`]; newest first, at most `limit`.
pub async fn like(db: &dyn Reads, one: &Letter, limit: usize) -> Result<Vec<Letter>, ReadError> {
    let wanted = Wanted { state: Some(State::Open), ..Wanted::default() };
    let mut query = Query::before(HEAD, wanted.state, Uuid::max());
    if let Some(floor) = floor(db, &wanted, Uuid::max()).await? {
        query.and("id >=", floor.id, "");
    }
    query.and("consumer =", one.consumer.as_str(), "");
    query.and("reason =", one.reason.as_str(), "");
    query.push(format_args!(" and kind = {} order by id desc limit {limit}", one.kind as i64));
    db.query(&query.sql, query.params).await?.iter().map(letter).collect()
}
