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
use csv::Terminator;
use domain::{id::MerchantId, money::to_major, payment::Payment, time::Timestamp};
use futures_util::{StreamExt, stream};
use store::queries::{self, PageKey, PaymentFilter};

use crate::{
    path::OfMerchant,
    payment_filter::{self, PaymentFilterParams},
    payments::page_key,
    problem::Problem,
    query::Query,
    state::App,
};

/// Rows that are read and held at a time.
const PAGE_ROWS: usize = 500;

const COLUMNS: [&str; 13] = [
    "id",
    "createdAt",
    "status",
    "amountInMinorUnits",
    "amountInMajorUnits",
    "currency",
    "refundedAmountInMinorUnits",
    "refundedAmountInMajorUnits",
    "externalReference",
    "description",
    "completedAt",
    "refundedAt",
    "refundReason",
];

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
    let body = Body::from_stream(stream::iter([Ok(first)]).chain(rest));
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
        let mut csv = csv::WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
        if with_columns {
            csv.write_record(COLUMNS).map_err(unwritable)?;
        }
        for payment in &payments {
            csv.write_record(cells(payment)).map_err(unwritable)?;
        }
        let rows = csv.into_inner().map_err(|error| unwritable(error.into_error().into()))?;
        self.after = payments.last().map(page_key);
        Ok((rows.into(), (payments.len() == PAGE_ROWS).then_some(self)))
    }
}

fn unwritable(error: csv::Error) -> Problem {
    Problem::internal(error.to_string())
}

fn cells(payment: &Payment) -> [String; COLUMNS.len()] {
    let moment = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string()).unwrap_or_default();
    [
        payment.id.to_string(),
        payment.created_at.to_string(),
        payment.status.to_string(),
        payment.amount.get().to_string(),
        to_major(payment.amount.get(), payment.currency),
        payment.currency.to_string(),
        payment.refunded_minor.to_string(),
        to_major(payment.refunded_minor, payment.currency),
        safe(payment.external_reference.as_deref()),
        safe(payment.description.as_deref()),
        moment(payment.completed_at),
        moment(payment.refunded_at),
        safe(payment.refund_reason.as_deref()),
    ]
}

/// A text from outside, which a spreadsheet must not take for a formula (OWASP, CSV Injection): not as it
/// stands, nor behind blanks, nor with the wide forms of the signs.
fn safe(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    let begins_a_formula =
        text.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if begins_a_formula || text.starts_with(['\t', '\r', '\n']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@A1", " =1", "\t=1", "\n=1", "\u{ff1d}1", "\tx"] {
            assert_eq!(safe(Some(formula)), format!("'{formula}"));
        }
        for harmless in ["", "a=b", "1-1", "Order -7", "'=1"] {
            assert_eq!(safe(Some(harmless)), harmless);
        }
    }
}
