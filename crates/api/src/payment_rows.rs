//! Payments as the rows of a file, the same wherever they are exported: CSV that is safe to open, or a line of JSON each.

use std::io;

use csv::Terminator;
use domain::{money::to_major, payment::Payment, time::Timestamp};

use crate::payments::PaymentBody;

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
/// The column that stands first when the payments are not of one merchant alone.
const MERCHANT: &str = "merchantId";

/// Whose payments a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    OneMerchants,
    AnyMerchants,
}

/// The line of the columns.
pub fn csv_columns(whose: Whose) -> io::Result<Vec<u8>> {
    csv_lines(whose, [(MERCHANT.to_owned(), COLUMNS.map(str::to_owned))])
}

/// A line for each payment (RFC 4180). A cell that a spreadsheet would run as a formula begins with an apostrophe.
pub fn csv(whose: Whose, payments: &[Payment]) -> io::Result<Vec<u8>> {
    csv_lines(whose, payments.iter().map(|payment| (payment.merchant_id.to_string(), cells(payment))))
}

fn csv_lines(
    whose: Whose,
    lines: impl IntoIterator<Item = (String, [String; COLUMNS.len()])>,
) -> io::Result<Vec<u8>> {
    let mut csv = csv::WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    for (merchant, cells) in lines {
        let merchant = (whose == Whose::AnyMerchants).then_some(&merchant);
        csv.write_record(merchant.into_iter().chain(&cells))?;
    }
    csv.into_inner().map_err(|error| error.into_error())
}

/// A line for each payment, as the API shows it.
pub fn json_lines(payments: Vec<Payment>) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for payment in payments {
        serde_json::to_writer(&mut lines, &PaymentBody::from(payment))?;
        lines.push(b'\n');
    }
    Ok(lines)
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

    #[test]
    fn the_merchant_stands_where_payments_are_of_several() {
        let columns = |whose| String::from_utf8(csv_columns(whose).unwrap()).unwrap();
        assert!(columns(Whose::OneMerchants).starts_with("id,createdAt,"));
        assert!(columns(Whose::AnyMerchants).starts_with("merchantId,id,createdAt,"));
        assert!(columns(Whose::AnyMerchants).ends_with("refundReason\r\n"));
    }
}
