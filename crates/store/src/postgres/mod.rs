//! PostgreSQL 15 or newer: a connection a writer, a pool for reads, another for consumers' effects.

mod effects;
pub(crate) mod hints;
mod load;
pub(crate) mod migrate;
mod reads;
mod session;
mod write;

use std::{error::Error as _, time::Duration};

use bytes::BytesMut;
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls, error::Severity};

pub use effects::PostgresEffects;
pub use reads::PostgresReads;
pub use session::PostgresConnect;

use crate::{
    error::{OpenError, ReadError},
    session::BatchError,
    sql::{Rows, Value},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A dead peer is noticed after about this long without an answer.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// Look-ups by key only, and no plan that was made while the tables were empty: a generic plan that may
/// not scan sequentially, hash or merge is the index look-up whatever the statistics say.
const WRITER_OPTIONS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off \
     -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off -c synchronous_commit=on \
     -c lock_timeout=10s -c statement_timeout=10s -c idle_in_transaction_session_timeout=30s";
/// What is read is found by keys and ranges of keys, too: planning it anew each time costs more than reading it.
const READER_OPTIONS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off \
     -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off -c statement_timeout=20s \
     -c default_transaction_read_only=on";
/// Effect and position are atomic together, so they need not wait for the disk.
const EFFECTS_OPTIONS: &str = "-c plan_cache_mode=force_custom_plan -c jit=off -c synchronous_commit=off \
     -c lock_timeout=10s -c statement_timeout=20s -c idle_in_transaction_session_timeout=60s";

fn config(text: &str, application: &str, options: &str) -> Result<Config, OpenError> {
    let mut config: Config = text.parse().map_err(|error: tokio_postgres::Error| OpenError::Connect {
        location: "PostgreSQL".to_owned(),
        reason: describe(&error),
    })?;
    config
        .application_name(application)
        .options(options)
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives_idle(KEEPALIVE_IDLE);
    Ok(config)
}

/// Where a configuration points, without its password.
fn location(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let ports: Vec<String> = config.get_ports().iter().map(u16::to_string).collect();
    format!("postgres://{}:{}/{}", hosts.join(","), ports.join(","), config.get_dbname().unwrap_or_default())
}

async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %describe(&error), "a connection to PostgreSQL ended");
        }
    });
    Ok(client)
}

/// The error with its causes: the outer text alone is "db error".
fn describe(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whether the server said that the statement failed, and lives on: what was open is rolled back.
fn is_statement_error(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| db.parsed_severity() == Some(Severity::Error))
}

/// Classes of SQLSTATE (appendix A of the manual) that may pass: connection 08, transaction rollback 40,
/// insufficient resources 53, lock not available 55, operator intervention 57, system error 58.
fn is_transient(error: &tokio_postgres::Error) -> bool {
    error.code().is_none_or(|state| {
        ["08", "40", "53", "55", "57", "58", "25"].iter().any(|class| state.code().starts_with(class))
    })
}

fn batch_error(error: tokio_postgres::Error) -> BatchError {
    if is_transient(&error) {
        BatchError::Unavailable(describe(&error))
    } else {
        BatchError::Broken(describe(&error))
    }
}

fn read_error(error: tokio_postgres::Error) -> ReadError {
    if is_transient(&error) {
        ReadError::Unavailable(describe(&error))
    } else {
        ReadError::Invalid(describe(&error))
    }
}

fn pool_error(error: &deadpool_postgres::PoolError) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) if *ty == Type::INT2 => i16::try_from(*value)?.to_sql(ty, out),
            Self::Int(value) if *ty == Type::INT4 => i32::try_from(*value)?.to_sql(ty, out),
            Self::Int(value) => value.to_sql(ty, out),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Bytes(bytes) => bytes.to_sql(ty, out),
            Self::Uuid(id) => id.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn rows(found: &[tokio_postgres::Row]) -> Result<Rows, ReadError> {
    let mut rows = Rows::new(found.first().map_or(0, |row| row.len()));
    for row in found {
        for (index, column) in row.columns().iter().enumerate() {
            push(&mut rows, row, index, column.type_()).map_err(read_error)?;
        }
    }
    Ok(rows)
}

fn push(
    rows: &mut Rows,
    row: &tokio_postgres::Row,
    index: usize,
    ty: &Type,
) -> Result<(), tokio_postgres::Error> {
    let int = match *ty {
        Type::INT2 => row.try_get::<_, Option<i16>>(index)?.map(i64::from),
        Type::INT4 => row.try_get::<_, Option<i32>>(index)?.map(i64::from),
        Type::INT8 => row.try_get::<_, Option<i64>>(index)?,
        Type::UUID => {
            match row.try_get::<_, Option<uuid::Uuid>>(index)? {
                Some(id) => rows.push_uuid(id),
                None => rows.push_null(),
            }
            return Ok(());
        }
        Type::BYTEA => {
            match row.try_get::<_, Option<&[u8]>>(index)? {
                Some(bytes) => rows.push_bytes(bytes),
                None => rows.push_null(),
            }
            return Ok(());
        }
        _ => {
            match row.try_get::<_, Option<&str>>(index)? {
                Some(text) => rows.push_text(text),
                None => rows.push_null(),
            }
            return Ok(());
        }
    };
    match int {
        Some(int) => rows.push_int(int),
        None => rows.push_null(),
    }
    Ok(())
}
