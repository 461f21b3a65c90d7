//! The database as a process of the simulation sees it: over a connection that breaks, with answers that are lost.

use std::sync::Arc;

use domain::lane::Lane;
use futures_util::future::BoxFuture;
use store::{
    batch::{Loaded, Needs, Writes},
    error::ReadError,
    memory::{Memory, MemorySession},
    session::{BatchError, Connect, Session},
    sql::{Dialect, Durability, Effects, Reads, Rows, Transaction, Value},
};
use uuid::Uuid;

use crate::chaos::{Chaos, Commit, Machine, latency};

const AWAY: &str = "the database is away";
const BROKEN: &str = "the connection broke";
const FULL: &str = "the disk is full";

#[derive(Clone)]
pub struct Database {
    pub memory: Memory,
    pub chaos: Arc<Chaos>,
    pub machine: Arc<Machine>,
}

impl Database {
    /// A message to the database; gives the connections of now.
    async fn reach(&self) -> Result<u64, &'static str> {
        self.machine.pass().await;
        latency().await;
        self.chaos.connections().ok_or(AWAY)
    }

    /// The same over a connection that was made before.
    async fn reach_over(&self, connection: u64) -> Result<(), &'static str> {
        if self.reach().await? == connection { Ok(()) } else { Err(BROKEN) }
    }

    /// The answer on its way back: who stands still gets it later.
    async fn answer(&self) {
        latency().await;
        self.machine.pass().await;
    }
}

fn unavailable(reason: &str) -> BatchError {
    BatchError::Unavailable(reason.to_owned())
}

fn away(reason: &str) -> ReadError {
    ReadError::Unavailable(reason.to_owned())
}

impl Connect for Database {
    type Session = DatabaseSession;
    const SYSTEM: &'static str = "sqlite";

    async fn connect(&self) -> Result<DatabaseSession, BatchError> {
        let connection = self.reach().await.map_err(unavailable)?;
        Ok(DatabaseSession {
            session: Some(self.memory.connect().await?),
            database: self.clone(),
            connection,
        })
    }
}

pub struct DatabaseSession {
    /// Taken away when it is of no more use.
    session: Option<MemorySession>,
    database: Database,
    connection: u64,
}

impl DatabaseSession {
    /// The session on the other side, if it can be reached.
    async fn reach(&mut self) -> Result<&mut MemorySession, BatchError> {
        let reached = self.database.reach_over(self.connection).await;
        if reached.is_err() {
            // The database has noticed, too, and has rolled back.
            self.session = None;
        }
        reached.map_err(unavailable)?;
        self.session.as_mut().ok_or_else(|| unavailable(BROKEN))
    }
}

impl Session for DatabaseSession {
    async fn begin(&mut self, needs: &Needs) -> Result<Loaded, BatchError> {
        let loaded = self.reach().await?.begin(needs).await?;
        self.reach().await?;
        self.database.answer().await;
        Ok(loaded)
    }

    async fn commit(&mut self, writes: &Writes) -> Result<(), BatchError> {
        self.reach().await?;
        let unknown = || BatchError::OutcomeUnknown(BROKEN.to_owned());
        let commit = self.database.chaos.commit();
        let mut session = self.session.take().ok_or_else(|| unavailable(BROKEN))?;
        match commit {
            Commit::Refused => return Err(unavailable(FULL)),
            Commit::Lost => return Err(unknown()),
            Commit::MadeLate(after) => {
                // The database goes on by itself, and holds the locks meanwhile.
                let writes = writes.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    // Whether it could be made is found out by whoever asks.
                    drop(session.commit(&writes).await);
                });
                return Err(unknown());
            }
            Commit::Made | Commit::AnswerLost => {}
        }
        session.commit(writes).await?;
        if commit == Commit::AnswerLost {
            return Err(unknown());
        }
        self.session = Some(session);
        self.database.answer().await;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), BatchError> {
        self.reach().await?.rollback().await
    }

    async fn commands_behind(&mut self, lane: Lane, sequence: i64) -> Result<Vec<Uuid>, BatchError> {
        let found = self.reach().await?.commands_behind(lane, sequence).await;
        self.database.answer().await;
        found
    }
}

impl Reads for Database {
    fn dialect(&self) -> Dialect {
        self.memory.dialect()
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        Box::pin(async move {
            self.reach().await.map_err(away)?;
            let found = self.memory.query(sql, params).await;
            self.answer().await;
            found
        })
    }
}

impl Effects for Database {
    fn begin(&self, durability: Durability) -> BoxFuture<'_, Result<Box<dyn Transaction>, ReadError>> {
        Box::pin(async move {
            let connection = self.reach().await.map_err(away)?;
            let transaction = self.memory.begin(durability).await?;
            let transaction =
                DatabaseTransaction { transaction: Some(transaction), database: self.clone(), connection };
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }
}

struct DatabaseTransaction {
    transaction: Option<Box<dyn Transaction>>,
    database: Database,
    connection: u64,
}

impl DatabaseTransaction {
    async fn reach(&mut self) -> Result<&mut Box<dyn Transaction>, ReadError> {
        let reached = self.database.reach_over(self.connection).await;
        if reached.is_err() {
            self.transaction = None;
        }
        reached.map_err(away)?;
        self.transaction.as_mut().ok_or_else(|| away(BROKEN))
    }
}

impl Transaction for DatabaseTransaction {
    fn query<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        Box::pin(async move { self.reach().await?.query(sql, params).await })
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move { self.reach().await?.execute(sql, params).await })
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), ReadError>> {
        Box::pin(async move {
            self.reach().await?;
            let transaction = self.transaction.take().ok_or_else(|| away(BROKEN))?;
            match self.database.chaos.commit() {
                Commit::Refused => Err(away(FULL)),
                Commit::Lost => Err(away(BROKEN)),
                Commit::MadeLate(after) => {
                    tokio::spawn(async move {
                        tokio::time::sleep(after).await;
                        drop(transaction.commit().await);
                    });
                    Err(away(BROKEN))
                }
                Commit::AnswerLost => {
                    transaction.commit().await?;
                    Err(away(BROKEN))
                }
                Commit::Made => {
                    transaction.commit().await?;
                    self.database.answer().await;
                    Ok(())
                }
            }
        })
    }
}
