//! The writer's connection. A batch takes two round trips: begin, lock and load; write and commit.

use std::{future::Future, time::Duration};

use domain::lane::Lane;
use tokio_postgres::{Client, Config, types::ToSql};
use uuid::Uuid;

use super::{
    WRITER_OPTIONS, batch_error, config, connect, describe, is_statement_error,
    load::{Loads, load},
    write::Statements,
};
use crate::{
    batch::{Loaded, Needs, Writes},
    error::{OpenError, ReadError},
    session::{BatchError, Connect, Session},
};

/// Beyond the server's own time-outs: a server that does not answer at all is taken for gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

pub struct PostgresConnect {
    config: Config,
}

impl PostgresConnect {
    pub fn new(text: &str) -> Result<Self, OpenError> {
        Ok(Self { config: config(text, "fintech writer", WRITER_OPTIONS)? })
    }
}

impl Connect for PostgresConnect {
    type Session = PostgresSession;
    const SYSTEM: &'static str = "postgresql";

    async fn connect(&self) -> Result<PostgresSession, BatchError> {
        let prepare = async {
            let client = connect(&self.config).await?;
            let loads = Loads::prepare(&client).await?;
            let statements = Statements::prepare(&client).await?;
            Ok(PostgresSession { client, loads, statements })
        };
        in_time(prepare).await.map_err(|error: Failure| error.before_commit())
    }
}

pub struct PostgresSession {
    client: Client,
    loads: Loads,
    statements: Statements,
}

impl Session for PostgresSession {
    async fn begin(&mut self, needs: &Needs) -> Result<Loaded, BatchError> {
        let found = in_time(async { Ok(Box::pin(load(&self.client, &self.loads, needs)).await?) })
            .await
            .map_err(Failure::before_commit)?;
        found.map_err(|error| match error {
            ReadError::Unavailable(reason) => BatchError::Unavailable(reason),
            ReadError::Invalid(reason) => BatchError::Broken(reason),
        })
    }

    async fn commit(&mut self, writes: &Writes) -> Result<(), BatchError> {
        // COMMIT is on its way before the first answer is back, so a connection that breaks anywhere
        // here leaves the outcome unknown; only an error of a statement says that all was rolled back.
        in_time(async { Ok(self.statements.write_and_commit(&self.client, writes).await?) })
            .await
            .map_err(Failure::after_commit)
    }

    async fn rollback(&mut self) -> Result<(), BatchError> {
        in_time(async { Ok(self.client.batch_execute("rollback").await?) })
            .await
            .map_err(Failure::before_commit)
    }

    async fn commands_behind(&mut self, lane: Lane, sequence: i64) -> Result<Vec<Uuid>, BatchError> {
        let lane = i16::try_from(lane.0).map_err(|error| BatchError::Broken(error.to_string()))?;
        let sql = "select distinct command_id from events where lane = $1 and sequence > $2";
        let params: [&(dyn ToSql + Sync); 2] = [&lane, &sequence];
        let query = self.client.query(sql, &params);
        let rows = in_time(async { Ok(query.await?) }).await.map_err(Failure::before_commit)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

enum Failure {
    Timeout,
    Database(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Failure {
    fn before_commit(self) -> BatchError {
        match self {
            Self::Timeout => BatchError::Unavailable(Self::timeout()),
            Self::Database(error) => batch_error(error),
        }
    }

    fn after_commit(self) -> BatchError {
        match self {
            Self::Timeout => BatchError::OutcomeUnknown(Self::timeout()),
            Self::Database(error) if is_statement_error(&error) => batch_error(error),
            Self::Database(error) => BatchError::OutcomeUnknown(describe(&error)),
        }
    }

    fn timeout() -> String {
        format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.unwrap_or(Err(Failure::Timeout))
}
