//! The header `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header): a structured-field
//! string in double quotes, or the bare value, as most clients send it.

use axum::http::HeaderMap;
use store::request::IDEMPOTENCY_KEY_CHARS_MAX;

use crate::{problem::Problem, problem_kind::IDEMPOTENCY_KEY_INVALID};

pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// The key without its quotes, if the request has one.
pub fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(IDEMPOTENCY_KEY_INVALID, "Send the header Idempotency-Key once."));
    }
    let key = value.to_str().ok().and_then(parse);
    key.map(Some).ok_or_else(|| {
        Problem::new(
            IDEMPOTENCY_KEY_INVALID,
            format!(
                "Send an Idempotency-Key of 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters, bare or in \
                 double quotes."
            ),
        )
    })
}

fn parse(value: &str) -> Option<String> {
    let key = match value.strip_prefix('"') {
        Some(rest) => unquoted(rest)?,
        None => value.to_owned(),
    };
    let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    (is_visible && (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len())).then_some(key)
}

/// What stands between the quotes of a string of RFC 9651 §3.3.3; `\` escapes `"` and itself only.
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(key),
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => key.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn quoted_and_bare_keys_are_the_same_key() {
        for (value, key) in
            [("abc", "abc"), ("\"abc\"", "abc"), ("\"a\\\"b\\\\\"", "a\"b\\"), ("a\"b", "a\"b")]
        {
            assert_eq!(parse(value).as_deref(), Some(key), "{value}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let long = "k".repeat(IDEMPOTENCY_KEY_CHARS_MAX + 1);
        for bad in ["", "\"\"", "\"abc", "\"abc\";a=1", "\"a\\b\"", "a b", "\"a b\"", "a\tb", "é", &long] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(parse(&long[1..]).is_some());
    }

    #[test]
    fn a_header_that_stands_twice_or_is_not_ascii_is_refused() {
        let mut headers = HeaderMap::new();
        assert!(matches!(key_of(&headers), Ok(None)));
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(key_of(&headers).is_err());
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static("a"));
        assert!(key_of(&headers).is_err());
    }
}
