//! Every kind of problem that the API answers with: the one table from which the answers, the OpenAPI
//! document and the page at `/docs/problems` are made.

use std::fmt::Write;

use axum::{extract::State, response::Html};
use bytes::Bytes;
use domain::refusal::Refusal;

use crate::state::App;

#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Stable; clients may switch on it.
    pub code: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// What happened and what to do about it, for the page.
    pub description: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $code:literal, $status:literal, $title:literal, $description:literal;)+) => {
        $(pub const $name: &Kind =
            &Kind { code: $code, status: $status, title: $title, description: $description };)+
        pub const ALL: &[&Kind] = &[$($name),+];
    };
}

kinds! {
    BAD_REQUEST = "bad_request", 400, "The request is not understood",
        "The request is not valid HTTP for this API. The detail says what is wrong with it.";
    MALFORMED_BODY = "malformed_body", 400, "The body is not readable",
        "The body is missing, broken off, not UTF-8, not JSON or not a JSON object. Nothing was changed.";
    VALIDATION_FAILED = "validation_failed", 400, "Some fields are wrong",
        "Every wrong field stands in errors: by a JSON pointer into the body (RFC 6901), or by the name of a \
         parameter of the path or the query. Nothing was changed.";
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid", 400, "The Idempotency-Key is not usable",
        "An Idempotency-Key is 1 to 255 visible ASCII characters, bare or in double quotes, and is sent once. \
         Nothing was changed.";
    AUTHORIZATION_INVALID = "authorization_invalid", 400, "The key is not sent as it should be",
        "A key is sent once, in the header Authorization, and never in the URL. Nothing was changed.";
    UNAUTHENTICATED = "unauthenticated", 401, "It is not known who asks",
        "Send a key that is neither expired nor revoked as Authorization: Bearer fk_live_… Nothing was changed.";
    ACCESS_DENIED = "access_denied", 403, "The key may not do this",
        "The operation needs a key of a higher role, of the platform, or of the merchant in the path. Whether there \
         is such a merchant is not said. Nothing was changed.";
    ROUTE_NOT_FOUND = "route_not_found", 404, "There is nothing at this path",
        "No operation has this path; /docs lists them all.";
    MERCHANT_NOT_FOUND = "merchant_not_found", 404, "There is no such merchant",
        "No merchant has the id in the path.";
    PAYMENT_NOT_FOUND = "payment_not_found", 404, "There is no such payment",
        "The merchant in the path has no payment with the id in the path.";
    WITHDRAWAL_NOT_FOUND = "withdrawal_not_found", 404, "There is no such withdrawal",
        "The merchant in the path has no withdrawal with the id in the path.";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "The path does not take this method",
        "The header Allow lists the methods that it takes.";
    BODY_TIMEOUT = "body_timeout", 408, "The body took too long",
        "The body did not arrive in time. Nothing was changed; send it again.";
    EMAIL_TAKEN = "email_taken", 409, "The email is taken",
        "Another merchant has this email; upper and lower case are the same. Nothing was changed.";
    MERCHANT_INACTIVE = "merchant_inactive", 409, "The merchant is inactive",
        "An inactive merchant takes no new payment and no new withdrawal. Nothing was changed.";
    PAYMENT_NOT_PENDING = "payment_not_pending", 409, "The payment is no longer pending",
        "Only a Pending payment can be completed or cancelled. Nothing was changed.";
    PAYMENT_NOT_REFUNDABLE = "payment_not_refundable", 409, "The payment cannot be refunded",
        "Only a Completed or PartiallyRefunded payment can be refunded. Nothing was changed.";
    WITHDRAWAL_IN_WRONG_STATE = "withdrawal_in_wrong_state", 409, "The withdrawal is in another state",
        "Pending can be processed or cancelled, Processing can be completed or failed. Nothing was changed.";
    BODY_TOO_LARGE = "body_too_large", 413, "The body is too large",
        "The detail says how many bytes the operation takes. Nothing was changed.";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, "The body is not declared as JSON",
        "Send the body with Content-Type: application/json, and without Content-Encoding. Nothing was changed.";
    REFUND_ABOVE_PAYMENT = "refund_above_payment", 422, "The refund is above the payment",
        "All refunds of a payment together cannot exceed its amount. Nothing was changed.";
    INSUFFICIENT_FUNDS = "insufficient_funds", 422, "The balance does not cover it",
        "The available balance in this currency is below the amount. Nothing was changed.";
    BALANCE_OUT_OF_RANGE = "balance_out_of_range", 422, "The balance would be out of range",
        "A balance is a 64-bit integer of minor units. Nothing was changed.";
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", 422, "The Idempotency-Key belongs to another request",
        "The key was used with another method, path or body. Nothing was changed; take a new key for a new \
         request.";
    RATE_LIMITED = "rate_limited", 429, "Too many requests",
        "The headers RateLimit-Policy and RateLimit say how many requests a second the key may make and how many are \
         left. Nothing was changed; try again after the seconds in Retry-After.";
    INTERNAL_ERROR = "internal_error", 500, "Something is wrong on our side",
        "The log of the service says more, under the requestId.";
    BUSY = "busy", 503, "Too much work is waiting",
        "The queue is full. Nothing was changed; try again after the seconds in Retry-After.";
    TOO_MANY_STREAMS = "too_many_streams", 503, "Too many streams are open",
        "As many streams of events are open as there may be, of this merchant or of all. Close one, or try again after \
         the seconds in Retry-After.";
    UNAVAILABLE = "unavailable", 503, "The database is not available",
        "Nothing was changed; try again after the seconds in Retry-After.";
    OUTCOME_UNKNOWN = "outcome_unknown", 503, "The outcome is not known",
        "The database went away in the middle of the change: it may or may not have been made. Repeating the \
         request with the same Idempotency-Key is safe.";
    REQUEST_TIMEOUT = "request_timeout", 503, "The answer took too long",
        "A read can be repeated. A change may still be made; repeating it with the same Idempotency-Key is \
         safe.";
}

impl Kind {
    /// The `type` of RFC 9457, a reference relative to the API.
    pub fn type_reference(&self) -> String {
        format!("/docs/problems#{}", self.code)
    }

    pub const fn of_refusal(refusal: &Refusal) -> &'static Self {
        match refusal {
            Refusal::MerchantNotFound(_) => MERCHANT_NOT_FOUND,
            Refusal::PaymentNotFound(_) => PAYMENT_NOT_FOUND,
            Refusal::WithdrawalNotFound(_) => WITHDRAWAL_NOT_FOUND,
            Refusal::EmailTaken => EMAIL_TAKEN,
            Refusal::MerchantInactive => MERCHANT_INACTIVE,
            Refusal::PaymentNotPending { .. } => PAYMENT_NOT_PENDING,
            Refusal::PaymentNotRefundable { .. } => PAYMENT_NOT_REFUNDABLE,
            Refusal::RefundAbovePayment { .. } => REFUND_ABOVE_PAYMENT,
            Refusal::InsufficientFunds { .. } => INSUFFICIENT_FUNDS,
            Refusal::WithdrawalInWrongState { .. } => WITHDRAWAL_IN_WRONG_STATE,
            Refusal::BalanceOutOfRange => BALANCE_OUT_OF_RANGE,
        }
    }

    /// The kind of an error that a library answered with, which knows a status only.
    pub const fn of_status(status: u16) -> &'static Self {
        match status {
            401 => UNAUTHENTICATED,
            403 => ACCESS_DENIED,
            404 => ROUTE_NOT_FOUND,
            405 => METHOD_NOT_ALLOWED,
            408 => BODY_TIMEOUT,
            413 => BODY_TOO_LARGE,
            415 => UNSUPPORTED_MEDIA_TYPE,
            429 => RATE_LIMITED,
            400..=499 => BAD_REQUEST,
            _ => INTERNAL_ERROR,
        }
    }
}

/// `/docs/problems`
pub async fn show(State(app): State<App>) -> Html<Bytes> {
    Html(app.problems_page())
}

/// The page that every `type` points into. The table holds no character that HTML would need escaped.
pub fn page() -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Problems</title>\n\
         <h1>Problems</h1>\n<p>Every error is an application/problem+json of RFC 9457 with one of these codes.</p>\n",
    );
    for Kind { code, status, title, description } in ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "<h2 id=\"{code}\"><code>{code}</code> ({status}): {title}</h2>\n<p>{description}</p>"
        );
    }
    page.push_str("</html>\n");
    page
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use domain::{
        currency::Currency,
        id::{MerchantId, PaymentId, WithdrawalId},
        payment::PaymentStatus,
        withdrawal::WithdrawalStatus,
    };
    use uuid::Uuid;

    use super::*;

    #[test]
    fn codes_are_unique_and_stand_on_the_page() {
        let codes: HashSet<&str> = ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), ALL.len());
        let page = page();
        for kind in ALL {
            assert!(page.contains(&format!("id=\"{}\"", kind.code)));
            let texts = [kind.title, kind.description].concat();
            assert!(!texts.contains(['<', '>', '&', '"']), "{}", kind.code);
        }
    }

    #[test]
    fn a_refusal_keeps_the_code_that_the_domain_gave_it() {
        let usd = Currency::parse("USD").unwrap();
        let status = PaymentStatus::Failed;
        let withdrawn = WithdrawalStatus::Failed;
        let refusals = [
            Refusal::MerchantNotFound(MerchantId(Uuid::nil())),
            Refusal::PaymentNotFound(PaymentId(Uuid::nil())),
            Refusal::WithdrawalNotFound(WithdrawalId(Uuid::nil())),
            Refusal::EmailTaken,
            Refusal::MerchantInactive,
            Refusal::PaymentNotPending { status, wanted: "completed" },
            Refusal::PaymentNotRefundable { status },
            Refusal::RefundAbovePayment { requested_minor: 2, refundable_minor: 1, currency: usd },
            Refusal::InsufficientFunds { available_minor: 1, requested_minor: 2, currency: usd },
            Refusal::WithdrawalInWrongState { status: withdrawn, required: withdrawn, wanted: "failed" },
            Refusal::BalanceOutOfRange,
        ];
        for refusal in refusals {
            assert_eq!(Kind::of_refusal(&refusal).code, refusal.code());
        }
    }
}
