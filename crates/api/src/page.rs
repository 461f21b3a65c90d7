//! Pages of a list: `limit`, an opaque `cursor`, and the next page in `Link` (RFC 8288).

use std::fmt::Write;

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::time::Timestamp;
use serde::Serialize;
use store::queries::PageKey;
use uuid::Uuid;

use crate::query::Query;

pub const LIMIT_MAX: i64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    limit: usize,
    pub after: Option<PageKey>,
}

impl Page {
    pub fn read(query: &mut Query) -> Self {
        let limit = read_limit(query);
        let after = query.value("cursor").and_then(|text| {
            let key = decode(&text);
            if key.is_none() {
                query.errors.at_parameter(
                    "cursor",
                    "Send a cursor as it stands in the Link header of the page before, or none for the first page.",
                );
            }
            key
        });
        Self { limit, after }
    }

    /// One more row than the page has tells whether there is a next one.
    pub const fn rows_wanted(self) -> usize {
        self.limit + 1
    }

    /// The page as a bare array, newest first.
    pub fn answer<R, B: Serialize>(
        self,
        query: &Query,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> PageKey,
        show: impl Fn(R) -> B,
    ) -> Response {
        let has_more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = rows.last().filter(|_| has_more).and_then(|last| next_link(query, key(last)));
        let shown: Vec<B> = rows.into_iter().map(show).collect();
        let mut response = Json(shown).into_response();
        if let Some(next) = next {
            response.headers_mut().insert(header::LINK, next);
        }
        response
    }
}

pub fn read_limit(query: &mut Query) -> usize {
    let limit = query.integer("limit", 1, LIMIT_MAX).unwrap_or(LIMIT_MAX);
    usize::try_from(limit).expect("a limit lies between 1 and 100")
}

/// The same query behind another cursor, as a reference relative to the API.
fn next_link(query: &Query, key: PageKey) -> Option<HeaderValue> {
    let mut link = format!("<{}?", query.path());
    for (name, value) in query.pairs().iter().filter(|(name, _)| name != "cursor") {
        encode_into(&mut link, name);
        link.push('=');
        encode_into(&mut link, value);
        link.push('&');
    }
    link.push_str("cursor=");
    link.push_str(&encode(key));
    link.push_str(">; rel=\"next\"");
    HeaderValue::from_str(&link).ok()
}

/// Everything but the unreserved characters of RFC 3986 §2.3 is percent-encoded.
fn encode_into(link: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            link.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(link, "%{byte:02X}");
        }
    }
}

/// Microseconds and id, big-endian, in base64url.
fn encode(key: PageKey) -> String {
    let mut bytes = [0; 24];
    let (moment, id) = bytes.split_at_mut(8);
    moment.copy_from_slice(&key.created_at.as_micros().to_be_bytes());
    id.copy_from_slice(key.id.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(cursor: &str) -> Option<PageKey> {
    let bytes: [u8; 24] = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?.try_into().ok()?;
    let (moment, id) = bytes.split_at(8);
    let micros = i64::from_be_bytes(moment.try_into().ok()?);
    let created_at = Timestamp::from_micros(micros);
    let id = Uuid::from_slice(id).ok()?;
    // A moment outside the years that a Timestamp holds was never in a cursor of ours.
    (created_at.as_micros() == micros).then_some(PageKey { created_at, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PageKey =
        PageKey { created_at: Timestamp::from_micros(1_795_435_200_000_001), id: Uuid::from_u128(7 << 70) };

    fn query(text: &str) -> Query {
        Query::of(&format!("/api/merchants?{text}").parse().unwrap()).unwrap()
    }

    #[test]
    fn a_cursor_survives_the_way_to_the_client_and_back() {
        let mut query = query(&format!("limit=7&cursor={}", encode(KEY)));
        let page = Page::read(&mut query);
        assert!(query.finish().is_ok());
        assert_eq!(page, Page { limit: 7, after: Some(KEY) });
    }

    #[test]
    fn a_broken_cursor_is_refused() {
        let cut = &encode(KEY)[..20];
        let early = BASE64_URL_SAFE_NO_PAD.encode([0xff; 24]);
        for bad in ["x", "====", cut, early.as_str(), "%00"] {
            let mut query = query(&format!("cursor={bad}"));
            assert_eq!(Page::read(&mut query).after, None);
            assert!(query.finish().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_next_link_keeps_the_filters_and_replaces_the_cursor() {
        let mut query = query("search=%3E%22a%20b%26&limit=2&cursor=old");
        let page = Page { limit: 2, after: None };
        let response = page.answer(&query, vec![1, 2, 3], |_| KEY, |row| row);
        let link = response.headers()[header::LINK].to_str().unwrap();
        let cursor = encode(KEY);
        assert_eq!(
            link,
            format!("</api/merchants?search=%3E%22a%20b%26&limit=2&cursor={cursor}>; rel=\"next\"")
        );
        assert_eq!(query.value("search").as_deref(), Some(">\"a b&"));

        let last = page.answer(&query, vec![1, 2], |_| KEY, |row| row);
        assert!(last.headers().get(header::LINK).is_none());
    }
}
