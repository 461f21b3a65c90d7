//! The id of a request: taken from `X-Request-Id` when a proxy in front has set one, made otherwise; in
//! the answer, in every problem and in the log.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// In the extensions of every request.
#[derive(Clone, Debug)]
pub struct RequestId(pub HeaderValue);

impl RequestId {
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// A longer one is replaced.
const CHARS_MAX: usize = 128;

pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    headers.get(X_REQUEST_ID).filter(|value| is_usable(value)).cloned().unwrap_or_else(new_id)
}

/// Visible ASCII only, so that it cannot break a line of the log.
fn is_usable(value: &HeaderValue) -> bool {
    (1..=CHARS_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn new_id() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let id = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(id).expect("a UUID is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_outside_is_kept_unless_it_could_do_harm() {
        let mut headers = HeaderMap::new();
        for (sent, is_kept) in [("abc-1", true), ("", false), ("a b", false), (&"x".repeat(129), false)] {
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(sent).unwrap());
            assert_eq!(request_id(&headers) == sent, is_kept, "{sent}");
        }
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(request_id(&headers).len(), 36);
    }
}
