//! The baseline of the embedded back end: a loop that writes the rows of POST …/payments into the program's own
//! tables, one transaction a batch, without HTTP, decisions, JSON or hashing.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::random::Random;

const PAYLOAD: &str = r#"{"eventId":"01935a7e-0000-7000-8000-000000000001","occurredAt":"2026-11-23T12:00:00.000000Z","eventType":"PaymentCreated","paymentId":"01935a7e-0000-7000-8000-000000000002","merchantId":"01935a7e-0000-7000-8000-000000000003","amountInMinorUnits":5000,"currency":"USD","externalReference":"order-1234567","description":"A payment for something nice"}"#;
const HASH: [u8; 32] = [7; 32];
const MERCHANTS: usize = 100;
const LANES: i64 = 16;
/// As the program sets it.
const CHECKPOINT_PAGES: i64 = 4000;

/// What has an idempotency key, a merchant and a lane of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Each payment, as when each is a request.
    APayment,
    /// The batch, as when it is one.
    ABatch,
}

#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    #[error("the bare SQLite loop failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the bare SQLite loop ended by a panic")]
    Panic,
}

/// Payments a second. The database must have been made by `fintech migrate`.
pub async fn payments_per_second(
    path: &Path,
    batch: u64,
    keys: Keys,
    duration: Duration,
) -> Result<f64, SqliteError> {
    let path = path.to_owned();
    let run = move || run(&path, batch, keys, duration);
    tokio::task::spawn_blocking(run).await.map_err(|_| SqliteError::Panic)?
}

fn run(path: &Path, batch: u64, keys: Keys, duration: Duration) -> Result<f64, SqliteError> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    let merchants: Vec<Uuid> = (0..MERCHANTS).map(|_| Uuid::now_v7()).collect();
    let begun = Instant::now();
    let mut written: i64 = 0;
    while begun.elapsed() < duration {
        connection.execute_batch("begin immediate")?;
        match keys {
            Keys::APayment => {
                for _ in 0..batch {
                    written += 1;
                    let merchant = merchants[usize::try_from(written).unwrap_or(0) % MERCHANTS];
                    payment(&connection, written, written % LANES, merchant)?;
                    ends(&connection, written, written % LANES)?;
                }
            }
            Keys::ABatch => {
                let merchant_number = Random::new(written.unsigned_abs(), 0).index(MERCHANTS);
                let lane = i64::try_from(merchant_number).unwrap_or(0) % LANES;
                for _ in 0..batch {
                    written += 1;
                    payment(&connection, written, lane, merchants[merchant_number])?;
                }
                ends(&connection, written, lane)?;
            }
        }
        connection.execute_batch("commit")?;
    }
    let written = u64::try_from(written).unwrap_or(0);
    Ok(crate::report::rate(written, begun.elapsed().as_secs_f64()))
}

fn payment(connection: &Connection, number: i64, lane: i64, merchant: Uuid) -> rusqlite::Result<()> {
    let merchant = merchant.as_bytes();
    let (id, event) = (Uuid::now_v7(), Uuid::now_v7());
    connection
        .prepare_cached(
            "insert into payments (id, merchant_id, amount, currency, status, external_reference, description, \
             created_at, refunded) values (?, ?, 5000, 'USD', 1, 'order-1234567', 'A payment for something nice', ?, 0)",
        )?
        .execute(params![id.as_bytes(), merchant, number])?;
    connection
        .prepare_cached(
            "insert into events (lane, sequence, stream, position, event_id, command_id, event_type, version, \
             occurred_at, merchant_id, subject_id, payload, hash) \
             values (?1, ?2, 1, ?2, ?3, ?4, 'PaymentCreated', 1, ?2, ?5, ?4, ?6, ?7)",
        )?
        .execute(params![lane, number, event.as_bytes(), id.as_bytes(), merchant, PAYLOAD, HASH])?;
    Ok(())
}

/// The lane's head and the idempotency key of a request.
fn ends(connection: &Connection, number: i64, lane: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "update lane_heads set sequence = ?2, clock = ?2, payments_position = ?2, payments_hash = ?3 \
             where lane = ?1",
        )?
        .execute(params![lane, number, HASH])?;

    let (key, id) = (Uuid::new_v4(), Uuid::now_v7());
    let (first, _) = key.as_u64_pair();
    connection
        .prepare_cached(
            "insert into idempotency_keys (key_hash, key_prefix, fingerprint, subject_kind, subject_id, lane, \
             sequence, size, created_at) values (?, ?, ?, 3, ?, ?, ?, 1, ?)",
        )?
        .execute(params![
            key.as_bytes(),
            first.cast_signed(),
            id.as_bytes(),
            id.as_bytes(),
            lane,
            number,
            number
        ])?;
    Ok(())
}
