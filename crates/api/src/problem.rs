//! What a request is refused with: RFC 9457, `application/problem+json`.
//!
//! A handler gives a [`Problem`]; the [`crate::edge`] knows the path and the request id and writes the
//! body. What went wrong inside goes to the log as the cause, never into the body.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{id::MerchantId, state::Outcome};
use serde::Serialize;
use store::error::{ReadError, SubmitError};
use telemetry::{metrics, metrics::KindOf};
use utoipa::ToSchema;

use crate::problem_kind::{self as kind, Kind};

pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Of every 503: the queue and the database are usually back within it.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

#[derive(Clone, Debug)]
pub struct Problem {
    kind: &'static Kind,
    /// One or two sentences for the person who reads it.
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    /// For the log only.
    cause: Option<Box<str>>,
}

/// One wrong field: where it is, and what to send instead. It never holds the value that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON pointer into the body (RFC 6901), such as `/payments/3/currency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The name of a parameter of the path or the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
}

/// The body of every error (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Where the kind of problem is described, relative to the API.
    #[schema(example = "/docs/problems#validation_failed")]
    r#type: String,
    title: &'a str,
    #[schema(example = 400)]
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// The path of the request.
    instance: &'a str,
    /// Stable; one of the codes at `/docs/problems`.
    #[schema(example = "validation_failed")]
    code: &'a str,
    /// The same sentence as `detail`, for clients that read `error`.
    error: &'a str,
    /// Every wrong field, when the problem is with fields.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
    /// The same as the header `X-Request-Id`.
    request_id: &'a str,
}

impl Problem {
    pub fn new(kind: &'static Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), cause: None }
    }

    /// A problem of our own making; the cause is logged.
    pub fn internal(cause: impl Into<Box<str>>) -> Self {
        Self {
            cause: Some(cause.into()),
            ..Self::new(kind::INTERNAL_ERROR, "The request could not be carried out: an error on our side.")
        }
    }

    /// The store answered a command with something that the command does not make.
    pub fn unexpected(outcome: &Outcome) -> Self {
        let what = match outcome {
            Outcome::Merchant(_) => "a merchant",
            Outcome::Payment(_) => "a payment",
            Outcome::Payments(_) => "payments",
            Outcome::Withdrawal(_) => "a withdrawal",
        };
        Self::internal(format!("a command was answered with {what}"))
    }

    pub fn validation(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.detail.clone(),
            _ => Cow::from(format!("{} fields are wrong; see errors.", errors.len())),
        };
        Self { errors, ..Self::new(kind::VALIDATION_FAILED, detail) }
    }

    pub fn merchant_not_found(id: MerchantId) -> Self {
        Self::new(kind::MERCHANT_NOT_FOUND, format!("There is no merchant {id}."))
    }

    pub fn read(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(cause) => {
                metrics().database_errors.get_or_create(&KindOf { kind: "read" }).inc();
                Self {
                    cause: Some(cause.into()),
                    ..Self::new(kind::UNAVAILABLE, "The database is not available. Try again in a moment.")
                }
            }
            ReadError::Invalid(cause) => Self::internal(cause),
        }
    }

    /// `has_key`: whether an Idempotency-Key came with the request, which decides what is safe to do next.
    pub fn submit(error: SubmitError, has_key: bool) -> Self {
        match error {
            SubmitError::Refused(refusal) => Self::new(Kind::of_refusal(&refusal), refusal.to_string()),
            SubmitError::KeyReused => Self::new(
                kind::IDEMPOTENCY_KEY_REUSED,
                "This Idempotency-Key was used for another request. Nothing was changed.",
            ),
            SubmitError::Busy => {
                Self::new(kind::BUSY, "Too much work is waiting. Nothing was changed; try again in a moment.")
            }
            SubmitError::Unavailable => Self::new(
                kind::UNAVAILABLE,
                "The database is not available. Nothing was changed; try again in a moment.",
            ),
            SubmitError::OutcomeUnknown => Self::new(
                kind::OUTCOME_UNKNOWN,
                if has_key {
                    "The database went away in the middle of the change, which may or may not have been made. \
                     Repeating the request with the same Idempotency-Key is safe."
                } else {
                    "The database went away in the middle of the change, which may or may not have been made. \
                     Look before repeating it: no Idempotency-Key came with the request."
                },
            ),
            SubmitError::Broken => Self::internal("the store met a broken invariant"),
        }
    }

    /// The answer to a change did not come in time; it is queued and may still be made.
    pub fn late_change(has_key: bool) -> Self {
        let detail = if has_key {
            "The change took too long and may still be made. Repeating the request with the same \
             Idempotency-Key is safe."
        } else {
            "The change took too long and may still be made. Look before repeating it: no Idempotency-Key came \
             with the request."
        };
        Self::new(kind::REQUEST_TIMEOUT, detail)
    }

    pub fn late_read() -> Self {
        Self::new(kind::REQUEST_TIMEOUT, "The answer took too long. Try again in a moment.")
    }

    /// Stands for an error that a library answered with.
    pub fn of_status(status: StatusCode) -> Self {
        let kind = Kind::of_status(status.as_u16());
        match kind {
            kind::INTERNAL_ERROR => Self::internal(format!("a library answered {status}")),
            _ => Self::new(kind, kind.description),
        }
    }

    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub fn body(&self, path: &str, request_id: &str) -> Bytes {
        let body = ProblemBody {
            r#type: self.kind.type_reference(),
            title: self.kind.title,
            status: self.kind.status,
            detail: &self.detail,
            instance: path,
            code: self.kind.code,
            error: &self.detail,
            errors: &self.errors,
            request_id,
        };
        Bytes::from(serde_json::to_vec(&body).expect("texts and numbers are always writable as JSON"))
    }
}

/// Without a body, which the edge writes.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_members_of_rfc_9457_and_error_repeats_detail() {
        let error =
            FieldError { pointer: Some("/name".to_owned()), parameter: None, detail: "Send a name.".into() };
        let body = Problem::validation(vec![error]).body("/api/merchants", "abc");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "/docs/problems#validation_failed");
        assert_eq!(body["status"], 400);
        assert_eq!(body["instance"], "/api/merchants");
        assert_eq!(body["detail"], body["error"]);
        assert_eq!(body["requestId"], "abc");
        assert_eq!(body["errors"][0]["pointer"], "/name");
        assert!(body["errors"][0].get("parameter").is_none());
    }

    #[test]
    fn a_cause_stays_inside() {
        let problem = Problem::read(ReadError::Invalid("column 3 of payments".to_owned()));
        let body = problem.body("/", "abc");
        assert!(!String::from_utf8_lossy(&body).contains("column"));
        assert_eq!(problem.cause(), Some("column 3 of payments"));
    }
}
