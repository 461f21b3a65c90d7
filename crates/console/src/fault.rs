//! What a page answers when it cannot show what was asked for: a page that says why, with the request's id.

use std::borrow::Cow;

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use store::error::ReadError;

/// Why there is no page.
#[derive(Clone, Debug)]
pub struct Fault {
    pub status: StatusCode,
    pub title: &'static str,
    /// A sentence for the person, with what to do.
    pub detail: Cow<'static, str>,
}

impl Fault {
    pub fn new(status: StatusCode, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, title, detail: detail.into() }
    }

    pub fn not_found(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", what)
    }

    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Not understood", detail)
    }

    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Not allowed", detail)
    }

    pub fn late() -> Self {
        tracing::warn!("a query of the console took too long");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The database is slow",
            "The answer took too long. Try again, or narrow the filter.",
        )
    }

    pub fn read(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(reason) => {
                tracing::warn!(%reason, "the console could not read");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "The database is not available",
                    "Nothing can be shown until it answers again. Payments are refused meanwhile, none is lost.",
                )
            }
            ReadError::Invalid(reason) => Self::internal(&reason),
        }
    }

    pub fn internal(reason: &str) -> Self {
        tracing::error!(reason, "a page of the console failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something is wrong on our side",
            "The log of the program says more, under the request id below.",
        )
    }
}

/// Left in the answer for the guard, which knows the request's id and who asks, and makes the page.
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A template as an answer.
pub fn render(page: &impl Template) -> Result<Response, Fault> {
    page.render().map(|text| Html(text).into_response()).map_err(|error| Fault::internal(&error.to_string()))
}
