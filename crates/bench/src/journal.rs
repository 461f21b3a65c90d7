//! Every change that was acknowledged, a JSON object a line: what a platform must still know, whatever befell it.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

use serde::Serialize;
use uuid::Uuid;

use crate::{
    connection::{Answer, Resource},
    operation::Operation,
};

pub struct Journal(BufWriter<File>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    method: &'a str,
    path: &'a str,
    key: Uuid,
    status: Option<u16>,
    id: Uuid,
    merchant_id: Uuid,
    amount_in_minor_units: i64,
    status_after: &'a str,
}

impl Journal {
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(BufWriter::new(File::create(path)?)))
    }

    /// A line for each resource of the answer; none for a read.
    pub fn write(&mut self, operation: &Operation, answer: &Answer) -> io::Result<()> {
        if !operation.kind().is_change() {
            return Ok(());
        }
        let path = operation.path();
        for Resource { id, amount_minor, status } in &answer.resources {
            let line = Line {
                method: operation.method(),
                path: &path,
                key: operation.key,
                status: answer.status,
                id: *id,
                merchant_id: operation.merchant_id,
                amount_in_minor_units: *amount_minor,
                status_after: status,
            };
            serde_json::to_writer(&mut self.0, &line)?;
            self.0.write_all(b"\n")?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
