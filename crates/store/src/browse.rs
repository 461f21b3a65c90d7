//! Lists over all merchants, for people: newest first, by keyset, and bounded in what they look at.
//!
//! A list without a merchant goes by id, which begins with the moment of the command (`UUIDv7`), so no index is
//! needed beside the one that every table has. A filter that few rows pass makes a page look at most at
//! [`ROWS_LOOKED_AT_MAX`] rows; the page then says how far it came, and the next one goes on there.

use std::fmt::Write as _;

use domain::{
    currency::Currency,
    id::{MerchantId, PaymentId, WithdrawalId},
    ledger::AccountKind,
    payment::Payment,
    time::Timestamp,
    withdrawal::{Withdrawal, WithdrawalStatus},
};
use uuid::Uuid;

use crate::{
    error::ReadError,
    queries::{
        PAYMENT, PageKey, PaymentFilter, Query, WITHDRAWAL, account_kind, currency, moment, payment_from,
        wide_sum, withdrawal_from,
    },
    sql::{Reads, Row},
};

/// Rows that one page of a filtered list looks at, at most.
pub const ROWS_LOOKED_AT_MAX: usize = 10_000;
/// An id is given when a command arrives and the row's time when it is committed, perhaps by another clock: they are
/// taken to lie no further apart than this.
const ID_TIME_MICROS_APART_MAX: i64 = 3_600_000_000;

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// Where the next page begins, behind it; `None`: there is nothing more.
    pub next: Option<PageKey>,
    /// The page ended because it had looked at [`ROWS_LOOKED_AT_MAX`] rows, not because it was full.
    pub is_cut_short: bool,
}

/// Which payments are wanted, of whom.
#[derive(Clone, Debug, Default)]
pub struct PaymentsWanted {
    pub merchant: Option<MerchantId>,
    pub currency: Option<Currency>,
    pub is_flagged: bool,
    pub filter: PaymentFilter,
}

impl PaymentsWanted {
    fn is_filtered(&self) -> bool {
        let PaymentFilter { date_from, date_to, amount_minor_min, amount_minor_max, statuses, search } =
            &self.filter;
        self.currency.is_some()
            || self.is_flagged
            || date_from.is_some()
            || date_to.is_some()
            || amount_minor_min.is_some()
            || amount_minor_max.is_some()
            || !statuses.is_empty()
            || search.is_some()
    }
}

/// Payments, newest first.
pub async fn payments(
    db: &dyn Reads,
    wanted: &PaymentsWanted,
    after: Option<PageKey>,
    limit: usize,
) -> Result<Page<Payment>, ReadError> {
    let PaymentFilter { date_from: from, date_to: to, .. } = wanted.filter;
    let list = List { table: "payments", select: PAYMENT, merchant: wanted.merchant, from, to, after, limit };
    let floor = if wanted.is_filtered() { list.floor(db).await? } else { None };
    let mut query = list.query(floor);
    if let Some(currency) = wanted.currency {
        query.and("currency =", currency.code());
    }
    if wanted.is_flagged {
        query.condition("flag_reason is not null");
    }
    // Of a merchant the list's bounds say it already.
    let (date_from, date_to) = if wanted.merchant.is_some() { (None, None) } else { (from, to) };
    query.payment_filter(&PaymentFilter { date_from, date_to, ..wanted.filter.clone() });
    list.page(db, query, floor, payment_from, |payment| PageKey {
        created_at: payment.created_at,
        id: payment.id.0,
    })
    .await
}

/// Which withdrawals are wanted, of whom.
#[derive(Clone, Debug, Default)]
pub struct WithdrawalsWanted {
    pub merchant: Option<MerchantId>,
    pub currency: Option<Currency>,
    /// Empty: any.
    pub statuses: Vec<WithdrawalStatus>,
}

/// Withdrawals, newest first.
pub async fn withdrawals(
    db: &dyn Reads,
    wanted: &WithdrawalsWanted,
    after: Option<PageKey>,
    limit: usize,
) -> Result<Page<Withdrawal>, ReadError> {
    let WithdrawalsWanted { merchant, .. } = *wanted;
    let list =
        List { table: "withdrawals", select: WITHDRAWAL, merchant, from: None, to: None, after, limit };
    let is_filtered = wanted.currency.is_some() || !wanted.statuses.is_empty();
    let floor = if is_filtered { list.floor(db).await? } else { None };
    let mut query = list.query(floor);
    if let Some(currency) = wanted.currency {
        query.and("currency =", currency.code());
    }
    if !wanted.statuses.is_empty() {
        let numbers: Vec<String> = wanted.statuses.iter().map(|s| s.number().to_string()).collect();
        query.condition(&format!("status in ({})", numbers.join(", ")));
    }
    let key = |withdrawal: &Withdrawal| PageKey { created_at: withdrawal.created_at, id: withdrawal.id.0 };
    list.page(db, query, floor, withdrawal_from, key).await
}

/// A payment by its id alone, whoever it belongs to.
pub async fn payment(db: &dyn Reads, id: PaymentId) -> Result<Option<Payment>, ReadError> {
    let rows = db.query(&format!("{PAYMENT} where id = $1"), vec![id.0.into()]).await?;
    rows.first().map(payment_from).transpose()
}

/// A withdrawal by its id alone, whoever it belongs to.
pub async fn withdrawal(db: &dyn Reads, id: WithdrawalId) -> Result<Option<Withdrawal>, ReadError> {
    let rows = db.query(&format!("{WITHDRAWAL} where id = $1"), vec![id.0.into()]).await?;
    rows.first().map(withdrawal_from).transpose()
}

/// How many payments were made since a moment, as far as `limit`.
pub async fn payments_since(db: &dyn Reads, from: Timestamp, limit: usize) -> Result<usize, ReadError> {
    let sql = format!(
        "select count(*) from (select 1 from payments where id >= $1 order by id desc limit {limit}) made"
    );
    let rows = db.query(&sql, vec![id_at(from.as_micros(), 0).into()]).await?;
    let count = rows.first().map_or(Ok(0), |row| row.int(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// The least or the greatest id of a millisecond (RFC 9562, UUID version 7).
pub(crate) fn id_at(micros: i64, rest: u64) -> Uuid {
    let millis = u64::try_from(micros / 1000).unwrap_or_default();
    Uuid::from_u64_pair(millis << 16 | rest & 0xffff, rest)
}

/// A place in a list in order of (time, id).
type Bound = (Timestamp, Uuid);

/// The one lower and the one upper bound that times, inclusive, a floor and the end of the page before leave of a list in
/// order of (time, id): from the first, up to the second without it.
pub(crate) fn span(
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    floor: Option<PageKey>,
    after: Option<PageKey>,
) -> (Option<Bound>, Option<Bound>) {
    let key = |key: PageKey| (key.created_at, key.id);
    let behind = |to: Timestamp| (Timestamp::from_micros(to.as_micros().saturating_add(1)), Uuid::nil());
    let lowest = from.map(|from| (from, Uuid::nil())).into_iter().chain(floor.map(key)).max();
    let below = to.map(behind).into_iter().chain(after.map(key)).min();
    (lowest, below)
}

/// The same of a list in order of its ids; `span` is inclusive.
pub(crate) fn bound_ids(
    query: &mut Query,
    column: &str,
    span: (Option<Uuid>, Option<Uuid>),
    floor: Option<Uuid>,
    after: Option<Uuid>,
) {
    let (from, to) = span;
    if let Some(lowest) = from.max(floor) {
        query.and(&format!("{column} >="), lowest);
    }
    match (after, to) {
        (Some(after), to) if to.is_none_or(|to| after <= to) => query.and(&format!("{column} <"), after),
        (_, Some(to)) => query.and(&format!("{column} <="), to),
        (_, None) => {}
    }
}

/// A list by keyset: of a merchant in order of (time, id), of all in order of id.
struct List {
    table: &'static str,
    select: &'static str,
    merchant: Option<MerchantId>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    after: Option<PageKey>,
    limit: usize,
}

impl List {
    /// The last row that a page may look at; `None`: the list ends before.
    async fn floor(&self, db: &dyn Reads) -> Result<Option<PageKey>, ReadError> {
        let mut query = Query::new(&format!("select created_at, id from {}", self.table));
        self.bound(&mut query, None);
        let _ = write!(query.sql, "{} limit 1 offset {}", self.order(), ROWS_LOOKED_AT_MAX - 1);
        let rows = db.query(&query.sql, query.params).await?;
        rows.first().map(|row| Ok(PageKey { created_at: moment(row.int(0)?), id: row.uuid(1)? })).transpose()
    }

    fn query(&self, floor: Option<PageKey>) -> Query {
        let mut query = Query::new(self.select);
        self.bound(&mut query, floor);
        query
    }

    /// Of two bounds on one side SQLite goes by one and reads all that only the other one leaves out: there is one.
    fn bound(&self, query: &mut Query, floor: Option<PageKey>) {
        if let Some(merchant) = self.merchant {
            query.and("merchant_id =", merchant.0);
            let (lowest, below) = span(self.from, self.to, floor, self.after);
            for (comparison, key) in [(">=", lowest), ("<", below)] {
                if let Some((created_at, id)) = key {
                    let (created_at, id) = (query.param(created_at.as_micros()), query.param(id));
                    query.condition(&format!("(created_at, id) {comparison} ({created_at}, {id})"));
                }
            }
            return;
        }
        // Ids are ordered by time, so a span of time is a span of ids.
        let from = self.from.map(|from| id_at(from.as_micros() - ID_TIME_MICROS_APART_MAX, 0));
        let to = self.to.map(|to| id_at(to.as_micros() + ID_TIME_MICROS_APART_MAX, u64::MAX));
        bound_ids(query, "id", (from, to), floor.map(|floor| floor.id), self.after.map(|after| after.id));
    }

    const fn order(&self) -> &'static str {
        if self.merchant.is_some() { " order by created_at desc, id desc" } else { " order by id desc" }
    }

    async fn page<T>(
        &self,
        db: &dyn Reads,
        mut query: Query,
        floor: Option<PageKey>,
        read: fn(Row<'_>) -> Result<T, ReadError>,
        key: impl Fn(&T) -> PageKey,
    ) -> Result<Page<T>, ReadError> {
        // One more than is shown tells whether there is more.
        let _ = write!(query.sql, "{} limit {}", self.order(), self.limit + 1);
        let found = db.query(&query.sql, query.params).await?;
        let mut rows = found.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let is_full = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = if is_full { rows.last().map(key) } else { floor };
        Ok(Page { rows, next, is_cut_short: !is_full && floor.is_some() })
    }
}

/// What all accounts of a currency and a kind hold together, in the order of both.
pub async fn balances(db: &dyn Reads) -> Result<Vec<(Currency, AccountKind, i128)>, ReadError> {
    // Asked for in order, PostgreSQL sorts all accounts instead of hashing them into the few sums.
    let sql = "select currency, kind, cast(sum(balance >> 32) as bigint), \
         cast(sum(balance & 4294967295) as bigint) from accounts group by currency, kind";
    let rows = db.query(sql, Vec::new()).await?;
    let sum = |row: Row<'_>| {
        Ok((currency(row.text(0)?)?, account_kind(row.int(1)?)?, wide_sum(row.int(2)?, row.int(3)?)))
    };
    let mut sums = rows.iter().map(sum).collect::<Result<Vec<_>, ReadError>>()?;
    sums.sort_unstable_by_key(|(currency, kind, _)| (*currency, kind.number()));
    Ok(sums)
}

/// The migrations of the database: number, name, when it was applied.
pub async fn migrations(db: &dyn Reads) -> Result<Vec<(i64, String, Timestamp)>, ReadError> {
    let rows =
        db.query("select number, name, applied_at from migrations order by number", Vec::new()).await?;
    rows.iter().map(|row| Ok((row.int(0)?, row.text(1)?.to_owned(), moment(row.int(2)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_bound_on_each_side() {
        let at = Timestamp::from_micros;
        let key = |micros| Some(PageKey { created_at: at(micros), id: Uuid::max() });
        let bounds = |from, to, floor, after| {
            let (lowest, below) = span(from, to, floor, after);
            (lowest.map(|(time, _)| time.as_micros()), below.map(|(time, _)| time.as_micros()))
        };
        assert_eq!(bounds(None, None, None, None), (None, None));
        assert_eq!(bounds(Some(at(5)), Some(at(50)), None, None), (Some(5), Some(51)));
        assert_eq!(bounds(Some(at(5)), Some(at(50)), key(20), key(40)), (Some(20), Some(40)));
        assert_eq!(bounds(Some(at(30)), Some(at(35)), key(20), key(40)), (Some(30), Some(36)));

        let id = |number| Some(Uuid::from_u128(number));
        let sql = |span, floor, after| {
            let mut query = Query::new("select");
            bound_ids(&mut query, "id", span, floor, after);
            (query.sql, query.params)
        };
        let (text, params) = sql((id(5), id(50)), id(20), id(40));
        assert_eq!(text, "select where id >= $1 and id < $2");
        assert_eq!(params, [id(20).unwrap().into(), id(40).unwrap().into()]);
        let (text, params) = sql((id(30), id(35)), id(20), id(40));
        assert_eq!(text, "select where id >= $1 and id <= $2");
        assert_eq!(params, [id(30).unwrap().into(), id(35).unwrap().into()]);
        assert_eq!(sql((None, None), None, None), ("select".to_owned(), Vec::new()));
    }
}
