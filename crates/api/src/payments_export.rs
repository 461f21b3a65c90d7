//! `/api/merchants/{merchantId}/payments/export`: a stream of CSV, a page of rows at a time, so that its
//! length costs no memory.

use std::io;

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::id::MerchantId;
use futures_util::{StreamExt, stream};
use store::queries::{self, PageKey, PaymentFilter};

use crate::{
    path::OfMerchant,
    payment_filter::{self, PaymentFilterParams},
    payment_rows::{Whose, csv, csv_columns},
    payments::page_key,
    problem::Problem,
    query::Query,
    state::App,
};

/// Rows that are read and held at a time.
const PAGE_ROWS: usize = 500;

/// The payments of a merchant as CSV (RFC 4180), newest first
///
/// A cell that a spreadsheet would run as a formula begins with an apostrophe.
#[utoipa::path(get, path = "/api/merchants/{merchantId}/payments/export", tag = "Payments",
    operation_id = "exportPayments", params(PaymentFilterParams),
    responses((status = 200, description = "An attachment", body = String, content_type = "text/csv")))]
pub async fn export(
    State(app): State<App>,
    OfMerchant(merchant_id): OfMerchant,
    mut query: Query,
) -> Result<Response, Problem> {
    let filter = payment_filter::read(&mut query)?;
    app.merchant(merchant_id).await?;
    let export = Export { app, merchant_id, filter, after: None };
    // Before the answer begins: as long as nothing was sent, an error can still be told as a problem.
    let (first, next) = export.page(true).await?;
    let rest = stream::unfold(next, async |export| {
        Some(match export?.page(false).await {
            Ok((rows, next)) => (Ok(rows), next),
            // Breaking the answer off is the only way left to say that it is not complete.
            Err(problem) => (Err(io::Error::other(problem.kind().title)), None),
        })
    });
    // Compression asks once more behind the end.
    let body = Body::from_stream(stream::iter([Ok(first)]).chain(rest.fuse()));
    let attachment = format!("attachment; filename=\"payments-{merchant_id}.csv\"");
    let content_type = "text/csv; charset=utf-8".to_owned();
    Ok(([(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, attachment)], body)
        .into_response())
}

struct Export {
    app: App,
    merchant_id: MerchantId,
    filter: PaymentFilter,
    after: Option<PageKey>,
}

impl Export {
    /// The next rows, and the rest of the export if there is one.
    async fn page(mut self, with_columns: bool) -> Result<(Bytes, Option<Self>), Problem> {
        let Self { app, merchant_id, filter, after } = &self;
        let payments =
            app.read(queries::payments(app.reads(), *merchant_id, filter, *after, PAGE_ROWS)).await?;
        let mut rows = Vec::new();
        if with_columns {
            rows = csv_columns(Whose::OneMerchants).map_err(unwritable)?;
        }
        rows.append(&mut csv(Whose::OneMerchants, &payments).map_err(unwritable)?);
        self.after = payments.last().map(page_key);
        Ok((rows.into(), (payments.len() == PAGE_ROWS).then_some(self)))
    }
}

fn unwritable(error: io::Error) -> Problem {
    Problem::internal(error.to_string())
}
