//! What a batch changes: one statement over arrays a table, and COMMIT behind them in the same round
//! trip. When a statement fails, the server turns the COMMIT into a rollback.

use futures_util::future::{BoxFuture, join_all};
use tokio_postgres::{Client, Error, Statement, types::ToSql};

use crate::{batch::Writes, reviews};

pub(super) struct Statements {
    merchants_new: Statement,
    merchants_changed: Statement,
    payments_new: Statement,
    payments_changed: Statement,
    reviews_begun: Statement,
    reviews_ended: Statement,
    withdrawals_new: Statement,
    withdrawals_changed: Statement,
    accounts: Statement,
    entries: Statement,
    keys_expired: Statement,
    keys: Statement,
    origins: Statement,
    events: Statement,
    heads: Statement,
}

const MERCHANTS_NEW: &str = "insert into merchants (id, name, email, email_key, is_active, created_at) \
     select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::bigint[])";
const MERCHANTS_CHANGED: &str = "update merchants set name = n.name, is_active = n.is_active \
     from unnest($1::uuid[], $2::text[], $3::smallint[]) as n (id, name, is_active) where merchants.id = n.id";
const PAYMENTS_NEW: &str = "insert into payments (id, merchant_id, amount, currency, status, \
     external_reference, description, created_at, completed_at, completed_by, refunded, refunded_at, \
     refund_reason, flag_reason) \
     select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::smallint[], $6::text[], \
     $7::text[], $8::bigint[], $9::bigint[], $10::smallint[], $11::bigint[], $12::bigint[], $13::text[], \
     $14::text[])";
const PAYMENTS_CHANGED: &str = "update payments set status = n.status, completed_at = n.completed_at, \
     completed_by = n.completed_by, refunded = n.refunded, refunded_at = n.refunded_at, \
     refund_reason = n.refund_reason, flag_reason = n.flag_reason \
     from unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::bigint[], \
     $7::text[], $8::text[]) as n (id, status, completed_at, completed_by, refunded, refunded_at, \
     refund_reason, flag_reason) where payments.id = n.id";
const REVIEWS_BEGUN: &str = "insert into payments_to_review (payment_id) select * from unnest($1::uuid[]) \
     on conflict do nothing";
const REVIEWS_ENDED: &str = "delete from payments_to_review where payment_id = any($1)";
const WITHDRAWALS_NEW: &str = "insert into withdrawals (id, merchant_id, amount, currency, status, \
     bank_account_masked, bank_routing_masked, bank_details_sealed, external_transaction_id, failure_reason, \
     created_at, processed_at, completed_at) \
     select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::smallint[], $6::text[], \
     $7::text[], $8::bytea[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[])";
const WITHDRAWALS_CHANGED: &str = "update withdrawals set status = n.status, \
     external_transaction_id = n.external_transaction_id, failure_reason = n.failure_reason, \
     processed_at = n.processed_at, completed_at = n.completed_at \
     from unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[]) \
     as n (id, status, external_transaction_id, failure_reason, processed_at, completed_at) \
     where withdrawals.id = n.id";
const ACCOUNTS: &str = "insert into accounts (owner, kind, currency, balance, entries, updated_at) \
     select * from unnest($1::uuid[], $2::smallint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) \
     on conflict (owner, kind, currency) do update set balance = excluded.balance, \
     entries = excluded.entries, updated_at = excluded.updated_at";
const ENTRIES: &str = "insert into ledger_entries (id, transaction_id, owner, kind, currency, number, \
     amount, balance_after, entry_type, payment_id, withdrawal_id, created_at) \
     select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::text[], $6::bigint[], \
     $7::bigint[], $8::bigint[], $9::smallint[], $10::uuid[], $11::uuid[], $12::bigint[])";
const KEYS_EXPIRED: &str = "delete from idempotency_keys where key_hash = any($1)";
const KEYS: &str = "insert into idempotency_keys (key_hash, fingerprint, subject_kind, subject_id, lane, \
     sequence, size, created_at) \
     select * from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::uuid[], $5::smallint[], $6::bigint[], \
     $7::integer[], $8::bigint[])";
const ORIGINS: &str = "insert into command_origins (command_id, at, actor, request_id, merchant_id, lane, \
     sequence, events) \
     select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::uuid[], $6::smallint[], \
     $7::bigint[], $8::integer[])";
const EVENTS: &str = "insert into events (lane, sequence, stream, position, event_id, command_id, \
     event_type, version, occurred_at, merchant_id, subject_id, payload, hash, trace) \
     select * from unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::uuid[], $6::uuid[], \
     $7::text[], $8::smallint[], $9::bigint[], $10::uuid[], $11::uuid[], $12::text[], $13::bytea[], \
     $14::bytea[])";
const HEADS: &str = "update lane_heads set sequence = n.sequence, clock = n.clock, \
     payments_position = n.payments_position, payments_hash = n.payments_hash, \
     withdrawals_position = n.withdrawals_position, withdrawals_hash = n.withdrawals_hash, \
     merchants_position = n.merchants_position, merchants_hash = n.merchants_hash \
     from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bigint[], \
     $7::bytea[], $8::bigint[], $9::bytea[]) as n (lane, sequence, clock, payments_position, payments_hash, \
     withdrawals_position, withdrawals_hash, merchants_position, merchants_hash) \
     where lane_heads.lane = n.lane";

/// A column of a list of rows, as the array that a statement takes.
macro_rules! column {
    ($rows:expr, $row:pat => $value:expr) => {
        Box::new($rows.iter().map(|$row| $value).collect::<Vec<_>>()) as Column<'_>
    };
}

type Column<'a> = Box<dyn ToSql + Sync + Send + 'a>;

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            merchants_new: client.prepare(MERCHANTS_NEW).await?,
            merchants_changed: client.prepare(MERCHANTS_CHANGED).await?,
            payments_new: client.prepare(PAYMENTS_NEW).await?,
            payments_changed: client.prepare(PAYMENTS_CHANGED).await?,
            reviews_begun: client.prepare(REVIEWS_BEGUN).await?,
            reviews_ended: client.prepare(REVIEWS_ENDED).await?,
            withdrawals_new: client.prepare(WITHDRAWALS_NEW).await?,
            withdrawals_changed: client.prepare(WITHDRAWALS_CHANGED).await?,
            accounts: client.prepare(ACCOUNTS).await?,
            entries: client.prepare(ENTRIES).await?,
            keys_expired: client.prepare(KEYS_EXPIRED).await?,
            keys: client.prepare(KEYS).await?,
            origins: client.prepare(ORIGINS).await?,
            events: client.prepare(EVENTS).await?,
            heads: client.prepare(HEADS).await?,
        })
    }

    pub(super) async fn write_and_commit(&self, client: &Client, writes: &Writes) -> Result<(), Error> {
        let steps: Vec<(&Statement, Vec<Column<'_>>)> = [
            (writes.merchants_new.len(), &self.merchants_new, merchants_new as Columns),
            (writes.merchants_changed.len(), &self.merchants_changed, merchants_changed),
            (writes.payments_new.len(), &self.payments_new, payments_new),
            (writes.payments_changed.len(), &self.payments_changed, payments_changed),
            (reviews::begun(writes).len(), &self.reviews_begun, reviews_begun),
            (reviews::ended(writes).len(), &self.reviews_ended, reviews_ended),
            (writes.withdrawals_new.len(), &self.withdrawals_new, withdrawals_new),
            (writes.withdrawals_changed.len(), &self.withdrawals_changed, withdrawals_changed),
            (writes.accounts.len(), &self.accounts, accounts),
            (writes.entries.len(), &self.entries, entries),
            (writes.keys_expired.len(), &self.keys_expired, keys_expired),
            (writes.keys.len(), &self.keys, keys),
            (writes.origins.len(), &self.origins, origins),
            (writes.events.len(), &self.events, events),
            (writes.heads.len(), &self.heads, heads),
        ]
        .into_iter()
        .filter(|(rows, ..)| *rows > 0)
        .map(|(_, statement, columns)| (statement, columns(writes)))
        .collect();
        let params: Vec<Vec<&(dyn ToSql + Sync)>> = steps
            .iter()
            .map(|(_, columns)| columns.iter().map(|column| &**column as &(dyn ToSql + Sync)).collect())
            .collect();
        let mut sent: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::with_capacity(steps.len() + 1);
        for ((statement, _), params) in steps.iter().zip(&params) {
            sent.push(Box::pin(async move { client.execute(*statement, params).await.map(|_| ()) }));
        }
        sent.push(Box::pin(client.batch_execute("commit")));
        // All are polled once, in order, before any answer is awaited: that sends them in order.
        join_all(sent).await.into_iter().collect()
    }
}

type Columns = for<'a> fn(&'a Writes) -> Vec<Column<'a>>;

fn merchants_new(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.merchants_new;
    vec![
        column!(rows, m => m.id.0),
        column!(rows, m => m.name.as_str()),
        column!(rows, m => m.email.as_str()),
        column!(rows, m => domain::merchant::EmailKey::of(&m.email).as_str().to_owned()),
        column!(rows, m => i16::from(m.is_active)),
        column!(rows, m => m.created_at.as_micros()),
    ]
}

fn merchants_changed(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.merchants_changed;
    vec![
        column!(rows, m => m.id.0),
        column!(rows, m => m.name.as_str()),
        column!(rows, m => i16::from(m.is_active)),
    ]
}

fn payments_new(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.payments_new;
    vec![
        column!(rows, p => p.id.0),
        column!(rows, p => p.merchant_id.0),
        column!(rows, p => p.amount.get()),
        column!(rows, p => p.currency.code()),
        column!(rows, p => p.status.number()),
        column!(rows, p => p.external_reference.as_deref()),
        column!(rows, p => p.description.as_deref()),
        column!(rows, p => p.created_at.as_micros()),
        column!(rows, p => p.completed_at.map(|t| t.as_micros())),
        column!(rows, p => p.completed_by.map(|by| by.number())),
        column!(rows, p => p.refunded_minor),
        column!(rows, p => p.refunded_at.map(|t| t.as_micros())),
        column!(rows, p => p.refund_reason.as_deref()),
        column!(rows, p => p.flag_reason.as_deref()),
    ]
}

fn payments_changed(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.payments_changed;
    vec![
        column!(rows, p => p.id.0),
        column!(rows, p => p.status.number()),
        column!(rows, p => p.completed_at.map(|t| t.as_micros())),
        column!(rows, p => p.completed_by.map(|by| by.number())),
        column!(rows, p => p.refunded_minor),
        column!(rows, p => p.refunded_at.map(|t| t.as_micros())),
        column!(rows, p => p.refund_reason.as_deref()),
        column!(rows, p => p.flag_reason.as_deref()),
    ]
}

fn reviews_begun(writes: &Writes) -> Vec<Column<'_>> {
    vec![Box::new(reviews::begun(writes)) as Column<'_>]
}

fn reviews_ended(writes: &Writes) -> Vec<Column<'_>> {
    vec![Box::new(reviews::ended(writes)) as Column<'_>]
}

fn withdrawals_new(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.withdrawals_new;
    vec![
        column!(rows, (w, _) => w.id.0),
        column!(rows, (w, _) => w.merchant_id.0),
        column!(rows, (w, _) => w.amount.get()),
        column!(rows, (w, _) => w.currency.code()),
        column!(rows, (w, _) => w.status.number()),
        column!(rows, (w, _) => w.bank_account_masked.as_str()),
        column!(rows, (w, _) => w.bank_routing_masked.as_str()),
        column!(rows, (_, sealed) => sealed.as_slice()),
        column!(rows, (w, _) => w.external_transaction_id.as_deref()),
        column!(rows, (w, _) => w.failure_reason.as_deref()),
        column!(rows, (w, _) => w.created_at.as_micros()),
        column!(rows, (w, _) => w.processed_at.map(|t| t.as_micros())),
        column!(rows, (w, _) => w.completed_at.map(|t| t.as_micros())),
    ]
}

fn withdrawals_changed(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.withdrawals_changed;
    vec![
        column!(rows, w => w.id.0),
        column!(rows, w => w.status.number()),
        column!(rows, w => w.external_transaction_id.as_deref()),
        column!(rows, w => w.failure_reason.as_deref()),
        column!(rows, w => w.processed_at.map(|t| t.as_micros())),
        column!(rows, w => w.completed_at.map(|t| t.as_micros())),
    ]
}

fn accounts(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.accounts;
    vec![
        column!(rows, (key, _) => key.owner.to_uuid()),
        column!(rows, (key, _) => key.kind.number()),
        column!(rows, (key, _) => key.currency.code()),
        column!(rows, (_, account) => account.balance_minor),
        column!(rows, (_, account) => account.entries),
        column!(rows, (_, account) => account.updated_at.as_micros()),
    ]
}

fn entries(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.entries;
    vec![
        column!(rows, e => e.id.0),
        column!(rows, e => e.transaction_id.0),
        column!(rows, e => e.account.owner.to_uuid()),
        column!(rows, e => e.account.kind.number()),
        column!(rows, e => e.account.currency.code()),
        column!(rows, e => e.number),
        column!(rows, e => e.amount_minor),
        column!(rows, e => e.balance_after_minor),
        column!(rows, e => e.entry_type.number()),
        column!(rows, e => e.payment_id.map(|id| id.0)),
        column!(rows, e => e.withdrawal_id.map(|id| id.0)),
        column!(rows, e => e.created_at.as_micros()),
    ]
}

fn keys_expired(writes: &Writes) -> Vec<Column<'_>> {
    vec![Box::new(writes.keys_expired.as_slice()) as Column<'_>]
}

fn keys(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.keys;
    vec![
        column!(rows, k => k.claim.key_hash),
        column!(rows, k => k.claim.fingerprint),
        column!(rows, k => k.kind as i16),
        column!(rows, k => k.subject_id),
        column!(rows, k => lane(k.lane.0)),
        column!(rows, k => k.sequence),
        column!(rows, k => i32::try_from(k.size).unwrap_or(i32::MAX)),
        column!(rows, k => k.created_at.as_micros()),
    ]
}

fn origins(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.origins;
    vec![
        column!(rows, o => o.command_id.0),
        column!(rows, o => o.at.as_micros()),
        column!(rows, o => o.origin.actor()),
        column!(rows, o => o.origin.request_id()),
        column!(rows, o => o.merchant_id.0),
        column!(rows, o => lane(o.lane.0)),
        column!(rows, o => o.sequence),
        column!(rows, o => i32::try_from(o.events).unwrap_or(i32::MAX)),
    ]
}

fn events(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.events;
    vec![
        column!(rows, e => lane(e.lane.0)),
        column!(rows, e => e.sequence),
        column!(rows, e => e.stream.number()),
        column!(rows, e => e.position),
        column!(rows, e => e.event_id.0),
        column!(rows, e => e.command_id.0),
        column!(rows, e => e.event_type.as_str()),
        column!(rows, e => lane(e.version)),
        column!(rows, e => e.occurred_at.as_micros()),
        column!(rows, e => e.merchant_id.0),
        column!(rows, e => e.subject_id),
        column!(rows, e => e.payload.as_str()),
        column!(rows, e => e.hash.as_slice()),
        column!(rows, e => e.trace.map(|trace| trace.to_bytes().to_vec())),
    ]
}

fn heads(writes: &Writes) -> Vec<Column<'_>> {
    let rows = &writes.heads;
    vec![
        column!(rows, h => lane(h.lane.0)),
        column!(rows, h => h.sequence),
        column!(rows, h => h.clock.as_micros()),
        column!(rows, h => h.streams[0].0),
        column!(rows, h => h.streams[0].1.as_slice()),
        column!(rows, h => h.streams[1].0),
        column!(rows, h => h.streams[1].1.as_slice()),
        column!(rows, h => h.streams[2].0),
        column!(rows, h => h.streams[2].1.as_slice()),
    ]
}

/// Lanes and versions are small; the column is a smallint.
fn lane(number: u16) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}
