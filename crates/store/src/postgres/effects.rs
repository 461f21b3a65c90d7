//! Transactions of consumers.

use deadpool_postgres::{Object, Pool};
use futures_util::future::BoxFuture;
use tokio_postgres::types::ToSql;

use super::{EFFECTS_OPTIONS, pool_error, read_error, reads::pool, rows};
use crate::{
    error::{OpenError, ReadError},
    sql::{Durability, Effects, Rows, Transaction, Value},
};

/// Consumers that may be in a transaction at once in one process.
const EFFECTS_AT_ONCE_MAX: usize = 8;

pub struct PostgresEffects {
    pool: Pool,
}

impl PostgresEffects {
    pub(crate) fn new(text: &str) -> Result<Self, OpenError> {
        Ok(Self { pool: pool(text, "fintech consumer", EFFECTS_OPTIONS, EFFECTS_AT_ONCE_MAX)? })
    }
}

impl Effects for PostgresEffects {
    fn begin(&self, durability: Durability) -> BoxFuture<'_, Result<Box<dyn Transaction>, ReadError>> {
        Box::pin(async move {
            let client = self.pool.get().await.map_err(|error| pool_error(&error))?;
            let transaction = PostgresTransaction { client: Some(client) };
            let begin = match durability {
                Durability::Atomic => "begin",
                Durability::Full => "begin; set local synchronous_commit = on",
            };
            transaction.client().batch_execute(begin).await.map_err(read_error)?;
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }
}

struct PostgresTransaction {
    /// Taken out when the transaction has ended.
    client: Option<Object>,
}

impl PostgresTransaction {
    fn client(&self) -> &Object {
        self.client.as_ref().expect("a transaction that can be used has its connection")
    }
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        // Not back into the pool: closing the connection is what rolls back without waiting.
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl Transaction for PostgresTransaction {
    fn query<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        Box::pin(async move {
            let statement = self.client().prepare_cached(sql).await.map_err(read_error)?;
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as _).collect();
            rows(&self.client().query(&statement, &params).await.map_err(read_error)?)
        })
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move {
            let statement = self.client().prepare_cached(sql).await.map_err(read_error)?;
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as _).collect();
            self.client().execute(&statement, &params).await.map_err(read_error)
        })
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, Result<(), ReadError>> {
        Box::pin(async move {
            self.client().batch_execute("commit").await.map_err(read_error)?;
            // Ended well: the connection goes back into the pool.
            drop(self.client.take());
            Ok(())
        })
    }
}
