//! What the API asks of the tables. Every text runs on both databases; a list is bounded by its
//! `limit` and goes on behind a key, never behind an offset.

use std::collections::{HashMap, hash_map};

use domain::{
    currency::Currency,
    event::Stream,
    id::{EntryId, EventId, MerchantId, PaymentId, WithdrawalId},
    lane::Lane,
    ledger::{AccountKey, AccountKind, Entry, EntryType, Owner},
    merchant::Merchant,
    money::AmountMinor,
    payment::{CompletedBy, Payment, PaymentStatus},
    time::Timestamp,
    withdrawal::{Withdrawal, WithdrawalStatus},
};
use uuid::Uuid;

use crate::{
    error::ReadError,
    sql::{Reads, Row, Rows, Value},
};

/// A place in a list that is ordered by time and id, newest first; the next page lies behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageKey {
    pub created_at: Timestamp,
    pub id: Uuid,
}

/// Which payments are wanted; every bound is inclusive.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    pub date_from: Option<Timestamp>,
    pub date_to: Option<Timestamp>,
    pub amount_minor_min: Option<i64>,
    pub amount_minor_max: Option<i64>,
    /// Empty: any.
    pub statuses: Vec<PaymentStatus>,
    /// Part of the external reference or the description, or the whole id.
    pub search: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    pub currency: Currency,
    pub available_minor: i64,
    pub pending_minor: i64,
    pub updated_at: Timestamp,
}

/// A balance as the table has it, and as its entries sum up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceProof {
    pub table_minor: i64,
    pub entries_minor: i128,
}

/// Payments of one day (UTC), currency and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayTotal {
    /// Midnight UTC at which the day begins.
    pub day: Timestamp,
    pub currency: Currency,
    pub status: PaymentStatus,
    pub payments: i64,
    pub amount_minor: i128,
    pub refunded_minor: i128,
}

/// The end of a lane's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHead {
    pub stream: Stream,
    pub lane: Lane,
    pub position: i64,
}

pub(crate) const MERCHANT: &str = "select id, name, email, is_active, created_at from merchants";
pub(crate) const PAYMENT: &str = "select id, merchant_id, amount, currency, status, external_reference, description, \
     created_at, completed_at, completed_by, refunded, refunded_at, refund_reason, flag_reason from payments";
pub(crate) const WITHDRAWAL: &str = "select id, merchant_id, amount, currency, status, bank_account_masked, \
     bank_routing_masked, external_transaction_id, failure_reason, created_at, processed_at, completed_at \
     from withdrawals";
pub(crate) const ENTRY: &str = "select id, transaction_id, owner, kind, currency, number, amount, balance_after, \
     entry_type, payment_id, withdrawal_id, created_at from ledger_entries";

/// Newest first.
pub async fn merchants(
    db: &dyn Reads,
    after: Option<PageKey>,
    limit: usize,
) -> Result<Vec<Merchant>, ReadError> {
    let mut query = Query::new(MERCHANT);
    query.page(after, limit);
    let rows = db.query(&query.sql, query.params).await?;
    rows.iter().map(merchant_from).collect()
}

/// Newest first.
pub async fn payments(
    db: &dyn Reads,
    merchant: MerchantId,
    filter: &PaymentFilter,
    after: Option<PageKey>,
    limit: usize,
) -> Result<Vec<Payment>, ReadError> {
    let mut query = Query::new(PAYMENT);
    query.and("merchant_id =", merchant.0);
    query.payment_filter(filter);
    query.page(after, limit);
    let rows = db.query(&query.sql, query.params).await?;
    rows.iter().map(payment_from).collect()
}

pub async fn withdrawal(
    db: &dyn Reads,
    merchant: MerchantId,
    id: WithdrawalId,
) -> Result<Option<Withdrawal>, ReadError> {
    let sql = format!("{WITHDRAWAL} where id = $1 and merchant_id = $2");
    let rows = db.query(&sql, vec![id.0.into(), merchant.0.into()]).await?;
    rows.first().map(withdrawal_from).transpose()
}

/// Newest first.
pub async fn withdrawals(
    db: &dyn Reads,
    merchant: MerchantId,
    after: Option<PageKey>,
    limit: usize,
) -> Result<Vec<Withdrawal>, ReadError> {
    let mut query = Query::new(WITHDRAWAL);
    query.and("merchant_id =", merchant.0);
    query.page(after, limit);
    let rows = db.query(&query.sql, query.params).await?;
    rows.iter().map(withdrawal_from).collect()
}

/// All balances of a merchant as they were at a moment, inclusive, by currency. How they are is looked up by
/// [`crate::lookup::Lookups::balances`].
pub async fn balances_as_of(
    db: &dyn Reads,
    merchant: MerchantId,
    moment: Timestamp,
) -> Result<Vec<Balance>, ReadError> {
    let sql = "select kind, currency from accounts where owner = $1 order by currency";
    let rows = db.query(sql, vec![merchant.0.into()]).await?;
    let mut balances = Vec::new();
    for row in &rows {
        let (kind, currency) = (account_kind(row.int(0)?)?, currency(row.text(1)?)?);
        if let Some((minor, updated_at)) = balance_as_of(db, merchant, kind, currency, moment).await? {
            add_account(&mut balances, kind, currency, minor, updated_at);
        }
    }
    Ok(balances)
}

/// A merchant with all balances, by currency.
pub(crate) type MerchantBalances = (Merchant, Vec<Balance>);

/// A row an account, and one for a merchant without any.
pub(crate) const MERCHANT_BALANCES: &str = "select m.id, m.name, m.email, m.is_active, m.created_at, \
     a.kind, a.currency, a.balance, a.updated_at \
     from merchants m left join accounts a on a.owner = m.id";

pub(crate) fn merchant_balances_from(
    rows: &Rows,
) -> Result<HashMap<MerchantId, MerchantBalances>, ReadError> {
    let mut found: HashMap<MerchantId, MerchantBalances> = HashMap::new();
    for row in rows {
        let (_, balances) = match found.entry(MerchantId(row.uuid(0)?)) {
            hash_map::Entry::Occupied(occupied) => occupied.into_mut(),
            hash_map::Entry::Vacant(vacant) => vacant.insert((merchant_from(row)?, Vec::new())),
        };
        if let Some(kind) = row.opt_int(5)? {
            let (kind, currency) = (account_kind(kind)?, currency(row.text(6)?)?);
            add_account(balances, kind, currency, row.int(7)?, moment(row.int(8)?));
        }
    }
    for (_, balances) in found.values_mut() {
        balances.sort_unstable_by(|a, b| a.currency.code().cmp(b.currency.code()));
    }
    Ok(found)
}

fn add_account(
    balances: &mut Vec<Balance>,
    kind: AccountKind,
    currency: Currency,
    minor: i64,
    updated_at: Timestamp,
) {
    let index = balances.iter().position(|balance| balance.currency == currency).unwrap_or_else(|| {
        balances.push(Balance { currency, available_minor: 0, pending_minor: 0, updated_at });
        balances.len() - 1
    });
    let balance = &mut balances[index];
    balance.updated_at = balance.updated_at.max(updated_at);
    match kind {
        AccountKind::Available => balance.available_minor = minor,
        AccountKind::Pending => balance.pending_minor = minor,
        AccountKind::Clearing | AccountKind::Payouts => {}
    }
}

/// One index look-up: the last entry up to the moment holds the balance after it.
async fn balance_as_of(
    db: &dyn Reads,
    merchant: MerchantId,
    kind: AccountKind,
    currency: Currency,
    as_of: Timestamp,
) -> Result<Option<(i64, Timestamp)>, ReadError> {
    let sql = "select balance_after, created_at from ledger_entries \
         where owner = $1 and kind = $2 and currency = $3 and created_at <= $4 \
         order by created_at desc, number desc limit 1";
    let params =
        vec![merchant.0.into(), kind.number().into(), currency.code().into(), as_of.as_micros().into()];
    let rows = db.query(sql, params).await?;
    rows.first().map(|row| Ok((row.int(0)?, moment(row.int(1)?)))).transpose()
}

/// The available balance in the table beside the sum of its entries, in one snapshot.
pub async fn balance_proof(
    db: &dyn Reads,
    merchant: MerchantId,
    currency: Currency,
) -> Result<BalanceProof, ReadError> {
    let sql = "select coalesce((select balance from accounts where owner = $1 and kind = $2 and currency = $3), 0), \
         coalesce(cast(sum(amount >> 32) as bigint), 0), coalesce(cast(sum(amount & 4294967295) as bigint), 0) \
         from ledger_entries where owner = $1 and kind = $2 and currency = $3";
    let kind = AccountKind::Available.number();
    let rows = db.query(sql, vec![merchant.0.into(), kind.into(), currency.code().into()]).await?;
    let row = rows.first().ok_or_else(|| ReadError::Invalid("an aggregate gave no row".to_owned()))?;
    Ok(BalanceProof { table_minor: row.int(0)?, entries_minor: wide_sum(row.int(1)?, row.int(2)?) })
}

/// How many entries a merchant has, and the last `limit` of them, newest first.
pub async fn ledger_history(
    db: &dyn Reads,
    merchant: MerchantId,
    limit: usize,
) -> Result<(i64, Vec<Entry>), ReadError> {
    let sql = "select kind, currency, entries from accounts where owner = $1";
    let accounts = db.query(sql, vec![merchant.0.into()]).await?;
    let mut total = 0;
    let mut entries = Vec::new();
    for account in &accounts {
        total += account.int(2)?;
        let sql = format!(
            "{ENTRY} where owner = $1 and kind = $2 and currency = $3 \
             order by created_at desc, number desc limit {limit}"
        );
        let params = vec![merchant.0.into(), account.int(0)?.into(), account.text(1)?.into()];
        for row in &db.query(&sql, params).await? {
            entries.push(entry_from(row)?);
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.created_at, entry.transaction_id, entry.id)));
    entries.truncate(limit);
    Ok((total, entries))
}

/// Totals by day, currency and status of the payments created in a span of time, both ends inclusive.
pub async fn day_totals(
    db: &dyn Reads,
    merchant: MerchantId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<DayTotal>, ReadError> {
    const MICROS_A_DAY: i64 = 86_400_000_000;
    let sql = format!(
        "select created_at / {MICROS_A_DAY} as day, currency, status, count(*), \
         cast(sum(amount >> 32) as bigint), cast(sum(amount & 4294967295) as bigint), \
         cast(sum(refunded >> 32) as bigint), cast(sum(refunded & 4294967295) as bigint) \
         from payments where merchant_id = $1 and created_at >= $2 and created_at <= $3 \
         group by 1, currency, status order by 1, currency, status"
    );
    let params = vec![merchant.0.into(), from.as_micros().into(), to.as_micros().into()];
    let rows = db.query(&sql, params).await?;
    rows.iter()
        .map(|row| {
            Ok(DayTotal {
                day: moment(row.int(0)? * MICROS_A_DAY),
                currency: currency(row.text(1)?)?,
                status: payment_status(row.int(2)?)?,
                payments: row.int(3)?,
                amount_minor: wide_sum(row.int(4)?, row.int(5)?),
                refunded_minor: wide_sum(row.int(6)?, row.int(7)?),
            })
        })
        .collect()
}

/// A sum of integers that may exceed 64 bits, from the sums of its upper and lower halves.
pub(crate) fn wide_sum(upper: i64, lower: i64) -> i128 {
    (i128::from(upper) << 32) + i128::from(lower)
}

/// A SELECT that grows conditions.
pub(crate) struct Query {
    pub sql: String,
    pub params: Vec<Value>,
    has_where: bool,
}

impl Query {
    pub fn new(select: &str) -> Self {
        Self { sql: select.to_owned(), params: Vec::new(), has_where: false }
    }

    pub fn condition(&mut self, condition: &str) {
        self.sql.push_str(if self.has_where { " and " } else { " where " });
        self.has_where = true;
        self.sql.push_str(condition);
    }

    pub fn param(&mut self, value: impl Into<Value>) -> String {
        self.params.push(value.into());
        format!("${}", self.params.len())
    }

    pub fn and(&mut self, left: &str, value: impl Into<Value>) {
        let param = self.param(value);
        self.condition(&format!("{left} {param}"));
    }

    pub fn payment_filter(&mut self, filter: &PaymentFilter) {
        let bounds = [
            ("created_at >=", filter.date_from.map(Timestamp::as_micros)),
            ("created_at <=", filter.date_to.map(Timestamp::as_micros)),
            ("amount >=", filter.amount_minor_min),
            ("amount <=", filter.amount_minor_max),
        ];
        for (left, bound) in bounds {
            if let Some(bound) = bound {
                self.and(left, bound);
            }
        }
        if !filter.statuses.is_empty() {
            let numbers: Vec<String> = filter.statuses.iter().map(|s| s.number().to_string()).collect();
            self.condition(&format!("status in ({})", numbers.join(", ")));
        }
        if let Some(search) = &filter.search {
            self.search(search);
        }
    }

    fn search(&mut self, text: &str) {
        let escaped = text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let pattern = self.param(format!("%{escaped}%"));
        let mut condition = format!(
            "lower(external_reference) like {pattern} escape '\\' or lower(description) like {pattern} escape '\\'"
        );
        if let Ok(id) = Uuid::parse_str(text) {
            let id = self.param(id);
            condition = format!("{condition} or id = {id}");
        }
        self.condition(&format!("({condition})"));
    }

    /// Newest first, behind the key, at most `limit` rows.
    fn page(&mut self, after: Option<PageKey>, limit: usize) {
        if let Some(after) = after {
            let created_at = self.param(after.created_at.as_micros());
            let id = self.param(after.id);
            self.condition(&format!("(created_at, id) < ({created_at}, {id})"));
        }
        self.sql.push_str(" order by created_at desc, id desc limit ");
        self.sql.push_str(&limit.to_string());
    }
}

pub(crate) fn merchant_from(row: Row<'_>) -> Result<Merchant, ReadError> {
    Ok(Merchant {
        id: MerchantId(row.uuid(0)?),
        name: row.text(1)?.to_owned(),
        email: row.text(2)?.to_owned(),
        is_active: row.int(3)? != 0,
        created_at: moment(row.int(4)?),
    })
}

pub(crate) fn payment_from(row: Row<'_>) -> Result<Payment, ReadError> {
    Ok(Payment {
        id: PaymentId(row.uuid(0)?),
        merchant_id: MerchantId(row.uuid(1)?),
        amount: amount(row.int(2)?)?,
        currency: currency(row.text(3)?)?,
        status: payment_status(row.int(4)?)?,
        external_reference: row.opt_text(5)?.map(str::to_owned),
        description: row.opt_text(6)?.map(str::to_owned),
        created_at: moment(row.int(7)?),
        completed_at: row.opt_int(8)?.map(moment),
        completed_by: row.opt_int(9)?.map(completed_by).transpose()?,
        refunded_minor: row.int(10)?,
        refunded_at: row.opt_int(11)?.map(moment),
        refund_reason: row.opt_text(12)?.map(str::to_owned),
        flag_reason: row.opt_text(13)?.map(str::to_owned),
    })
}

pub(crate) fn withdrawal_from(row: Row<'_>) -> Result<Withdrawal, ReadError> {
    Ok(Withdrawal {
        id: WithdrawalId(row.uuid(0)?),
        merchant_id: MerchantId(row.uuid(1)?),
        amount: amount(row.int(2)?)?,
        currency: currency(row.text(3)?)?,
        status: WithdrawalStatus::from_number(row.int(4)?).ok_or_else(|| unknown("withdrawal status"))?,
        bank_account_masked: row.text(5)?.to_owned(),
        bank_routing_masked: row.text(6)?.to_owned(),
        external_transaction_id: row.opt_text(7)?.map(str::to_owned),
        failure_reason: row.opt_text(8)?.map(str::to_owned),
        created_at: moment(row.int(9)?),
        processed_at: row.opt_int(10)?.map(moment),
        completed_at: row.opt_int(11)?.map(moment),
    })
}

pub(crate) fn entry_from(row: Row<'_>) -> Result<Entry, ReadError> {
    Ok(Entry {
        id: EntryId(row.uuid(0)?),
        transaction_id: EventId(row.uuid(1)?),
        account: AccountKey {
            owner: Owner::from_uuid(row.uuid(2)?),
            kind: account_kind(row.int(3)?)?,
            currency: currency(row.text(4)?)?,
        },
        number: row.int(5)?,
        amount_minor: row.int(6)?,
        balance_after_minor: row.int(7)?,
        entry_type: EntryType::from_number(row.int(8)?).ok_or_else(|| unknown("entry type"))?,
        payment_id: row.opt_uuid(9)?.map(PaymentId),
        withdrawal_id: row.opt_uuid(10)?.map(WithdrawalId),
        created_at: moment(row.int(11)?),
    })
}

pub(crate) fn moment(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn currency(code: &str) -> Result<Currency, ReadError> {
    Currency::parse(code).ok_or_else(|| unknown("currency"))
}

pub(crate) fn account_kind(number: i64) -> Result<AccountKind, ReadError> {
    AccountKind::from_number(number).ok_or_else(|| unknown("account kind"))
}

fn amount(minor: i64) -> Result<AmountMinor, ReadError> {
    AmountMinor::new(minor).ok_or_else(|| unknown("amount"))
}

pub(crate) fn payment_status(number: i64) -> Result<PaymentStatus, ReadError> {
    PaymentStatus::from_number(number).ok_or_else(|| unknown("payment status"))
}

fn completed_by(number: i64) -> Result<CompletedBy, ReadError> {
    CompletedBy::from_number(number).ok_or_else(|| unknown("completed by"))
}

fn unknown(what: &str) -> ReadError {
    ReadError::Invalid(format!("a row holds a {what} that is not known"))
}
