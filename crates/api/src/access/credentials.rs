//! The key of a request: `Authorization: Bearer fk_live_…` (RFC 6750 §2.1), and nowhere else.

use axum::http::{HeaderMap, HeaderValue, Uri, header::AUTHORIZATION};

use crate::{
    problem::Problem,
    problem_kind::{AUTHORIZATION_INVALID, UNAUTHENTICATED},
};

const SCHEME: &str = "bearer";
/// What keys begin with; a URL that holds it holds a key.
const KEY_PREFIXES: [&str; 2] = ["fk_live_", "fk_test_"];
/// The parameter of RFC 6750 §2.3.
const QUERY_PARAMETER: &str = "access_token=";

/// A key as it was presented; whether it is one is not known yet. It has no `Debug`: it is a secret.
pub struct Presented(HeaderValue);

impl Presented {
    pub fn text(&self) -> &str {
        self.0.to_str().ok().and_then(token).unwrap_or_default()
    }
}

/// `None`: the request presents no key.
pub fn of(headers: &HeaderMap, uri: &Uri) -> Result<Option<Presented>, Problem> {
    if uri.query().is_some_and(has_key) {
        return Err(Problem::new(
            AUTHORIZATION_INVALID,
            "A key in a URL stays in logs and histories: revoke it, and send another one in the header \
             Authorization.",
        ));
    }
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new(AUTHORIZATION_INVALID, "Send the header Authorization once."));
    }
    match value.to_str().ok().and_then(token) {
        Some(_) => Ok(Some(Presented(value.clone()))),
        None => Err(Problem::new(UNAUTHENTICATED, "Send the key as Authorization: Bearer fk_live_…")),
    }
}

fn has_key(query: &str) -> bool {
    KEY_PREFIXES.iter().any(|prefix| query.contains(prefix))
        || query.split('&').any(|parameter| parameter.starts_with(QUERY_PARAMETER))
}

/// What stands behind the scheme, which is of either case (RFC 9110 §11.1).
fn token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    (scheme.eq_ignore_ascii_case(SCHEME) && is_token).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str], path: &str) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        let found = of(&headers, &path.parse().unwrap());
        found
            .map(|presented| presented.map(|presented| presented.text().to_owned()))
            .map_err(|problem| problem.kind().code)
    }

    #[test]
    fn a_key_is_what_stands_behind_bearer() {
        for value in ["Bearer fk_live_abc", "bearer fk_live_abc", "BEARER   fk_live_abc "] {
            assert_eq!(read(&[value], "/"), Ok(Some("fk_live_abc".to_owned())), "{value}");
        }
        assert_eq!(read(&[], "/?limit=1"), Ok(None));
    }

    #[test]
    fn other_schemes_and_malformed_headers_are_not_taken_for_no_key() {
        for value in
            ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "fk_live_abc", "Bearer a b", "Bearer a,b", ""]
        {
            assert_eq!(read(&[value], "/"), Err("unauthenticated"), "{value}");
        }
        assert_eq!(read(&["Bearer a", "Bearer a"], "/"), Err("authorization_invalid"));
    }

    #[test]
    fn a_key_in_the_url_is_refused_even_beside_a_good_one() {
        for query in ["?access_token=abc", "?limit=1&access_token=", "?key=fk_live_abc", "?x=fk_test_"] {
            assert_eq!(
                read(&["Bearer fk_live_abc"], &format!("/{query}")),
                Err("authorization_invalid"),
                "{query}"
            );
        }
        assert!(read(&[], "/?accessToken=1").is_ok());
    }
}
