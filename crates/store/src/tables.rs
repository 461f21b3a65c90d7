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
    batch::{StoredAnswer, SubjectKind},
    error::ReadError,
    queries::{self, ENTRY, MERCHANT, PAYMENT, WITHDRAWAL},
    rows::{ACCOUNT, KEY, account_from, stored_answer_from},
    sql::{Dialect, Reads, Row, Value},
    sqlite::key_prefix,
};

/// Rows with ids behind `after`, up to `until`, inclusive; without them, from the first and to the last.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    pub after: Option<Uuid>,
    pub until: Option<Uuid>,
    pub limit: usize,
}

impl Ids {
    pub const fn one(id: Uuid) -> Self {
        // Ids are unique, so no other one lies between.
        let after = match id.as_u128().checked_sub(1) {
            Some(before) => Some(Uuid::from_u128(before)),
            None => None,
        };
        Self { after, until: Some(id), limit: 1 }
    }

    fn of(self, select: &str) -> (String, Vec<Value>) {
        let mut params = Vec::new();
        let mut bounds = Vec::new();
        for (bound, sign) in [(self.after, ">"), (self.until, "<=")] {
            if let Some(id) = bound {
                params.push(id.into());
                bounds.push(format!("id {sign} ${}", params.len()));
            }
        }
        let bounds =
            if bounds.is_empty() { String::new() } else { format!("where {}", bounds.join(" and ")) };
        (format!("{select} {bounds} order by id limit {}", self.limit), params)
    }
}

/// A row by its id; or why it is none that the program could have written.
pub type Found<T> = (Uuid, Result<T, ReadError>);

fn found<T>(row: Row<'_>, read: fn(Row<'_>) -> Result<T, ReadError>) -> Result<Found<T>, ReadError> {
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

/// The key of an account as its row has it, readable or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPlace {
    pub owner: Uuid,
    pub kind: i64,
    pub currency: String,
}

impl AccountPlace {
    fn from_row(row: Row<'_>, first: usize) -> Result<Self, ReadError> {
        let (owner, kind) = (row.uuid(first)?, row.int(first + 1)?);
        Ok(Self { owner, kind, currency: row.text(first + 2)?.to_owned() })
    }

    fn params(&self) -> Vec<Value> {
        vec![self.owner.into(), self.kind.into(), self.currency.as_str().into()]
    }
}

/// The key of an entry as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPlace {
    pub account: AccountPlace,
    pub created_at: i64,
    pub number: i64,
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
    after: Option<&AccountPlace>,
    limit: usize,
) -> Result<Vec<(AccountPlace, Result<AccountEnd, ReadError>)>, ReadError> {
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
    let rows = db.query(&sql, after.map(AccountPlace::params).unwrap_or_default()).await?;
    let end = |row: Row<'_>| {
        let (key, account) = account_from(row)?;
        Ok(AccountEnd { key, account, last_entry: row.opt_int(6)?.zip(row.opt_int(7)?) })
    };
    rows.iter().map(|row| Ok((AccountPlace::from_row(row, 0)?, end(row)))).collect()
}

/// An entry, or the place of one that cannot be read, and why it cannot.
pub type FoundEntry = Result<Entry, (EntryPlace, ReadError)>;

/// A page of them.
pub struct Entries {
    pub found: Vec<FoundEntry>,
    /// Where the next ones begin; `None` when there were none.
    pub end: Option<EntryPlace>,
}

/// Entries of all accounts behind one of them, account by account, in the order in which they were booked.
pub async fn entries(db: &dyn Reads, after: Option<&EntryPlace>, limit: usize) -> Result<Entries, ReadError> {
    let mut params = Vec::new();
    let mut behind = "";
    if let Some(entry) = after {
        params = entry.account.params();
        params.extend([entry.created_at.into(), entry.number.into()]);
        behind = "where (owner, kind, currency, created_at, number) > ($1, $2, $3, $4, $5)";
    }
    let sql = format!("{ENTRY} {behind} order by owner, kind, currency, created_at, number limit {limit}");
    let rows = db.query(&sql, params).await?;
    let place = |row: Row<'_>| {
        let account = AccountPlace::from_row(row, 2)?;
        Ok::<_, ReadError>(EntryPlace { account, created_at: row.int(11)?, number: row.int(5)? })
    };
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.push(match queries::entry_from(row) {
            Ok(entry) => Ok(entry),
            Err(error) => Err((place(row)?, error)),
        });
    }
    Ok(Entries { found, end: rows.last().map(place).transpose()? })
}

/// The entries of one account at one moment; those that can be read.
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
    let rows = db.query(&sql, params).await?;
    Ok(rows.iter().filter_map(|row| queries::entry_from(row).ok()).collect())
}

/// What stands for the answer of one idempotency key, expired or not.
pub async fn key(db: &dyn Reads, key_hash: Uuid) -> Result<Option<StoredAnswer>, ReadError> {
    let (sql, params) = match db.dialect() {
        // Its index holds the first half of the hash only.
        Dialect::Sqlite => (
            format!("{KEY} where key_prefix = $1 and key_hash = $2"),
            vec![key_prefix(&key_hash).into(), key_hash.into()],
        ),
        Dialect::Postgres => (format!("{KEY} where key_hash = $1"), vec![key_hash.into()]),
    };
    db.query(&sql, params).await?.first().map(stored_answer_from).transpose()
}

/// An idempotency key beside what the log has of its answer.
#[derive(Clone, Debug)]
pub struct KeyInLog {
    pub answer: StoredAnswer,
    /// Whether the log has, in the key's lane and up to its sequence, what the answer is folded from.
    pub is_in_log: bool,
}

/// Where reading the idempotency keys goes on; begin with the default.
#[derive(Clone, Debug, Default)]
pub struct KeyCursor(Option<Value>);

/// Idempotency keys by their hashes, in the order in which each database keeps them.
pub async fn keys(
    db: &dyn Reads,
    cursor: &mut KeyCursor,
    limit: usize,
) -> Result<Vec<Found<KeyInLog>>, ReadError> {
    let order = match db.dialect() {
        Dialect::Sqlite => "no",
        Dialect::Postgres => "key_hash",
    };
    let behind = if cursor.0.is_some() { format!("where {order} > $1") } else { String::new() };
    // What is folded: all events of the subject up to the sequence; of created payments, those of one command.
    let sql = format!(
        "select key_hash, fingerprint, subject_kind, subject_id, lane, sequence, size, created_at, {order}, \
         case when subject_kind = 3 then (select count(*) from events e where e.lane = k.lane \
           and e.sequence > k.sequence - k.size and e.sequence <= k.sequence and e.command_id = k.subject_id) \
         else (select count(*) from (select 1 from events e where e.subject_id = k.subject_id and e.lane = k.lane \
           and e.sequence <= k.sequence limit 1) one) end, \
         (select h.sequence from lane_heads h where h.lane = k.lane) \
         from idempotency_keys k {behind} order by {order} limit {limit}"
    );
    let rows = db.query(&sql, cursor.0.iter().cloned().collect()).await?;
    if let Some(last) = rows.last() {
        cursor.0 = Some(last.value(8));
    }
    let key = |row: Row<'_>| {
        let answer = stored_answer_from(row)?;
        let events_needed = if answer.kind == SubjectKind::Payments { answer.size } else { 1 };
        let is_before_the_end = row.opt_int(10)?.is_some_and(|head| answer.sequence <= head);
        Ok(KeyInLog { is_in_log: is_before_the_end && row.int(9)? == events_needed, answer })
    };
    rows.iter().map(|row| Ok((row.uuid(0)?, key(row)))).collect()
}
