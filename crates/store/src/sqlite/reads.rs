//! Reader threads: each has a connection of its own and takes the next query from one bounded queue.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use futures_util::future::BoxFuture;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{DatabasePath, open, query, read_error};
use crate::{
    error::ReadError,
    sql::{Dialect, Durability, Reads, Rows, Value},
};

/// Queries that wait for a reader; one more is answered at once that the database is not available.
const READS_WAITING_MAX: usize = 4096;

struct Job {
    sql: String,
    params: Vec<Value>,
    reply: oneshot::Sender<Result<Rows, ReadError>>,
}

pub struct SqliteReads {
    queue: SyncSender<Job>,
}

impl SqliteReads {
    pub(crate) fn start(path: &DatabasePath, readers: usize) -> Result<Self, ReadError> {
        let (queue, jobs) = sync_channel(READS_WAITING_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 1..=readers {
            let connection = open(path, Durability::Full).map_err(read_error)?;
            connection.pragma_update(None, "query_only", true).map_err(read_error)?;
            let jobs = jobs.clone();
            thread::Builder::new()
                .name(format!("sqlite-read-{number}"))
                .spawn(move || serve(&connection, &jobs))
                .map_err(|error| ReadError::Unavailable(error.to_string()))?;
        }
        Ok(Self { queue })
    }
}

fn serve(connection: &Connection, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(Job { sql, params, reply }) = next else {
            return;
        };
        // Whoever asked may be gone; the next one is not.
        let _ = reply.send(query(connection, &sql, params));
    }
}

impl Reads for SqliteReads {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        let (reply, answer) = oneshot::channel();
        let queued = self.queue.try_send(Job { sql: sql.to_owned(), params, reply });
        Box::pin(async move {
            match queued {
                Ok(()) => answer.await.unwrap_or_else(|_| Err(gone())),
                Err(TrySendError::Full(_)) => {
                    Err(ReadError::Unavailable(format!("{READS_WAITING_MAX} queries are waiting already")))
                }
                Err(TrySendError::Disconnected(_)) => Err(gone()),
            }
        })
    }
}

fn gone() -> ReadError {
    ReadError::Unavailable("the readers have stopped".to_owned())
}
