//! Transactions of consumers. They take turns with the writer at the gate, and do not wait for the disk:
//! effect and position are atomic together, so after a power cut both are done again.
//!
//! The statements run on the task's own thread: they are look-ups and appends without a flush, and the
//! gate lets one transaction in at a time, so at most one thread of the runtime is busy with them. Handing
//! the thread over each time (`block_in_place`) cost a tenth of the throughput and twice the memory, in
//! threads that each keep an arena of their own.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use rusqlite::Connection;
use tokio::sync::OwnedMutexGuard;

use super::{DatabasePath, Gate, execute, open, query, read_error};
use crate::{
    error::ReadError,
    sql::{Durability, Effects, Rows, Transaction, Value},
};

pub struct SqliteEffects {
    path: DatabasePath,
    gate: Gate,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl SqliteEffects {
    pub(crate) fn new(path: DatabasePath, gate: Gate) -> Self {
        Self { path, gate, idle: Arc::default() }
    }
}

impl Effects for SqliteEffects {
    fn begin(&self, durability: Durability) -> BoxFuture<'_, Result<Box<dyn Transaction>, ReadError>> {
        Box::pin(async move {
            let turn = self.gate.clone().lock_owned().await;
            let idle = match durability {
                Durability::Atomic => self.idle.clone(),
                // They are rare: each has a connection of its own, which ends with it.
                Durability::Full => Arc::default(),
            };
            let waiting = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match waiting {
                Some(connection) => connection,
                None => open(&self.path, durability).map_err(read_error)?,
            };
            connection.execute_batch("begin immediate").map_err(read_error)?;
            let transaction = SqliteTransaction { connection: Some(connection), idle, _turn: turn };
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }
}

struct SqliteTransaction {
    /// Taken out when the transaction has ended.
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _turn: OwnedMutexGuard<()>,
}

impl SqliteTransaction {
    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("a transaction that can be used has its connection")
    }

    fn end(&mut self, statement: &str) -> Result<(), ReadError> {
        let Some(connection) = self.connection.take() else {
            return Ok(());
        };
        connection.execute_batch(statement).map_err(read_error)?;
        // A connection whose transaction did not end well is closed instead, which rolls it back.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(())
    }
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        if let Err(error) = self.end("rollback") {
            tracing::warn!(%error, "a consumer's transaction could not be rolled back; its connection is closed");
        }
    }
}

impl Transaction for SqliteTransaction {
    fn query<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        Box::pin(async move { query(self.connection(), sql, params) })
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move { execute(self.connection(), sql, params) })
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), ReadError>> {
        Box::pin(async move { self.end("commit") })
    }
}
