//! What a batch changes, one prepared statement a table.

use rusqlite::{Connection, Error, params};
use telemetry::trace::TraceContext;

use super::{id, load::key_prefix};
use crate::{
    batch::{LogEvent, StoredAnswer, Writes},
    origins::CommandOrigin,
    reviews,
};

pub(super) fn write(connection: &Connection, writes: &Writes) -> Result<(), Error> {
    tables(connection, writes)?;
    log(connection, writes)
}

/// What the log folds to.
pub(super) fn tables(connection: &Connection, writes: &Writes) -> Result<(), Error> {
    resources(connection, writes)?;
    ledger(connection, writes)?;
    keys(connection, writes)?;
    origins(connection, writes)
}

fn resources(connection: &Connection, writes: &Writes) -> Result<(), Error> {
    let mut insert = connection.prepare_cached(
        "insert into merchants (id, name, email, email_key, is_active, created_at) values (?, ?, ?, ?, ?, ?)",
    )?;
    for m in &writes.merchants_new {
        let email_key = domain::merchant::EmailKey::of(&m.email);
        insert.execute(params![
            id(&m.id.0),
            m.name,
            m.email,
            email_key.as_str(),
            m.is_active,
            m.created_at.as_micros()
        ])?;
    }
    let mut update =
        connection.prepare_cached("update merchants set name = ?2, is_active = ?3 where id = ?1")?;
    for m in &writes.merchants_changed {
        update.execute(params![id(&m.id.0), m.name, m.is_active])?;
    }
    let mut insert = connection.prepare_cached(
        "insert into payments (id, merchant_id, amount, currency, status, external_reference, description, \
         created_at, completed_at, completed_by, refunded, refunded_at, refund_reason, flag_reason) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for p in &writes.payments_new {
        insert.execute(params![
            id(&p.id.0),
            id(&p.merchant_id.0),
            p.amount.get(),
            p.currency.code(),
            p.status.number(),
            p.external_reference,
            p.description,
            p.created_at.as_micros(),
            p.completed_at.map(|t| t.as_micros()),
            p.completed_by.map(|by| by.number()),
            p.refunded_minor,
            p.refunded_at.map(|t| t.as_micros()),
            p.refund_reason,
            p.flag_reason,
        ])?;
    }
    let mut update = connection.prepare_cached(
        "update payments set status = ?2, completed_at = ?3, completed_by = ?4, refunded = ?5, \
         refunded_at = ?6, refund_reason = ?7, flag_reason = ?8 where id = ?1",
    )?;
    for p in &writes.payments_changed {
        update.execute(params![
            id(&p.id.0),
            p.status.number(),
            p.completed_at.map(|t| t.as_micros()),
            p.completed_by.map(|by| by.number()),
            p.refunded_minor,
            p.refunded_at.map(|t| t.as_micros()),
            p.refund_reason,
            p.flag_reason,
        ])?;
    }
    to_review(connection, writes)?;
    withdrawals(connection, writes)
}

fn to_review(connection: &Connection, writes: &Writes) -> Result<(), Error> {
    for payment in reviews::begun(writes) {
        let sql = "insert into payments_to_review (payment_id) values (?) on conflict do nothing";
        connection.prepare_cached(sql)?.execute([id(&payment)])?;
    }
    for payment in reviews::ended(writes) {
        let sql = "delete from payments_to_review where payment_id = ?";
        connection.prepare_cached(sql)?.execute([id(&payment)])?;
    }
    Ok(())
}

fn withdrawals(connection: &Connection, writes: &Writes) -> Result<(), Error> {
    let mut insert = connection.prepare_cached(
        "insert into withdrawals (id, merchant_id, amount, currency, status, bank_account_masked, \
         bank_routing_masked, bank_details_sealed, external_transaction_id, failure_reason, created_at, \
         processed_at, completed_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for (w, sealed) in &writes.withdrawals_new {
        insert.execute(params![
            id(&w.id.0),
            id(&w.merchant_id.0),
            w.amount.get(),
            w.currency.code(),
            w.status.number(),
            w.bank_account_masked,
            w.bank_routing_masked,
            sealed,
            w.external_transaction_id,
            w.failure_reason,
            w.created_at.as_micros(),
            w.processed_at.map(|t| t.as_micros()),
            w.completed_at.map(|t| t.as_micros()),
        ])?;
    }
    let mut update = connection.prepare_cached(
        "update withdrawals set status = ?2, external_transaction_id = ?3, failure_reason = ?4, \
         processed_at = ?5, completed_at = ?6 where id = ?1",
    )?;
    for w in &writes.withdrawals_changed {
        update.execute(params![
            id(&w.id.0),
            w.status.number(),
            w.external_transaction_id,
            w.failure_reason,
            w.processed_at.map(|t| t.as_micros()),
            w.completed_at.map(|t| t.as_micros()),
        ])?;
    }
    Ok(())
}

fn ledger(connection: &Connection, writes: &Writes) -> Result<(), Error> {
    let mut upsert = connection.prepare_cached(
        "insert into accounts (owner, kind, currency, balance, entries, updated_at) values (?, ?, ?, ?, ?, ?) \
         on conflict (owner, kind, currency) do update set balance = excluded.balance, \
         entries = excluded.entries, updated_at = excluded.updated_at",
    )?;
    for (key, account) in &writes.accounts {
        upsert.execute(params![
            id(&key.owner.to_uuid()),
            key.kind.number(),
            key.currency.code(),
            account.balance_minor,
            account.entries,
            account.updated_at.as_micros(),
        ])?;
    }
    let mut insert = connection.prepare_cached(
        "insert into ledger_entries (id, transaction_id, owner, kind, currency, number, amount, balance_after, \
         entry_type, payment_id, withdrawal_id, created_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for e in &writes.entries {
        insert.execute(params![
            id(&e.id.0),
            id(&e.transaction_id.0),
            id(&e.account.owner.to_uuid()),
            e.account.kind.number(),
            e.account.currency.code(),
            e.number,
            e.amount_minor,
            e.balance_after_minor,
            e.entry_type.number(),
            e.payment_id.as_ref().map(|p| id(&p.0)),
            e.withdrawal_id.as_ref().map(|w| id(&w.0)),
            e.created_at.as_micros(),
        ])?;
    }
    Ok(())
}

fn keys(connection: &Connection, writes: &Writes) -> Result<(), Error> {
    let mut delete =
        connection.prepare_cached("delete from idempotency_keys where key_prefix = ?1 and key_hash = ?2")?;
    for key in &writes.keys_expired {
        delete.execute(params![key_prefix(key), id(key)])?;
    }
    let mut insert = connection.prepare_cached(
        "insert into idempotency_keys (key_hash, key_prefix, fingerprint, subject_kind, subject_id, lane, \
         sequence, size, created_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for StoredAnswer { claim, kind, subject_id, lane, sequence, size, created_at } in &writes.keys {
        insert.execute(params![
            id(&claim.key_hash),
            key_prefix(&claim.key_hash),
            id(&claim.fingerprint),
            *kind as i64,
            id(subject_id),
            lane.0,
            sequence,
            size,
            created_at.as_micros(),
        ])?;
    }
    Ok(())
}

fn origins(connection: &Connection, writes: &Writes) -> Result<(), Error> {
    let mut insert = connection.prepare_cached(
        "insert into command_origins (command_id, at, actor, request_id, merchant_id, lane, sequence, events) \
         values (?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for CommandOrigin { command_id, at, origin, merchant_id, lane, sequence, events } in &writes.origins {
        insert.execute(params![
            id(&command_id.0),
            at.as_micros(),
            origin.actor(),
            origin.request_id(),
            id(&merchant_id.0),
            lane.0,
            sequence,
            events,
        ])?;
    }
    Ok(())
}

pub(super) fn log(connection: &Connection, writes: &Writes) -> Result<(), Error> {
    let mut insert = connection.prepare_cached(
        "insert into events (lane, sequence, stream, position, event_id, command_id, event_type, version, \
         occurred_at, merchant_id, subject_id, payload, hash, trace) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for event in &writes.events {
        let LogEvent { lane, sequence, stream, position, version, occurred_at, .. } = event;
        insert.execute(params![
            lane.0,
            sequence,
            stream.number(),
            position,
            id(&event.event_id.0),
            id(&event.command_id.0),
            event.event_type,
            version,
            occurred_at.as_micros(),
            id(&event.merchant_id.0),
            id(&event.subject_id),
            event.payload,
            event.hash,
            event.trace.map(TraceContext::to_bytes),
        ])?;
    }
    let mut update = connection.prepare_cached(
        "update lane_heads set sequence = ?2, clock = ?3, payments_position = ?4, payments_hash = ?5, \
         withdrawals_position = ?6, withdrawals_hash = ?7, merchants_position = ?8, merchants_hash = ?9 \
         where lane = ?1",
    )?;
    for head in &writes.heads {
        let [(payments, payments_hash), (withdrawals, withdrawals_hash), (merchants, merchants_hash)] =
            &head.streams;
        update.execute(params![
            head.lane.0,
            head.sequence,
            head.clock.as_micros(),
            payments,
            payments_hash,
            withdrawals,
            withdrawals_hash,
            merchants,
            merchants_hash,
        ])?;
    }
    Ok(())
}
