//! A database in memory, for the simulator: SQLite's engine and this crate's own statements, behind the locking of
//! PostgreSQL: each batch locks the rows of its lanes and nothing else, so several writers are in their batches at once.
//!
//! What a process has begun and not committed is gone when its sessions are dropped, as when its connection breaks.
//! Nothing here is written to a disk, and nothing outlives the last connection.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{lane::Lane, time::Timestamp};
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::{Gate, batch_error, load, migrate, query, read_error, write};
use crate::{
    batch::{Loaded, Needs, Writes},
    error::{OpenError, ReadError},
    fault::{self, Fault},
    session::{BatchError, Connect, Session},
    sql::{Dialect, Effects, Reads, Row, Transaction, Value},
};

/// Two databases of one process must not have one name.
static MADE: AtomicU64 = AtomicU64::new(0);
const CACHED_STATEMENTS_MAX: usize = 128;
/// Between the two halves of [`Fault::SplitBatch`].
const SPLIT: Duration = Duration::from_millis(5);

/// The database, as every process has it that is connected to it.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

struct Inner {
    lanes: BTreeMap<Lane, Arc<tokio::sync::Mutex<()>>>,
    /// Whoever writes holds it: a batch for the moment of its commit, a consumer for its transaction.
    gate: Gate,
    /// Sees what is committed.
    reader: Mutex<Connection>,
    /// Shared by all that write, one after the other.
    writer: Arc<Mutex<Connection>>,
}

impl Memory {
    pub fn new(lanes: u16, now: Timestamp) -> Result<Self, OpenError> {
        let name = format!("file:/fintech-{}?vfs=memdb", MADE.fetch_add(1, Ordering::Relaxed));
        let refused =
            |error: rusqlite::Error| OpenError::Connect { location: name.clone(), reason: error.to_string() };
        let writer = open(&name).map_err(refused)?;
        migrate::apply(&writer, Some(lanes), now, refused)?;
        let inner = Inner {
            lanes: (0..lanes).map(|lane| (Lane(lane), Arc::default())).collect(),
            gate: Gate::default(),
            reader: Mutex::new(open(&name).map_err(refused)?),
            writer: Arc::new(Mutex::new(writer)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Changes the database from outside, for a table of a test.
    pub fn execute(&self, sql: &str) -> Result<(), ReadError> {
        self.lock_writer().execute_batch(sql).map_err(read_error)
    }

    /// All of it, or nothing.
    fn write(
        &self,
        work: impl FnOnce(&Connection) -> Result<(), rusqlite::Error>,
    ) -> Result<(), BatchError> {
        let writer = self.lock_writer();
        writer.execute_batch("begin immediate").map_err(batch_error)?;
        let written = work(&writer);
        writer.execute_batch(if written.is_ok() { "commit" } else { "rollback" }).map_err(batch_error)?;
        written.map_err(batch_error)
    }

    fn lock_writer(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(name: &str) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(name, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS_MAX);
    connection.pragma_update(None, "journal_mode", "memory")?;
    connection.pragma_update(None, "synchronous", "off")?;
    // What does not fit would be written early, under a lock that keeps readers out.
    connection.pragma_update(None, "cache_spill", false)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

impl Connect for Memory {
    type Session = MemorySession;

    async fn connect(&self) -> Result<MemorySession, BatchError> {
        Ok(MemorySession { memory: self.clone(), locked: Vec::new() })
    }
}

/// A writer's connection.
pub struct MemorySession {
    memory: Memory,
    locked: Vec<OwnedMutexGuard<()>>,
}

impl Session for MemorySession {
    async fn begin(&mut self, needs: &Needs) -> Result<Loaded, BatchError> {
        self.locked.clear();
        for lane in needs.lanes.iter().filter(|_| !fault::is_on(Fault::SkipLaneLock)) {
            let lock = self.memory.inner.lanes.get(lane).cloned().unwrap_or_default();
            self.locked.push(lock.lock_owned().await);
        }
        let reader = self.memory.inner.reader.lock().unwrap_or_else(PoisonError::into_inner);
        load::load(&reader, needs).map_err(|error| BatchError::Broken(error.to_string()))
    }

    async fn commit(&mut self, writes: &Writes) -> Result<(), BatchError> {
        let _turn = self.memory.inner.gate.clone().lock_owned().await;
        if fault::is_on(Fault::SplitBatch) {
            self.memory.write(|connection| write::log(connection, writes))?;
            tokio::time::sleep(SPLIT).await;
            self.memory.write(|connection| write::tables(connection, writes))?;
        } else {
            self.memory.write(|connection| write::write(connection, writes))?;
        }
        self.locked.clear();
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), BatchError> {
        self.locked.clear();
        Ok(())
    }

    async fn commands_behind(&mut self, lane: Lane, sequence: i64) -> Result<Vec<Uuid>, BatchError> {
        let reader = self.memory.inner.reader.lock().unwrap_or_else(PoisonError::into_inner);
        load::commands_behind(&reader, lane, sequence).map_err(batch_error)
    }
}

impl Reads for Memory {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        let reader = self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let found = query(&reader, sql, params);
        Box::pin(std::future::ready(found))
    }
}

impl Effects for Memory {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, ReadError>> {
        Box::pin(async move {
            let turn = self.inner.gate.clone().lock_owned().await;
            self.execute("begin immediate")?;
            let transaction =
                MemoryTransaction { connection: self.inner.writer.clone(), has_ended: false, _turn: turn };
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }
}

struct MemoryTransaction {
    connection: Arc<Mutex<Connection>>,
    has_ended: bool,
    _turn: OwnedMutexGuard<()>,
}

impl MemoryTransaction {
    fn connection(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MemoryTransaction {
    fn drop(&mut self) {
        if !self.has_ended {
            let rolled_back = self.connection().execute_batch("rollback");
            debug_assert!(rolled_back.is_ok(), "a transaction that is open can be rolled back: {rolled_back:?}");
        }
    }
}

impl Transaction for MemoryTransaction {
    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        let found = query(&self.connection(), sql, params);
        Box::pin(std::future::ready(found))
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, ReadError>> {
        let executed = super::execute(&self.connection(), sql, params);
        Box::pin(std::future::ready(executed))
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), ReadError>> {
        Box::pin(async move {
            self.has_ended = true;
            self.connection().execute_batch("commit").map_err(read_error)
        })
    }
}
