//! A database in memory, for the simulator: SQLite's engine and this crate's own statements, behind the locking of
//! PostgreSQL: each batch locks the rows of its lanes and nothing else, so several writers are in their batches at once.
//!
//! What a process has begun and not committed is gone when its sessions are dropped, as when its connection breaks. There
//! is one connection. Nobody must see what is not committed, so a consumer's transaction is kept as the list of its
//! statements, which are run again behind it each time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{lane::Lane, time::Timestamp};
use futures_util::future::BoxFuture;
use rusqlite::{Connection, config::DbConfig};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::{Gate, batch_error, load, migrate, query, read_error, write};
use crate::{
    batch::{Loaded, Needs, Writes},
    error::{OpenError, ReadError},
    fault::{self, Fault},
    session::{BatchError, Connect, Session},
    sql::{Dialect, Durability, Effects, Reads, Rows, Transaction, Value},
};

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
    connection: Mutex<Connection>,
}

impl Memory {
    pub fn new(lanes: u16, now: Timestamp) -> Result<Self, OpenError> {
        let refused = |error: rusqlite::Error| OpenError::Connect {
            location: "memory".to_owned(),
            reason: error.to_string(),
        };
        let connection = open().map_err(refused)?;
        migrate::apply(&connection, Some(lanes), now, refused)?;
        let inner = Inner {
            lanes: (0..lanes).map(|lane| (Lane(lane), Arc::default())).collect(),
            gate: Gate::default(),
            connection: Mutex::new(connection),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Changes the database from outside, for a table of a test.
    pub fn execute(&self, sql: &str) -> Result<(), ReadError> {
        self.connection().execute_batch(sql).map_err(read_error)
    }

    /// All of it, or nothing.
    fn write(&self, work: impl FnOnce(&Connection) -> Result<(), rusqlite::Error>) -> Result<(), BatchError> {
        let connection = self.connection();
        connection.execute_batch("begin").map_err(batch_error)?;
        let written = work(&connection);
        connection.execute_batch(if written.is_ok() { "commit" } else { "rollback" }).map_err(batch_error)?;
        written.map_err(batch_error)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open() -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_in_memory()?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS_MAX);
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

impl Connect for Memory {
    type Session = MemorySession;
    const SYSTEM: &'static str = "sqlite";

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
        load::load(&self.memory.connection(), needs).map_err(|error| BatchError::Broken(error.to_string()))
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
        load::commands_behind(&self.memory.connection(), lane, sequence).map_err(batch_error)
    }
}

impl Reads for Memory {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        let found = query(&self.connection(), sql, params);
        Box::pin(std::future::ready(found))
    }
}

impl Effects for Memory {
    fn begin(&self, _: Durability) -> BoxFuture<'_, Result<Box<dyn Transaction>, ReadError>> {
        Box::pin(async move {
            let turn = self.inner.gate.clone().lock_owned().await;
            let transaction = MemoryTransaction { memory: self.clone(), statements: Vec::new(), _turn: turn };
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }
}

struct MemoryTransaction {
    memory: Memory,
    statements: Vec<(String, Vec<Value>)>,
    /// Nobody else writes meanwhile, so the statements do the same each time.
    _turn: OwnedMutexGuard<()>,
}

impl MemoryTransaction {
    /// Runs all statements, then `last`, and keeps what they did or takes it back.
    fn run<T>(
        &self,
        end: &str,
        last: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let connection = self.memory.connection();
        connection.execute_batch("begin").map_err(read_error)?;
        let ran = self
            .statements
            .iter()
            .try_for_each(|(sql, params)| super::execute(&connection, sql, params.clone()).map(|_| ()));
        let result = ran.and_then(|()| last(&connection));
        connection.execute_batch(if result.is_ok() { end } else { "rollback" }).map_err(read_error)?;
        result
    }
}

impl Transaction for MemoryTransaction {
    fn query<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        let found = self.run("rollback", |connection| query(connection, sql, params));
        Box::pin(std::future::ready(found))
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, ReadError>> {
        let changed = self.run("rollback", |connection| super::execute(connection, sql, params.clone()));
        self.statements.push((sql.to_owned(), params));
        Box::pin(std::future::ready(changed))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), ReadError>> {
        let committed = self.run("commit", |_| Ok(()));
        Box::pin(std::future::ready(committed))
    }
}
