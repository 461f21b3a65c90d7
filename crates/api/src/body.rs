//! Takes a request's body in, bounded in bytes and in time.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, Request, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::{
    problem::Problem,
    problem_kind::{BODY_TIMEOUT, BODY_TOO_LARGE, MALFORMED_BODY, UNSUPPORTED_MEDIA_TYPE},
};

/// How much of a body that is too large is read and thrown away: a client that is still sending when the
/// connection closes never sees the answer.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The body, empty if there is none. One with content must be declared as JSON.
pub async fn read(request: Request<Body>, bytes_max: usize, deadline: Duration) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let taken = tokio::time::timeout(deadline, take(body, bytes_max, &parts.headers)).await;
    let bytes = taken.map_err(|_| {
        let seconds = deadline.as_secs_f32();
        Problem::new(
            BODY_TIMEOUT,
            format!("The body did not arrive within {seconds} seconds. Nothing was changed."),
        )
    })??;
    if !bytes.is_empty() {
        check_type(&parts.headers)?;
    }
    Ok(bytes)
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail| Err(Problem::new(UNSUPPORTED_MEDIA_TYPE, detail));
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|text| text.split(';').next()).map(str::trim).unwrap_or_default();
    if !essence.eq_ignore_ascii_case("application/json") {
        return refused("Send the body with the header Content-Type: application/json.");
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refused("Send the body as it is, without Content-Encoding.");
    }
    Ok(())
}

async fn take(mut body: Body, bytes_max: usize, headers: &HeaderMap) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            BODY_TOO_LARGE,
            format!("The body is above {bytes_max} bytes, the most that this takes."),
        )
    };
    // A client that waits for 100 Continue has not sent the body yet and need not.
    if declared_bytes(headers).is_some_and(|declared| declared > bytes_max)
        && headers.contains_key(header::EXPECT)
    {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(MALFORMED_BODY, "The body was broken off."))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen > bytes_max {
            if seen > DISCARDED_BYTES_MAX {
                break;
            }
        } else if first.is_empty() {
            // Most bodies come in one piece, which needs no copy.
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    match (seen > bytes_max, rest.is_empty()) {
        (true, _) => Err(too_large()),
        (false, true) => Ok(first),
        (false, false) => Ok(rest.freeze()),
    }
}

fn declared_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    async fn status(body: Body, content_type: &str) -> Result<Bytes, u16> {
        let request = Request::builder().header(header::CONTENT_TYPE, content_type).body(body).unwrap();
        read(request, 8, DEADLINE).await.map_err(|problem| problem.status().as_u16())
    }

    fn pieces(texts: &'static [&'static str]) -> Body {
        let pieces = texts.iter().map(|text| Ok::<_, std::io::Error>(Bytes::from_static(text.as_bytes())));
        Body::from_stream(futures_util::stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_put_together_and_bounded() {
        assert_eq!(status(Body::empty(), "text/plain").await.as_deref(), Ok(&b""[..]));
        assert_eq!(
            status(pieces(&["{\"a\"", ":1", "}"]), "application/json").await.as_deref(),
            Ok(&b"{\"a\":1}"[..])
        );
        assert_eq!(status(pieces(&["12345678", "9"]), "application/json").await, Err(413));
    }

    #[tokio::test]
    async fn only_json_is_taken() {
        assert!(status(Body::from("{}"), "Application/JSON; charset=utf-8").await.is_ok());
        for other in ["text/plain", "application/x-www-form-urlencoded", "application/json5", ""] {
            assert_eq!(status(Body::from("{}"), other).await, Err(415), "{other}");
        }
    }
}
