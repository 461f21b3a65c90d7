//! The body that a change is answered with, for whoever shows an answer that was given.

use domain::{payment::Payment, state::Outcome};
use serde::Serialize;

use crate::{merchants::MerchantBody, payments::PaymentBody, withdrawals::WithdrawalBody};

/// The JSON of an outcome. Payments of a bulk request are a list; one that came alone is not.
pub fn json_of(outcome: Outcome) -> String {
    match outcome {
        Outcome::Merchant(merchant) => json(&MerchantBody::from(merchant)),
        Outcome::Payment(payment) => json(&PaymentBody::from(payment)),
        Outcome::Payments(payments) => match <[Payment; 1]>::try_from(payments) {
            Ok([payment]) => json(&PaymentBody::from(payment)),
            Err(payments) => json(&payments.into_iter().map(PaymentBody::from).collect::<Vec<_>>()),
        },
        Outcome::Withdrawal(withdrawal) => json(&WithdrawalBody::from(withdrawal)),
    }
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("a body is texts, numbers and moments")
}
