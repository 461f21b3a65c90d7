//! SQLite: one file in WAL mode, one writing thread, several readers.

mod effects;
mod load;
pub mod memory;
pub(crate) mod migrate;
mod reads;
mod session;
mod write;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig, types::ValueRef};
use uuid::Uuid;

pub use effects::SqliteEffects;
pub(crate) use load::key_prefix;
pub use reads::SqliteReads;
pub use session::{Gate, SqliteConnect};

use crate::{
    error::ReadError,
    session::BatchError,
    sql::{Durability, Rows, Value},
};

/// How long a connection waits for another *process* that writes; within the process the gate decides.
const BUSY_TIMEOUT_MS: i64 = 5000;
const CACHED_STATEMENTS_MAX: usize = 128;
/// The log is folded into the database file when it has this many pages of 4 KiB.
const CHECKPOINT_PAGES: i64 = 4000;

pub(crate) fn open(path: &Path, durability: Durability) -> Result<Connection, rusqlite::Error> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Without it a statement is planned anew whenever a bound that it compares with changes: each time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS_MAX);
    connection.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    let (synchronous, checkpoint) = match durability {
        Durability::Full => ("full", CHECKPOINT_PAGES),
        Durability::Atomic => ("normal", 0),
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", checkpoint)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

/// `sqlite:PATH` as a person wrote it, for messages.
pub(crate) fn location(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// Queries are written with `$1`, which SQLite reads as a name; `?1` is the number.
fn dialect(sql: &str) -> String {
    sql.replace('$', "?")
}

fn query(connection: &Connection, sql: &str, params: Vec<Value>) -> Result<Rows, ReadError> {
    let mut statement = connection.prepare_cached(&dialect(sql)).map_err(read_error)?;
    let columns = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(params)).map_err(read_error)?;
    let mut found = Rows::new(columns);
    while let Some(row) = rows.next().map_err(read_error)? {
        for column in 0..columns {
            push(&mut found, row.get_ref(column).map_err(read_error)?);
        }
    }
    Ok(found)
}

/// How many rows were changed.
fn execute(connection: &Connection, sql: &str, params: Vec<Value>) -> Result<u64, ReadError> {
    let mut statement = connection.prepare_cached(&dialect(sql)).map_err(read_error)?;
    let changed = statement.execute(rusqlite::params_from_iter(params)).map_err(read_error)?;
    Ok(changed as u64)
}

fn push(rows: &mut Rows, value: ValueRef<'_>) {
    match value {
        // No column holds a float; a sum that overflowed would.
        ValueRef::Null | ValueRef::Real(_) => rows.push_null(),
        ValueRef::Integer(value) => rows.push_int(value),
        // Checked as a whole first, which is several times faster than looking for what is not UTF-8.
        ValueRef::Text(text) => match str::from_utf8(text) {
            Ok(text) => rows.push_text(text),
            Err(_) => rows.push_text(&String::from_utf8_lossy(text)),
        },
        // What has the length of an id is nearly always one.
        ValueRef::Blob(bytes) => match Uuid::from_slice(bytes) {
            Ok(id) => rows.push_uuid(id),
            Err(_) => rows.push_bytes(bytes),
        },
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ToSqlOutput;
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Int(value) => ToSqlOutput::Borrowed(ValueRef::Integer(*value)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Uuid(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
        })
    }
}

fn is_transient(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted
        )
    )
}

fn read_error(error: rusqlite::Error) -> ReadError {
    if is_transient(&error) {
        ReadError::Unavailable(error.to_string())
    } else {
        ReadError::Invalid(error.to_string())
    }
}

fn batch_error(error: rusqlite::Error) -> BatchError {
    if is_transient(&error) {
        BatchError::Unavailable(error.to_string())
    } else {
        BatchError::Broken(error.to_string())
    }
}

fn id(bytes: &Uuid) -> &[u8] {
    bytes.as_bytes()
}

/// Where the database lies, shared by all that open it.
pub(crate) type DatabasePath = std::sync::Arc<PathBuf>;
