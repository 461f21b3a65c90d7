//! The tables in the order of their keys, a page at a time, for whoever compares all of them with the log. No page
//! is planned by the size of a table: each begins behind a key.

use domain::{
    ledger::{Account, AccountKey, Entry},
    merchant::Merchant,
    payment::Payment,
    withdrawal::Withdrawal,
};
use uuid::Uuid;

use crate::{
    error::ReadError,
    queries::{self, ENTRY, MERCHANT, PAYMENT, WITHDRAWAL},
    rows::{ACCOUNT, account_from},
    sql::{Reads, Row, Value},
};

/// Rows with ids behind `after`, up to `until`, inclusive; without one, all that are left.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    pub after: Uuid,
    pub until: Option<Uuid>,
    pub limit: usize,
}

impl Ids {
    fn of(self, select: &str) -> (String, Vec<Value>) {
        let mut params = vec![self.after.into()];
        let upper = self.until.map_or("", |until| {
            params.push(until.into());
            " and id <= $2"
        });
        (format!("{select} where id > $1{upper} order by id limit {}", self.limit), params)
    }
}

/// A row by its id; or why it is none that the program could have written.
pub type Found<T> = (Uuid, Result<T, ReadError>);

fn found<T>(row: &Row, read: fn(&Row) -> Result<T, ReadError>) -> Result<Found<T>, ReadError> {
    Ok((row.uuid(0)?, read(row)))
}

pub async fn merchants(db: &dyn Reads, ids: Ids) -> Result<Vec<Found<Merchant>>, ReadError> {
    let (sql, params) = ids.of(MERCHANT);
    db.query(&sql, params).await?.iter().map(|row| found(row, queries::merchant_from)).collect()
}

pub async fn payments(db: &dyn Reads, ids: Ids) -> Result<Vec<Found<Payment>>, ReadError> {
    let (sql, params) = ids.of(PAYMENT);
    db.query(&sql, params).await?.iter().map(|row| found(row, queries::payment_from)).collect()
}

pub async fn withdrawals(db: &dyn Reads, ids: Ids) -> Result<Vec<Found<Withdrawal>>, ReadError> {
    let (sql, params) = ids.of(WITHDRAWAL);
    db.query(&sql, params).await?.iter().map(|row| found(row, queries::withdrawal_from)).collect()
}

fn account_params(key: &AccountKey) -> Vec<Value> {
    vec![key.owner.to_uuid().into(), i64::from(key.kind.number()).into(), key.currency.code().into()]
}

pub async fn account(db: &dyn Reads, key: &AccountKey) -> Result<Option<Account>, ReadError> {
    let sql = format!("{ACCOUNT} where owner = $1 and kind = $2 and currency = $3");
    let rows = db.query(&sql, account_params(key)).await?;
    rows.first().map(|row| Ok(account_from(row)?.1)).transpose()
}

/// An account beside its last entry, as both were at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountEnd {
    pub key: AccountKey,
    pub account: Account,
    /// Number and balance.
    pub last_entry: Option<(i64, i64)>,
}

/// Accounts behind a key, in its order.
pub async fn accounts(
    db: &dyn Reads,
    after: Option<&AccountKey>,
    limit: usize,
) -> Result<Vec<AccountEnd>, ReadError> {
    let behind = if after.is_some() { "where (owner, kind, currency) > ($1, $2, $3)" } else { "" };
    let last = |column: &str| {
        format!(
            "(select e.{column} from ledger_entries e where e.owner = accounts.owner and e.kind = accounts.kind \
             and e.currency = accounts.currency order by e.created_at desc, e.number desc limit 1)"
        )
    };
    let sql = format!(
        "select owner, kind, currency, balance, entries, updated_at, {}, {} from accounts {behind} \
         order by owner, kind, currency limit {limit}",
        last("number"),
        last("balance_after")
    );
    let rows = db.query(&sql, after.map(account_params).unwrap_or_default()).await?;
    let end = |row: &Row| {
        let (key, account) = account_from(row)?;
        Ok(AccountEnd { key, account, last_entry: row.opt_int(6)?.zip(row.opt_int(7)?) })
    };
    rows.iter().map(end).collect()
}

/// Entries of all accounts behind one of them, account by account, in the order in which they were booked.
pub async fn entries(db: &dyn Reads, after: Option<&Entry>, limit: usize) -> Result<Vec<Entry>, ReadError> {
    let mut params = Vec::new();
    let mut behind = "";
    if let Some(entry) = after {
        params = account_params(&entry.account);
        params.extend([entry.created_at.as_micros().into(), entry.number.into()]);
        behind = "where (owner, kind, currency, created_at, number) > ($1, $2, $3, $4, $5)";
    }
    let sql = format!("{ENTRY} {behind} order by owner, kind, currency, created_at, number limit {limit}");
    db.query(&sql, params).await?.iter().map(queries::entry_from).collect()
}

/// The entries of one account at one moment.
pub async fn entries_at(
    db: &dyn Reads,
    key: &AccountKey,
    created_at_micros: i64,
) -> Result<Vec<Entry>, ReadError> {
    let sql = format!(
        "{ENTRY} where owner = $1 and kind = $2 and currency = $3 and created_at = $4 order by number"
    );
    let mut params = account_params(key);
    params.push(created_at_micros.into());
    db.query(&sql, params).await?.iter().map(queries::entry_from).collect()
}
