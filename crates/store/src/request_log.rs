//! A bounded record of requests to the API, for the people who look after it: what was asked, by whom, and how it went.
//!
//! There are no bodies and no queries in it, because they hold what must not be kept. Not every request is kept: how many
//! more there were stands beside those that are, second by second. Rows are written without waiting for the disk, and
//! deleted after some days; nothing that must be proven rests on them.

use std::{cmp::Reverse, collections::HashMap, fmt::Write as _, ops::RangeInclusive};

use domain::{id::MerchantId, time::Timestamp};
use uuid::Uuid;

use crate::{
    Store,
    browse::{Page, ROWS_LOOKED_AT_MAX, bound_ids, id_at},
    error::ReadError,
    queries::{PageKey, Query, moment},
    sql::{Reads, Row, Transaction, Value},
};

/// The least status of an error.
pub const ERROR_STATUS_MIN: u16 = 400;
/// The least status of an error that is not the caller's.
pub const SERVER_ERROR_STATUS_MIN: u16 = 500;

/// Requests that are counted one by one.
const ROWS_TALLIED_MAX: usize = 100_000;

/// Rows of one statement: its text is the same for all full ones, so they are prepared once.
const ROWS_OF_AN_INSERT: usize = 16;
const COLUMNS: &str = "id, at, method, route, path, status, micros, caller, merchant_id, request_id, problem";
const COLUMN_COUNT: usize = 11;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiRequest {
    /// Of [`id_of`] the moment at which it came.
    pub id: Uuid,
    pub at: Timestamp,
    pub method: String,
    /// The route's template; empty: no route has the path.
    pub route: String,
    /// Without the query.
    pub path: String,
    pub status: u16,
    /// Until the head of the answer was ready.
    pub micros: i64,
    /// `key fk_live_ab12`, `open access`, or that nobody knows.
    pub caller: String,
    pub merchant_id: Option<MerchantId>,
    pub request_id: String,
    /// The code of the problem that it was answered with.
    pub problem: Option<String>,
}

/// Requests that were answered and not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Of [`id_of`] the second that they belong to.
    pub id: Uuid,
    pub errors: i64,
    pub changes: i64,
    pub reads: i64,
}

impl LeftOut {
    pub const fn total(&self) -> i64 {
        self.errors.saturating_add(self.changes).saturating_add(self.reads)
    }
}

/// How many requests were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub since: Timestamp,
    pub requests: i64,
    /// Of them with [`ERROR_STATUS_MIN`] or above.
    pub errors: i64,
    /// Of those that were kept with [`SERVER_ERROR_STATUS_MIN`] or above; of the others nobody knows.
    pub server_errors: i64,
}

/// Which requests are wanted; what is `None` is not asked for. Both ends of the time are inclusive.
#[derive(Clone, Debug, Default)]
pub struct RequestsWanted {
    pub request_id: Option<String>,
    pub caller: Option<String>,
    pub method: Option<String>,
    pub route: Option<String>,
    pub problem: Option<String>,
    pub status: Option<RangeInclusive<u16>>,
    pub merchant: Option<MerchantId>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// Errors of the same sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorGroup {
    pub problem: Option<String>,
    pub method: String,
    pub route: String,
    pub status: u16,
    pub requests: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// Of the newest one.
    pub request_id: String,
}

/// The errors among the rows that were looked at.
#[derive(Clone, Debug)]
pub struct Errors {
    /// The most frequent first.
    pub groups: Vec<ErrorGroup>,
    /// Where the next rows begin; `None`: there are no more.
    pub next: Option<PageKey>,
}

/// A new id for a request that came at this moment.
pub fn id_of(at: Timestamp) -> Uuid {
    let micros = u64::try_from(at.as_micros()).unwrap_or_default();
    // RFC 9562 §6.2, method 3: the fraction of the millisecond stands behind the version.
    let fraction = micros % 1000 * 4096 / 1000;
    let (_, random) = Uuid::new_v4().as_u64_pair();
    Uuid::from_u64_pair((micros / 1000) << 16 | 0x7000 | fraction, random)
}

/// Writes all in one transaction. Rows that are there already stay as they are, so that what may have been written can
/// be written again.
pub async fn append(store: &Store, requests: &[ApiRequest], left_out: &[LeftOut]) -> Result<(), ReadError> {
    let mut transaction = store.begin().await?;
    let full = requests.len() - requests.len() % ROWS_OF_AN_INSERT;
    let (full, rest) = requests.split_at(full);
    for rows in full.chunks(ROWS_OF_AN_INSERT) {
        insert(transaction.as_mut(), rows).await?;
    }
    for row in rest.chunks(1) {
        insert(transaction.as_mut(), row).await?;
    }
    for LeftOut { id, errors, changes, reads } in left_out {
        let sql = "insert into api_requests_left_out (id, errors, changes, reads) values ($1, $2, $3, $4) \
             on conflict (id) do nothing";
        let params = vec![(*id).into(), (*errors).into(), (*changes).into(), (*reads).into()];
        transaction.execute(sql, params).await?;
    }
    transaction.commit().await
}

async fn insert(transaction: &mut dyn Transaction, rows: &[ApiRequest]) -> Result<(), ReadError> {
    let mut sql = format!("insert into api_requests ({COLUMNS}) values ");
    let mut params = Vec::with_capacity(rows.len() * COLUMN_COUNT);
    for (n, row) in rows.iter().enumerate() {
        let places: Vec<String> =
            (1..=COLUMN_COUNT).map(|place| format!("${}", n * COLUMN_COUNT + place)).collect();
        let _ = write!(sql, "{}({})", if n == 0 { "" } else { ", " }, places.join(", "));
        params.extend(values(row));
    }
    sql.push_str(" on conflict (id) do nothing");
    transaction.execute(&sql, params).await.map(|_| ())
}

fn values(row: &ApiRequest) -> [Value; COLUMN_COUNT] {
    [
        row.id.into(),
        row.at.as_micros().into(),
        row.method.as_str().into(),
        row.route.as_str().into(),
        row.path.as_str().into(),
        i64::from(row.status).into(),
        row.micros.into(),
        row.caller.as_str().into(),
        row.merchant_id.map(|merchant| merchant.0).into(),
        row.request_id.as_str().into(),
        row.problem.as_deref().into(),
    ]
}

/// Requests, newest first.
pub async fn list(
    db: &dyn Reads,
    wanted: &RequestsWanted,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Page<ApiRequest>, ReadError> {
    let floor = if wanted.is_searched() { floor(db, wanted, after).await? } else { None };
    let mut query = Query::new(&format!("select {COLUMNS} from api_requests"));
    wanted.begin(&mut query, floor, after);
    wanted.narrow(&mut query);
    // One more than is shown tells whether there is more.
    let _ = write!(query.sql, " order by id desc limit {}", limit.saturating_add(1));
    let found = db.query(&query.sql, query.params).await?;
    let mut rows = found.iter().map(request_from).collect::<Result<Vec<_>, _>>()?;
    let is_full = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|row| PageKey { created_at: row.at, id: row.id });
    let next = if is_full { last } else { floor };
    Ok(Page { rows, next, is_cut_short: !is_full && floor.is_some() })
}

/// The errors among the newest [`ROWS_LOOKED_AT_MAX`] requests behind `after`, by what went wrong and where.
pub async fn errors(
    db: &dyn Reads,
    wanted: &RequestsWanted,
    after: Option<Uuid>,
) -> Result<Errors, ReadError> {
    let next = floor(db, wanted, after).await?;
    let mut query = Query::new("select problem, method, route, status, at, request_id from api_requests");
    wanted.begin(&mut query, next, after);
    wanted.narrow(&mut query);
    query.condition(&format!("status >= {ERROR_STATUS_MIN}"));
    query.sql.push_str(" order by id desc");
    let rows = db.query(&query.sql, query.params).await?;
    let mut groups: HashMap<(Option<&str>, &str, &str, i64), ErrorGroup> = HashMap::new();
    for row in &rows {
        let (problem, method, route, status) = (row.opt_text(0)?, row.text(1)?, row.text(2)?, row.int(3)?);
        let at = moment(row.int(4)?);
        if let Some(group) = groups.get_mut(&(problem, method, route, status)) {
            // Newest first: each further one is an older one.
            group.requests += 1;
            group.first_at = at;
            continue;
        }
        let group = ErrorGroup {
            problem: problem.map(str::to_owned),
            method: method.to_owned(),
            route: route.to_owned(),
            status: status_from(status)?,
            requests: 1,
            first_at: at,
            last_at: at,
            request_id: row.text(5)?.to_owned(),
        };
        groups.insert((problem, method, route, status), group);
    }
    let mut groups: Vec<ErrorGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| Reverse((group.requests, group.last_at)));
    Ok(Errors { groups, next })
}

/// How many requests were not kept between two places of the list, the lower one included: of the newest
/// [`ROWS_LOOKED_AT_MAX`] seconds at most, which the flag tells.
pub async fn left_out(
    db: &dyn Reads,
    from: Option<Uuid>,
    before: Option<Uuid>,
) -> Result<(LeftOut, bool), ReadError> {
    let between = |select: &str, from: Option<Uuid>| {
        let mut query = Query::new(select);
        query.and("id >=", from.unwrap_or_default());
        query.and("id <", before.unwrap_or(Uuid::max()));
        query
    };
    let mut query = between("select id from api_requests_left_out", from);
    let _ = write!(query.sql, " order by id desc limit 1 offset {}", ROWS_LOOKED_AT_MAX - 1);
    let rows = db.query(&query.sql, query.params).await?;
    let floor = rows.first().map(|row| row.uuid(0)).transpose()?;
    let sums = ["errors", "changes", "reads"].map(|name| format!("coalesce(cast(sum({name}) as bigint), 0)"));
    let query = between(&format!("select {} from api_requests_left_out", sums.join(", ")), floor.or(from));
    let rows = db.query(&query.sql, query.params).await?;
    let row = rows.first().ok_or_else(|| ReadError::Invalid("a sum without a row".to_owned()))?;
    let sum = LeftOut { id: Uuid::nil(), errors: row.int(0)?, changes: row.int(1)?, reads: row.int(2)? };
    Ok((sum, floor.is_some()))
}

/// How many requests were answered since a moment, those that were not kept among them. Of those that were,
/// [`ROWS_TALLIED_MAX`] are looked at; with more it is since a later moment.
pub async fn tally(db: &dyn Reads, since: Timestamp) -> Result<Tally, ReadError> {
    let from = id_at(since.as_micros(), 0);
    let sql = format!(
        "select count(*), coalesce(cast(sum(case when status >= {ERROR_STATUS_MIN} then 1 else 0 end) as bigint), 0), \
         coalesce(cast(sum(case when status >= {SERVER_ERROR_STATUS_MIN} then 1 else 0 end) as bigint), 0), min(at) \
         from (select at, status from api_requests where id >= $1 order by id desc limit {ROWS_TALLIED_MAX}) newest"
    );
    let rows = db.query(&sql, vec![from.into()]).await?;
    let row = rows.first().ok_or_else(|| ReadError::Invalid("a sum without a row".to_owned()))?;
    let (kept, errors, server_errors) = (row.int(0)?, row.int(1)?, row.int(2)?);
    let is_full = usize::try_from(kept).is_ok_and(|kept| kept >= ROWS_TALLIED_MAX);
    let since = row.opt_int(3)?.filter(|_| is_full).map_or(since, moment);
    let (left_out, _) = left_out(db, Some(id_at(since.as_micros(), 0)), None).await?;
    let (requests, errors) = (kept.saturating_add(left_out.total()), errors.saturating_add(left_out.errors));
    Ok(Tally { since, requests, errors, server_errors })
}

/// Deletes what came before a moment, at most `limit` rows of each table; gives of how many of the longer one.
pub async fn sweep(store: &Store, before: Timestamp, limit: usize) -> Result<u64, ReadError> {
    let mut transaction = store.begin().await?;
    let mut swept = 0;
    for table in ["api_requests", "api_requests_left_out"] {
        let sql = format!(
            "delete from {table} where id in (select id from {table} where id < $1 order by id limit {limit})"
        );
        let rows = transaction.execute(&sql, vec![id_at(before.as_micros(), 0).into()]).await?;
        swept = swept.max(rows);
    }
    transaction.commit().await?;
    Ok(swept)
}

/// The last row that a page may look at; `None`: the list ends before.
async fn floor(
    db: &dyn Reads,
    wanted: &RequestsWanted,
    after: Option<Uuid>,
) -> Result<Option<PageKey>, ReadError> {
    let mut query = Query::new("select at, id from api_requests");
    wanted.begin(&mut query, None, after);
    let _ = write!(query.sql, " order by id desc limit 1 offset {}", ROWS_LOOKED_AT_MAX - 1);
    let rows = db.query(&query.sql, query.params).await?;
    rows.first().map(|row| Ok(PageKey { created_at: moment(row.int(0)?), id: row.uuid(1)? })).transpose()
}

impl RequestsWanted {
    /// The ids between which the time lies.
    pub fn ids(&self) -> (Option<Uuid>, Option<Uuid>) {
        let from = self.from.map(|from| id_at(from.as_micros(), 0));
        (from, self.to.map(|to| id_at(to.as_micros(), u64::MAX)))
    }

    /// Whether rows are asked for that no index gives.
    fn is_searched(&self) -> bool {
        // A new field is to be thought of here.
        let Self { request_id: _, from: _, to: _, caller, method, route, problem, status, merchant } = self;
        [caller, method, route, problem].iter().any(|text| text.is_some())
            || status.is_some()
            || merchant.is_some()
    }

    /// What an index gives, and where the page begins and ends.
    fn begin(&self, query: &mut Query, floor: Option<PageKey>, after: Option<Uuid>) {
        if let Some(request_id) = &self.request_id {
            query.and("request_id =", request_id.as_str());
        }
        bound_ids(query, "id", self.ids(), floor.map(|floor| floor.id), after);
    }

    fn narrow(&self, query: &mut Query) {
        let texts = [
            ("caller =", &self.caller),
            ("method =", &self.method),
            ("route =", &self.route),
            ("problem =", &self.problem),
        ];
        for (left, text) in texts {
            if let Some(text) = text {
                query.and(left, text.as_str());
            }
        }
        if let Some(status) = &self.status {
            query.and("status >=", i64::from(*status.start()));
            query.and("status <=", i64::from(*status.end()));
        }
        if let Some(merchant) = self.merchant {
            query.and("merchant_id =", merchant.0);
        }
        // Within the millisecond of an id.
        if let Some(from) = self.from {
            query.and("at >=", from.as_micros());
        }
        if let Some(to) = self.to {
            query.and("at <=", to.as_micros());
        }
    }
}

fn request_from(row: Row<'_>) -> Result<ApiRequest, ReadError> {
    Ok(ApiRequest {
        id: row.uuid(0)?,
        at: moment(row.int(1)?),
        method: row.text(2)?.to_owned(),
        route: row.text(3)?.to_owned(),
        path: row.text(4)?.to_owned(),
        status: status_from(row.int(5)?)?,
        micros: row.int(6)?,
        caller: row.text(7)?.to_owned(),
        merchant_id: row.opt_uuid(8)?.map(MerchantId),
        request_id: row.text(9)?.to_owned(),
        problem: row.opt_text(10)?.map(str::to_owned),
    })
}

fn status_from(number: i64) -> Result<u16, ReadError> {
    u16::try_from(number).map_err(|_| ReadError::Invalid(format!("{number} is no status of HTTP")))
}
