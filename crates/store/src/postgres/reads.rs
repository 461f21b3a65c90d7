//! A small pool for reads.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use tokio_postgres::{NoTls, types::ToSql};

use super::{READER_OPTIONS, config, pool_error, read_error, rows};
use crate::{
    error::{OpenError, ReadError},
    sql::{Dialect, Reads, Rows, Value},
};

const WAIT_FOR_CONNECTION_MAX: Duration = Duration::from_secs(5);

pub(super) fn pool(text: &str, application: &str, options: &str, size: usize) -> Result<Pool, OpenError> {
    let config = config(text, application, options)?;
    let location = super::location(&config);
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    Pool::builder(Manager::from_config(config, NoTls, recycling))
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(WAIT_FOR_CONNECTION_MAX))
        .create_timeout(Some(WAIT_FOR_CONNECTION_MAX))
        .build()
        .map_err(|error| OpenError::Connect { location, reason: error.to_string() })
}

pub struct PostgresReads {
    pool: Pool,
}

impl PostgresReads {
    pub(crate) fn new(text: &str, readers: usize) -> Result<Self, OpenError> {
        Ok(Self { pool: pool(text, "fintech reader", READER_OPTIONS, readers)? })
    }
}

impl Reads for PostgresReads {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        Box::pin(async move {
            let client = self.pool.get().await.map_err(|error| pool_error(&error))?;
            let statement = client.prepare_cached(sql).await.map_err(read_error)?;
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as _).collect();
            let found = client.query(&statement, &params).await.map_err(read_error)?;
            rows(&found)
        })
    }
}
