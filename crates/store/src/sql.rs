//! What the two databases have in common for a reader: a query text, values in, rows out.
//!
//! Queries are written once, with parameters `$1`, `$2` … and in the part of SQL that both databases
//! speak: `CAST` rather than `::`, moments as microseconds, ids as sixteen bytes.

use std::slice::ChunksExact;

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

/// What a query found. The texts of all rows lie behind each other, and so do the bytes, so that a page takes a few
/// allocations and not a few a row.
#[derive(Debug)]
pub struct Rows {
    columns: usize,
    cells: Vec<Cell>,
    texts: String,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    Null,
    Int(i64),
    Uuid(Uuid),
    /// Where they begin, and how long they are.
    Text(usize, u32),
    Bytes(usize, u32),
}

impl Rows {
    pub fn new(columns: usize) -> Self {
        Self { columns: columns.max(1), cells: Vec::new(), texts: String::new(), bytes: Vec::new() }
    }

    /// Each `push` fills the next column of the row that is being filled.
    pub(crate) fn push_null(&mut self) {
        self.cells.push(Cell::Null);
    }

    pub(crate) fn push_int(&mut self, value: i64) {
        self.cells.push(Cell::Int(value));
    }

    pub(crate) fn push_uuid(&mut self, id: Uuid) {
        self.cells.push(Cell::Uuid(id));
    }

    /// Neither database has a text or bytes of 4 GiB.
    pub(crate) fn push_text(&mut self, text: &str) {
        self.cells.push(Cell::Text(self.texts.len(), u32::try_from(text.len()).unwrap_or(u32::MAX)));
        self.texts.push_str(text);
    }

    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.cells.push(Cell::Bytes(self.bytes.len(), u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        self.bytes.extend_from_slice(bytes);
    }

    pub const fn len(&self) -> usize {
        self.cells.len() / self.columns
    }

    pub const fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    pub fn last(&self) -> Option<Row<'_>> {
        self.iter().next_back()
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter { rows: self, cells: self.cells.chunks_exact(self.columns) }
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = Row<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rows: &'a Rows,
    cells: ChunksExact<'a, Cell>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        self.cells.next().map(|cells| Row { cells, rows: self.rows })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.cells.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.cells.next_back().map(|cells| Row { cells, rows: self.rows })
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// One row; columns are taken by their place in the SELECT.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    cells: &'a [Cell],
    rows: &'a Rows,
}

impl<'a> Row<'a> {
    pub const fn columns(&self) -> usize {
        self.cells.len()
    }

    pub fn value(&self, column: usize) -> Value {
        match self.cells.get(column) {
            None | Some(Cell::Null) => Value::Null,
            Some(Cell::Int(value)) => Value::Int(*value),
            Some(Cell::Uuid(id)) => Value::Uuid(*id),
            Some(Cell::Text(start, length)) => Value::Text(self.text_at(*start, *length).to_owned()),
            Some(Cell::Bytes(start, length)) => Value::Bytes(self.bytes_at(*start, *length).to_owned()),
        }
    }

    fn text_at(&self, start: usize, length: u32) -> &'a str {
        self.rows.texts.get(start..start + length as usize).unwrap_or_default()
    }

    fn bytes_at(&self, start: usize, length: u32) -> &'a [u8] {
        self.rows.bytes.get(start..start + length as usize).unwrap_or_default()
    }

    fn is_null(&self, column: usize) -> bool {
        matches!(self.cells.get(column), Some(Cell::Null))
    }

    fn other(&self, column: usize, wanted: &str) -> ReadError {
        let found = match self.cells.get(column) {
            None => "no such column",
            Some(Cell::Null) => "null",
            Some(Cell::Int(_)) => "an integer",
            Some(Cell::Text(..)) => "a text",
            Some(Cell::Bytes(..)) => "bytes",
            Some(Cell::Uuid(_)) => "an id",
        };
        ReadError::Invalid(format!("column {column} should be {wanted} and is {found}"))
    }

    pub fn int(&self, column: usize) -> Result<i64, ReadError> {
        match self.cells.get(column) {
            Some(Cell::Int(value)) => Ok(*value),
            _ => Err(self.other(column, "an integer")),
        }
    }

    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, ReadError> {
        if self.is_null(column) { Ok(None) } else { self.int(column).map(Some) }
    }

    pub fn text(&self, column: usize) -> Result<&'a str, ReadError> {
        match self.cells.get(column) {
            Some(Cell::Text(start, length)) => Ok(self.text_at(*start, *length)),
            _ => Err(self.other(column, "a text")),
        }
    }

    pub fn opt_text(&self, column: usize) -> Result<Option<&'a str>, ReadError> {
        if self.is_null(column) { Ok(None) } else { self.text(column).map(Some) }
    }

    /// PostgreSQL has a type for ids; SQLite keeps their sixteen bytes.
    pub fn uuid(&self, column: usize) -> Result<Uuid, ReadError> {
        match self.cells.get(column) {
            Some(Cell::Uuid(value)) => Ok(*value),
            Some(Cell::Bytes(start, length)) => {
                Uuid::from_slice(self.bytes_at(*start, *length)).map_err(|_| self.other(column, "an id"))
            }
            _ => Err(self.other(column, "an id")),
        }
    }

    pub fn opt_uuid(&self, column: usize) -> Result<Option<Uuid>, ReadError> {
        if self.is_null(column) { Ok(None) } else { self.uuid(column).map(Some) }
    }

    pub fn bytes(&self, column: usize) -> Result<&'a [u8], ReadError> {
        match self.cells.get(column) {
            Some(Cell::Bytes(start, length)) => Ok(self.bytes_at(*start, *length)),
            // SQLite has sixteen bytes for an id.
            Some(Cell::Uuid(value)) => Ok(value.as_bytes()),
            _ => Err(self.other(column, "bytes")),
        }
    }

    pub fn opt_bytes(&self, column: usize) -> Result<Option<&'a [u8]>, ReadError> {
        if self.is_null(column) { Ok(None) } else { self.bytes(column).map(Some) }
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

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>>;
}

/// A transaction of a consumer: its effect and its position, together or not at all. Dropping it
/// without [`Transaction::commit`] rolls it back.
pub trait Transaction: Send {
    fn query<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>>;

    /// How many rows were changed.
    fn execute<'a>(&'a mut self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<u64, ReadError>>;

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), ReadError>>;
}

/// How much a commit promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk when it returns: for what is acknowledged to a caller.
    Full,
    /// Together or not at all, but perhaps not after a power cut: enough for an effect that is stored
    /// with its position, because both go back together and the event is handled again.
    Atomic,
}

/// Makes transactions for whoever is not a writer.
pub trait Effects: Send + Sync {
    fn begin(&self, durability: Durability) -> BoxFuture<'_, Result<Box<dyn Transaction>, ReadError>>;
}
