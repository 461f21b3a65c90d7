//! The baseline of `docs/performance.md` for the embedded back end: a loop that writes the rows of
//! POST …/payments into the program's own tables, one transaction a batch, without HTTP, decisions,
//! JSON or hashing.
//!
//! `cargo run --release -p store --example bare_sqlite -- DATABASE BATCH SECONDS`; the database must
//! have been made by `fintech migrate`.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use uuid::Uuid;

const PAYLOAD: &str = r#"{"eventId":"01935a7e-0000-7000-8000-000000000001","occurredAt":"2026-11-23T12:00:00.000000Z","eventType":"PaymentCreated","paymentId":"01935a7e-0000-7000-8000-000000000002","merchantId":"01935a7e-0000-7000-8000-000000000003","amountInMinorUnits":5000,"currency":"USD","externalReference":"order-1234567","description":"A payment for something nice"}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, batch, seconds] = arguments.as_slice() else {
        return Err("usage: bare_sqlite DATABASE BATCH SECONDS".into());
    };
    let (batch, seconds): (u64, u64) = (batch.parse()?, seconds.parse()?);
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    let merchants: Vec<Uuid> = (0..100).map(|_| Uuid::now_v7()).collect();
    let begun = Instant::now();
    let mut written: u64 = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        connection.execute_batch("begin immediate")?;
        for _ in 0..batch {
            written += 1;
            payment(&connection, written, &merchants)?;
        }
        connection.execute_batch("commit")?;
    }
    let rate = u128::from(written) * 1_000_000 / begun.elapsed().as_micros().max(1);
    println!("bare SQLite, batches of {batch}: {rate} payments/s");
    Ok(())
}

fn payment(
    connection: &Connection,
    number: u64,
    merchants: &[Uuid],
) -> Result<(), Box<dyn std::error::Error>> {
    let number = i64::try_from(number)?;
    let lane = number % 16;
    let merchant = merchants[usize::try_from(number)? % merchants.len()].as_bytes();
    let (id, event, key) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::new_v4());
    let hash = [7_u8; 32];
    connection
        .prepare_cached(
            "insert into payments (id, merchant_id, amount, currency, status, external_reference, description, \
             created_at, refunded) values (?, ?, 5000, 'USD', 1, 'order-1234567', 'A payment for something nice', ?, 0)",
        )?
        .execute(params![id.as_bytes(), merchant, number])?;
    let prefix = i64::from_be_bytes(key.as_bytes()[..8].try_into()?);
    connection
        .prepare_cached(
            "insert into idempotency_keys (key_hash, key_prefix, fingerprint, subject_kind, subject_id, lane, \
             sequence, size, created_at) values (?, ?, ?, 3, ?, ?, ?, 1, ?)",
        )?
        .execute(params![key.as_bytes(), prefix, id.as_bytes(), id.as_bytes(), lane, number, number])?;
    connection
        .prepare_cached(
            "insert into events (lane, sequence, stream, position, event_id, command_id, event_type, version, \
             occurred_at, merchant_id, subject_id, payload, hash) \
             values (?1, ?2, 1, ?2, ?3, ?4, 'PaymentCreated', 1, ?2, ?5, ?4, ?6, ?7)",
        )?
        .execute(params![lane, number, event.as_bytes(), id.as_bytes(), merchant, PAYLOAD, hash])?;
    connection
        .prepare_cached("update lane_heads set sequence = ?2, clock = ?2, payments_position = ?2, payments_hash = ?3 where lane = ?1")?
        .execute(params![lane, number, hash])?;
    Ok(())
}
