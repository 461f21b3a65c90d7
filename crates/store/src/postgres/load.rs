//! Begin, lock the lanes and load what a batch names: one pipelined round trip, one statement a table.

use domain::{id::MerchantId, merchant::EmailKey};
use futures_util::join;
use tokio_postgres::{Client, Error, Statement, types::ToSql};
use uuid::Uuid;

use super::rows;
use crate::{
    batch::{Loaded, Needs},
    error::ReadError,
    queries::{MERCHANT, PAYMENT, WITHDRAWAL, merchant_from, payment_from, withdrawal_from},
    rows::{ACCOUNT, HEAD, KEY, account_from, head_from, stored_answer_from},
};

pub(super) struct Loads {
    heads: Statement,
    keys: Statement,
    merchants: Statement,
    emails: Statement,
    payments: Statement,
    withdrawals: Statement,
    accounts: Statement,
}

impl Loads {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let queries = [
            // Ascending: whoever locks several lanes locks them in the same order. Failure mode 94.
            format!("{HEAD} where lane = any($1) order by lane for update"),
            format!("{KEY} where key_hash = any($1)"),
            format!("{MERCHANT} where id = any($1)"),
            "select email_key, id from merchants where email_key = any($1)".to_owned(),
            format!("{PAYMENT} where id = any($1)"),
            format!("{WITHDRAWAL} where id = any($1)"),
            format!("{ACCOUNT} where owner = any($1)"),
        ];
        let [heads, keys, merchants, emails, payments, withdrawals, accounts] = &queries;
        Ok(Self {
            heads: client.prepare(heads).await?,
            keys: client.prepare(keys).await?,
            merchants: client.prepare(merchants).await?,
            emails: client.prepare(emails).await?,
            payments: client.prepare(payments).await?,
            withdrawals: client.prepare(withdrawals).await?,
            accounts: client.prepare(accounts).await?,
        })
    }
}

type Rows = Result<Vec<tokio_postgres::Row>, Error>;

/// Nothing is asked of the database for an empty list.
async fn find<T: ToSql + Sync>(client: &Client, statement: &Statement, keys: &[T]) -> Rows
where
    for<'a> &'a [T]: ToSql,
{
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    client.query(statement, &[&keys]).await
}

pub(super) async fn load(
    client: &Client,
    loads: &Loads,
    needs: &Needs,
) -> Result<Result<Loaded, ReadError>, Error> {
    let lanes: Vec<i16> = needs.lanes.iter().filter_map(|lane| i16::try_from(lane.0).ok()).collect();
    let ids = |set: &std::collections::BTreeSet<Uuid>| set.iter().copied().collect::<Vec<_>>();
    let (keys, merchants, payments) = (ids(&needs.keys), ids(&needs.merchants), ids(&needs.payments));
    let (withdrawals, owners) = (ids(&needs.withdrawals), ids(&needs.account_owners));
    let emails: Vec<&str> = needs.emails.iter().map(String::as_str).collect();
    // Polled in this order, so sent in this order: under READ COMMITTED each statement sees what was
    // committed before it began, and it begins only when the one that locks has ended.
    let (begun, heads, keys, merchants, emails, payments, withdrawals, accounts) = join!(
        client.batch_execute("begin"),
        find(client, &loads.heads, &lanes),
        find(client, &loads.keys, &keys),
        find(client, &loads.merchants, &merchants),
        find(client, &loads.emails, &emails),
        find(client, &loads.payments, &payments),
        find(client, &loads.withdrawals, &withdrawals),
        find(client, &loads.accounts, &owners),
    );
    begun?;
    Ok(assemble(&[heads?, keys?, merchants?, emails?, payments?, withdrawals?, accounts?]))
}

fn assemble(found: &[Vec<tokio_postgres::Row>; 7]) -> Result<Loaded, ReadError> {
    let [heads, keys, merchants, emails, payments, withdrawals, accounts] = found;
    let mut loaded = Loaded::default();
    for row in &rows(heads)? {
        loaded.heads.push(head_from(row)?);
    }
    for row in &rows(keys)? {
        loaded.keys.push(stored_answer_from(row)?);
    }
    for row in &rows(merchants)? {
        let merchant = merchant_from(row)?;
        loaded.state.merchants.insert(merchant.id, merchant);
    }
    for row in &rows(emails)? {
        loaded.state.emails.insert(EmailKey::of(row.text(0)?), MerchantId(row.uuid(1)?));
    }
    for row in &rows(payments)? {
        let payment = payment_from(row)?;
        loaded.state.payments.insert(payment.id, payment);
    }
    for row in &rows(withdrawals)? {
        let withdrawal = withdrawal_from(row)?;
        loaded.state.withdrawals.insert(withdrawal.id, withdrawal);
    }
    for row in &rows(accounts)? {
        let (key, account) = account_from(row)?;
        loaded.state.accounts.insert(key, account);
    }
    Ok(loaded)
}
