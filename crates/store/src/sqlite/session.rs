//! The writer's connection.

use std::sync::Arc;

use domain::lane::Lane;
use rusqlite::Connection;
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

use super::{DatabasePath, batch_error, load, open, write};
use crate::{
    batch::{Loaded, Needs, Writes},
    session::{BatchError, Connect, Session},
    sql::Durability,
};

/// Whoever writes to the file holds it: turns are taken in order, without polling for the file's lock.
pub type Gate = Arc<Mutex<()>>;

pub struct SqliteConnect {
    pub path: DatabasePath,
    pub gate: Gate,
}

impl Connect for SqliteConnect {
    type Session = SqliteSession;
    const SYSTEM: &'static str = "sqlite";

    async fn connect(&self) -> Result<SqliteSession, BatchError> {
        let connection = open(&self.path, Durability::Full).map_err(batch_error)?;
        Ok(SqliteSession { connection, gate: self.gate.clone(), turn: None })
    }
}

pub struct SqliteSession {
    connection: Connection,
    gate: Gate,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Session for SqliteSession {
    async fn begin(&mut self, needs: &Needs) -> Result<Loaded, BatchError> {
        self.turn = Some(self.gate.clone().lock_owned().await);
        // Immediate: a deferred transaction that upgrades fails at once, whatever the busy time-out.
        self.connection.execute_batch("begin immediate").map_err(batch_error)?;
        load::load(&self.connection, needs).map_err(|error| match error {
            crate::error::ReadError::Unavailable(reason) => BatchError::Unavailable(reason),
            crate::error::ReadError::Invalid(reason) => BatchError::Broken(reason),
        })
    }

    async fn commit(&mut self, writes: &Writes) -> Result<(), BatchError> {
        write::write(&self.connection, writes).map_err(batch_error)?;
        let committed = self.connection.execute_batch("commit");
        let is_open = !self.connection.is_autocommit();
        if committed.is_err() && is_open {
            // Still in the transaction: it certainly was not committed.
            let _ = self.connection.execute_batch("rollback");
        }
        self.turn = None;
        match committed {
            Ok(()) => Ok(()),
            Err(error) if is_open => Err(batch_error(error)),
            Err(error) => Err(BatchError::OutcomeUnknown(error.to_string())),
        }
    }

    async fn rollback(&mut self) -> Result<(), BatchError> {
        let rolled_back = self.connection.execute_batch("rollback").map_err(batch_error);
        self.turn = None;
        rolled_back
    }

    async fn commands_behind(&mut self, lane: Lane, sequence: i64) -> Result<Vec<Uuid>, BatchError> {
        load::commands_behind(&self.connection, lane, sequence).map_err(batch_error)
    }
}
