//! What an account of the ledger says of itself, for people: its entries newest first, its balance as of a moment, and
//! whether the one is the sum of the others. Each query is an index look-up or bounded by its limit; only
//! [`proof`] reads all entries of an account.

use std::fmt::Write as _;

use domain::{
    currency::Currency,
    lane::Lane,
    ledger::{Account, AccountKey, AccountKind, Entry, Owner},
    time::Timestamp,
};

use crate::{
    error::ReadError,
    queries::{self, ENTRY, Query, entry_from, wide_sum},
    rows::{ACCOUNT, account_from},
    sql::{Reads, Row, Value},
};

/// A place in the list of an account's entries; the next page lies behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryKey {
    pub created_at: Timestamp,
    pub number: i64,
}

/// An account's row beside the sum and the number of its entries, in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    pub table_minor: i64,
    pub table_entries: i64,
    pub entries_minor: i128,
    pub entries: i64,
}

impl Proof {
    pub fn holds(&self) -> bool {
        i128::from(self.table_minor) == self.entries_minor && self.table_entries == self.entries
    }
}

/// Newest first.
pub async fn entries(
    db: &dyn Reads,
    account: &AccountKey,
    after: Option<EntryKey>,
    limit: usize,
) -> Result<Vec<Entry>, ReadError> {
    let mut query = of_account(ENTRY, account);
    if let Some(EntryKey { created_at, number }) = after {
        let (created_at, number) = (query.param(created_at.as_micros()), query.param(number));
        query.condition(&format!("(created_at, number) < ({created_at}, {number})"));
    }
    let _ = write!(query.sql, " order by created_at desc, number desc limit {limit}");
    db.query(&query.sql, query.params).await?.iter().map(entry_from).collect()
}

/// The last entry up to a moment, inclusive: it says what the balance was then. `None`: there was none yet.
pub async fn as_of(
    db: &dyn Reads,
    account: &AccountKey,
    moment: Timestamp,
) -> Result<Option<Entry>, ReadError> {
    let mut query = of_account(ENTRY, account);
    query.and("created_at <=", moment.as_micros());
    query.sql.push_str(" order by created_at desc, number desc limit 1");
    db.query(&query.sql, query.params).await?.first().map(entry_from).transpose()
}

/// The accounts of one owner, by kind and currency, at most `limit`.
pub async fn accounts_of(
    db: &dyn Reads,
    owner: Owner,
    limit: usize,
) -> Result<Vec<(AccountKey, Account)>, ReadError> {
    let sql = format!("{ACCOUNT} where owner = $1 order by owner, kind, currency limit {limit}");
    db.query(&sql, vec![owner.to_uuid().into()]).await?.iter().map(account_from).collect()
}

/// The platform's own accounts, by lane, kind and currency, at most `limit`.
pub async fn accounts_of_platform(
    db: &dyn Reads,
    limit: usize,
) -> Result<Vec<(AccountKey, Account)>, ReadError> {
    let sql =
        format!("{ACCOUNT} where owner >= $1 and owner <= $2 order by owner, kind, currency limit {limit}");
    db.query(&sql, platform().to_vec()).await?.iter().map(account_from).collect()
}

/// What the platform owns or owes, over all lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformBalance {
    pub kind: AccountKind,
    pub currency: Currency,
    pub balance_minor: i128,
}

/// The sums of the platform's accounts by kind and currency; reads a row a lane of each.
pub async fn platform_balances(db: &dyn Reads) -> Result<Vec<PlatformBalance>, ReadError> {
    let sql = "select kind, currency, cast(sum(balance >> 32) as bigint), \
         cast(sum(balance & 4294967295) as bigint) from accounts where owner >= $1 and owner <= $2 \
         group by kind, currency order by kind, currency";
    let rows = db.query(sql, platform().to_vec()).await?;
    let balance = |row: Row<'_>| {
        Ok(PlatformBalance {
            kind: queries::account_kind(row.int(0)?)?,
            currency: queries::currency(row.text(1)?)?,
            balance_minor: wide_sum(row.int(2)?, row.int(3)?),
        })
    };
    rows.iter().map(balance).collect()
}

/// The first and the last of the platform's owners. No merchant's id lies between them.
fn platform() -> [Value; 2] {
    [Lane(0), Lane(u16::MAX)].map(|lane| Owner::Platform(lane).to_uuid().into())
}

/// Reads every entry of the account: for one that does not have too many.
pub async fn proof(db: &dyn Reads, account: &AccountKey) -> Result<Proof, ReadError> {
    let of = "where owner = $1 and kind = $2 and currency = $3";
    let sql = format!(
        "select coalesce((select balance from accounts {of}), 0), coalesce((select entries from accounts {of}), 0), \
         coalesce(cast(sum(amount >> 32) as bigint), 0), coalesce(cast(sum(amount & 4294967295) as bigint), 0), \
         count(*) from ledger_entries {of}"
    );
    let AccountKey { owner, kind, currency } = account;
    let params = vec![owner.to_uuid().into(), kind.number().into(), currency.code().into()];
    let rows = db.query(&sql, params).await?;
    let row: Row<'_> =
        rows.first().ok_or_else(|| ReadError::Invalid("an aggregate gave no row".to_owned()))?;
    Ok(Proof {
        table_minor: row.int(0)?,
        table_entries: row.int(1)?,
        entries_minor: wide_sum(row.int(2)?, row.int(3)?),
        entries: row.int(4)?,
    })
}

fn of_account(select: &str, account: &AccountKey) -> Query {
    let AccountKey { owner, kind, currency } = account;
    let mut query = Query::new(select);
    query.and("owner =", owner.to_uuid());
    query.and("kind =", kind.number());
    query.and("currency =", currency.code());
    query
}
