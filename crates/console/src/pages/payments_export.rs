//! `/payments.csv` and `/payments.jsonl`: exactly the rows of the list's filter, over all its pages, newest first.
//!
//! They are read a page at a time, so the length of a file costs no memory. That it left stands in the audit before the
//! first byte does.

use std::io;

use access::Permission;
use api::payment_rows::{self, Whose};
use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream::{self, StreamExt as _};
use store::{
    browse::{self, PaymentsWanted},
    queries::PageKey,
};

use super::{Visit, note_export, payments::wanted};
use crate::{fault::Fault, list::Params, state::Console};

/// Rows that are read and held at a time: the cost of bounding what a page looks at is shared by many.
const PAGE_ROWS: usize = 2000;

#[derive(Clone, Copy, Debug)]
enum Format {
    Csv,
    JsonLines,
}

/// `GET /payments.csv`
pub async fn csv(State(console): State<Console>, visit: Visit, params: Params) -> Result<Response, Fault> {
    export(console, visit, params, Format::Csv).await
}

/// `GET /payments.jsonl`
pub async fn json_lines(
    State(console): State<Console>,
    visit: Visit,
    params: Params,
) -> Result<Response, Fault> {
    export(console, visit, params, Format::JsonLines).await
}

async fn export(
    console: Console,
    visit: Visit,
    mut params: Params,
    format: Format,
) -> Result<Response, Fault> {
    visit.must(Permission::Export)?;
    let wanted = wanted(&mut params);
    if params.is_wrong() {
        let wrong: Vec<String> =
            params.errors.iter().map(|(name, text)| format!("{name} is {text}")).collect();
        return Err(Fault::bad_request(format!("The filter is not understood: {}.", wrong.join("; "))));
    }
    let export = Export { console: console.clone(), wanted, format, after: None };
    // Before the answer begins: as long as nothing was sent, an error can still be told as a page.
    let (first, next) = export.columns_and_page().await?;
    note_export(&console, &visit, &params).await?;
    let rest = stream::unfold(next, async |export| {
        Some(match export?.page().await {
            Ok((rows, next)) => (Ok(rows), next),
            // Breaking the answer off is the only way left to say that it is not complete.
            Err(fault) => (Err(io::Error::other(fault.detail.into_owned())), None),
        })
    });
    let (content_type, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "payments.csv"),
        Format::JsonLines => ("application/jsonl; charset=utf-8", "payments.jsonl"),
    };
    let attachment = format!("attachment; filename=\"{name}\"");
    let headers =
        [(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, attachment)];
    // Compression asks once more behind the end.
    Ok((headers, Body::from_stream(stream::iter([Ok(first)]).chain(rest.fuse()))).into_response())
}

/// What is left of a file.
struct Export {
    console: Console,
    wanted: PaymentsWanted,
    format: Format,
    after: Option<PageKey>,
}

impl Export {
    async fn columns_and_page(self) -> Result<(Vec<u8>, Option<Self>), Fault> {
        let mut rows = match self.format {
            Format::Csv => payment_rows::csv_columns(Whose::AnyMerchants).map_err(unwritable)?,
            Format::JsonLines => Vec::new(),
        };
        let (mut page, next) = self.page().await?;
        rows.append(&mut page);
        Ok((rows, next))
    }

    /// The next rows, and the rest of the file if there is one.
    async fn page(mut self) -> Result<(Vec<u8>, Option<Self>), Fault> {
        let Self { console, wanted, format, after } = &self;
        let page = console.read(browse::payments(console.db(), wanted, *after, PAGE_ROWS)).await?;
        let rows = match format {
            Format::Csv => payment_rows::csv(Whose::AnyMerchants, &page.rows),
            Format::JsonLines => payment_rows::json_lines(page.rows),
        };
        self.after = page.next;
        Ok((rows.map_err(unwritable)?, page.next.is_some().then_some(self)))
    }
}

fn unwritable(error: io::Error) -> Fault {
    Fault::internal(&error.to_string())
}
