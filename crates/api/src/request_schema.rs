//! The bodies that requests may have, as the OpenAPI document shows them. A body is read field by field
//! ([`crate::parse`]); a test holds both together.

#![expect(dead_code, reason = "nothing is ever made of these types: they describe")]

use utoipa::ToSchema;

use crate::schema;

#[derive(ToSchema)]
pub struct NewMerchant {
    #[schema(min_length = 1, max_length = 255, example = "Test")]
    name: String,
    /// Unique without regard to case.
    #[schema(max_length = 255, format = Email, example = "test@test.com")]
    email: String,
}

/// At least one of the two.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct MerchantUpdate {
    #[schema(min_length = 1, max_length = 255)]
    name: Option<String>,
    /// An inactive merchant takes no new payment or withdrawal.
    is_active: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct NewPayment {
    #[schema(schema_with = schema::amount_minor)]
    amount_in_minor_units: i64,
    #[schema(schema_with = schema::currency)]
    currency: String,
    #[schema(max_length = 255)]
    external_reference: Option<String>,
    #[schema(max_length = 1000)]
    description: Option<String>,
}

/// All of them are created, or none.
#[derive(ToSchema)]
pub struct NewPayments {
    #[schema(min_items = 1, max_items = 1000)]
    payments: Vec<NewPayment>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct NewRefund {
    /// Without it, all that is left of the payment.
    #[schema(schema_with = schema::amount_minor, required = false)]
    refund_amount_in_minor_units: Option<i64>,
    #[schema(max_length = 500)]
    reason: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct NewWithdrawal {
    #[schema(schema_with = schema::amount_minor)]
    amount_in_minor_units: i64,
    #[schema(schema_with = schema::currency)]
    currency: String,
    #[schema(schema_with = schema::bank_number)]
    bank_account_number: String,
    #[schema(schema_with = schema::bank_number)]
    bank_routing_number: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct WithdrawalCompletion {
    /// What the bank calls the transfer.
    #[schema(max_length = 255)]
    external_transaction_id: Option<String>,
}

#[derive(ToSchema)]
pub struct WithdrawalFailure {
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

#[cfg(test)]
mod tests {
    use utoipa::{PartialSchema, openapi::RefOr};

    use super::*;
    use crate::{merchants, parse, payments, problem::Problem, withdrawals};

    /// The names that a parser knows stand in its answer to a name that it does not.
    fn assert_described<S: PartialSchema, T>(read: impl FnOnce(&[u8]) -> Result<T, Problem>) {
        let problem = read(br#"{"?": 0}"#).err().unwrap();
        let body = problem.body("/", "id");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let sentence = body["errors"].as_array().unwrap().last().unwrap()["detail"].as_str().unwrap();
        let (_, names) = sentence.trim_end_matches('.').split_once("there are ").unwrap();
        let RefOr::T(schema) = S::schema() else { panic!("a schema of its own") };
        let schema = serde_json::to_value(schema).unwrap();
        let mut described: Vec<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut known: Vec<&str> = names.split(", ").collect();
        described.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, described);
    }

    #[test]
    fn what_is_described_is_what_is_read() {
        assert_described::<NewMerchant, _>(merchants::read_new);
        assert_described::<MerchantUpdate, _>(merchants::read_update);
        assert_described::<NewPayment, _>(|body| parse::object(body, payments::read_new));
        assert_described::<NewPayments, _>(payments::read_bulk);
        assert_described::<NewRefund, _>(payments::read_refund);
        assert_described::<NewWithdrawal, _>(withdrawals::read_new);
        assert_described::<WithdrawalCompletion, _>(withdrawals::read_completion);
        assert_described::<WithdrawalFailure, _>(withdrawals::read_failure);
    }
}
