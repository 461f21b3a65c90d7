//! What the two databases have in common for a reader: a query text, values in, rows out.
//!
//! Queries are written once, with parameters `$1`, `$2` … and in the part of SQL that both databases
//! speak: `CAST` rather than `::`, moments as microseconds, ids as sixteen bytes.

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::error::ReadError;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid(Uuid),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i16> for Value {
    fn from(value: i16) -> Self {
        Self::Int(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Uuid(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row; columns are taken by their place in the SELECT.
#[derive(Debug)]
pub struct Row(pub Vec<Value>);

impl Row {
    pub fn int(&self, column: usize) -> Result<i64, ReadError> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            other => Err(ReadError::column(column, "an integer", other)),
        }
    }

    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, ReadError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.int(column).map(Some),
        }
    }

    pub fn text(&self, column: usize) -> Result<&str, ReadError> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Ok(value),
            other => Err(ReadError::column(column, "a text", other)),
        }
    }

    /// Takes the text out of the row.
    pub fn take_text(&mut self, column: usize) -> Result<String, ReadError> {
        match self.0.get_mut(column) {
            Some(Value::Text(value)) => Ok(std::mem::take(value)),
            other => Err(ReadError::column(column, "a text", other.as_deref())),
        }
    }

    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, ReadError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.text(column).map(Some),
        }
    }

    /// PostgreSQL has a type for ids; SQLite keeps their sixteen bytes.
    pub fn uuid(&self, column: usize) -> Result<Uuid, ReadError> {
        match self.0.get(column) {
            Some(Value::Uuid(value)) => Ok(*value),
            Some(Value::Bytes(bytes)) => {
                Uuid::from_slice(bytes).map_err(|_| ReadError::column(column, "an id", self.0.get(column)))
            }
            other => Err(ReadError::column(column, "an id", other)),
        }
    }

    pub fn opt_uuid(&self, column: usize) -> Result<Option<Uuid>, ReadError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.uuid(column).map(Some),
        }
    }

    pub fn opt_bytes(&self, column: usize) -> Result<Option<&[u8]>, ReadError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.bytes(column).map(Some),
        }
    }

    pub fn bytes(&self, column: usize) -> Result<&[u8], ReadError> {
        match self.0.get(column) {
            Some(Value::Bytes(value)) => Ok(value),
            // SQLite has sixteen bytes for an id.
            Some(Value::Uuid(value)) => Ok(value.as_bytes()),
            other => Err(ReadError::column(column, "bytes", other)),
        }
    }
}

/// Where one text does not do for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// Somewhere to ask. Reads see committed data only and never wait for a writer.
pub trait Reads: Send + Sync {
    fn dialect(&self) -> Dialect;

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, ReadError>>;
}

/// A transaction of a consumer: its effect and its position, together or not at all. Dropping it
/// without [`Transaction::commit`] rolls it back.
pub trait Transaction: Send {
    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, ReadError>>;

    /// How many rows were changed.
    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, ReadError>>;

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), ReadError>>;
}

/// Makes transactions for consumers.
pub trait Effects: Send + Sync {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, ReadError>>;
}
