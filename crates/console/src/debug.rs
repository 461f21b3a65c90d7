//! `/debug/pprof/…`: profiles of this process, at the paths where Go has them, for people with `curl` and for programs that gather
//! profiles.
//!
//! They are for administrators: an operator of the role `admin` who has signed in, a key of the platform of the role `admin`
//! (`Authorization: Bearer fk_live_…`), or, with open access, whoever is on this machine. A profile costs processor time, so what
//! it may take is limited, there is one of each kind at a time, and that it was taken stands in the audit before it begins.
//! What is refused is told as a problem (RFC 9457), since no person looks at it in a browser.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    str::FromStr,
    time::{Duration, Instant},
};

use access::{KeyRefusal, Permission, Role};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, FromRequestParts, RawQuery, State},
    http::{HeaderMap, HeaderValue, Request, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use profiling::{ProfileError, cpu, heap};
use serde_json::json;
use store::audit::{self, Actor};
use telemetry::{metrics, metrics::Reason};

use crate::{
    fault::Fault,
    guard::{Viewer, recognise},
    state::Console,
};

/// RFC 6750 §3.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"FintechPlatform\"");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

pub fn routes() -> Router<Console> {
    Router::new()
        .route("/debug/pprof/profile", get(processor))
        .route("/debug/pprof/heap", get(memory))
        .layer(middleware::from_fn(told))
}

/// `GET /debug/pprof/profile?seconds=30&hz=99`
async fn processor(
    administrator: Administrator,
    State(console): State<Console>,
    RawQuery(query): RawQuery,
) -> Result<Response, Fault> {
    let query = query.unwrap_or_default();
    let mut seconds = cpu::SECONDS_DEFAULT;
    let mut hertz = cpu::HERTZ_DEFAULT;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "seconds" => seconds = number(&name, &value, cpu::SECONDS)?,
            "hz" => hertz = number(&name, &value, cpu::HERTZ)?,
            _ => return Err(unknown(&name, "seconds and hz")),
        }
    }
    let detail = json!({"seconds": seconds, "hz": hertz});
    let turn = cpu::turn().map_err(refused)?;
    administrator.note(&console, "profile.cpu", &detail).await?;
    let taken = cpu::take(turn, Duration::from_secs(seconds), hertz).await;
    file("cpu.pb.gz", taken.map_err(refused)?)
}

/// `GET /debug/pprof/heap`
async fn memory(
    administrator: Administrator,
    State(console): State<Console>,
    RawQuery(query): RawQuery,
) -> Result<Response, Fault> {
    if let Some((name, _)) = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).next() {
        return Err(unknown(&name, "none"));
    }
    let turn = heap::turn().map_err(refused)?;
    administrator.note(&console, "profile.heap", &json!({})).await?;
    file("heap.pb.gz", heap::take(turn).await.map_err(refused)?)
}

fn number<N: FromStr + PartialOrd + ToString>(
    name: &str,
    value: &str,
    range: RangeInclusive<N>,
) -> Result<N, Fault> {
    let found = value.parse().ok().filter(|number| range.contains(number));
    found.ok_or_else(|| {
        let (from, to) = (range.start().to_string(), range.end().to_string());
        Fault::bad_request(format!("{name} is a whole number from {from} to {to}."))
    })
}

fn unknown(name: &str, known: &str) -> Fault {
    let name: String = name.chars().take(40).collect();
    Fault::bad_request(format!("There is no parameter {name:?}; there are {known}."))
}

fn refused(error: ProfileError) -> Fault {
    match error {
        ProfileError::Busy => Fault::new(
            StatusCode::CONFLICT,
            "A profile is being taken",
            "Of each kind there is one at a time. Try again when the other one is done.",
        ),
        ProfileError::Off => Fault::new(
            StatusCode::NOT_IMPLEMENTED,
            "The heap is not sampled",
            "This process was started with heap profiling turned off (_RJEM_MALLOC_CONF), so nothing is known.",
        ),
        ProfileError::Failed(reason) => {
            tracing::error!(reason, "a profile could not be taken");
            Fault::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The profile failed",
                "The log of the program says more. It needs a folder for temporary files (TMPDIR, or /tmp).",
            )
        }
    }
}

fn file(name: &str, profile: Vec<u8>) -> Result<Response, Fault> {
    let attachment = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let attachment = attachment.map_err(|error| Fault::internal(&error.to_string()))?;
    let octets = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, octets), (header::CONTENT_DISPOSITION, attachment)], profile).into_response())
}

/// Whoever may take profiles.
struct Administrator {
    /// As the audit log has it.
    name: String,
    request_id: String,
}

impl Administrator {
    async fn note(&self, console: &Console, action: &str, detail: &serde_json::Value) -> Result<(), Fault> {
        let actor = Actor::new(self.name.clone(), "").of_request(self.request_id.clone());
        let subject = format!("process {}", std::process::id());
        let noted = async {
            let mut transaction = console.store().begin_durable().await?;
            audit::write(transaction.as_mut(), &actor, action, &subject, detail, console.now()).await?;
            transaction.commit().await
        };
        console.read(noted).await?;
        tracing::info!(by = self.name, action, %detail, "a profile is taken");
        Ok(())
    }
}

impl FromRequestParts<Console> for Administrator {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Fault> {
        let request_id = request_id(&parts.headers);
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let name = of_key(console, parts).await?;
            return Ok(Self { name, request_id });
        }
        let mut viewer = Viewer::open(parts, request_id);
        recognise(console, &mut viewer, parts).await?;
        // What another site's page asks for with this browser is asked for by nobody.
        let site = parts.headers.get("sec-fetch-site");
        if site.is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(Fault::forbidden("This was asked for by another site."));
        }
        if viewer.is_stranger() {
            return Err(unauthenticated("no_key", "Sign in, or send a key of the role admin."));
        }
        viewer.must(Permission::TakeProfiles)?;
        Ok(Self { name: viewer.name, request_id: viewer.request_id })
    }
}

/// The name of a key that may.
async fn of_key(console: &Console, parts: &Parts) -> Result<String, Fault> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    if let Some(wait) = peer.and_then(|peer| console.sign_ins().wait(peer, Instant::now())) {
        return Err(Fault::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many failures",
            format!("Too many attempts from this address failed. Try again in {} s.", wait.as_secs() + 1),
        ));
    }
    let refused = |reason: &'static str, told: &'static str| {
        if let Some(peer) = peer {
            console.sign_ins().failed(peer, Instant::now());
        }
        unauthenticated(reason, told)
    };
    let Some(presented) = bearer(&parts.headers) else {
        return Err(refused("malformed", "Send the key once, as Authorization: Bearer fk_live_…"));
    };
    let key = console.access().key(presented).await.map_err(|refusal| match refusal {
        KeyRefusal::Unavailable(error) => Fault::read(error),
        KeyRefusal::Unknown => refused("unknown", "There is no such key."),
        KeyRefusal::Expired => refused("expired", "This key has expired."),
        KeyRefusal::Revoked => refused("revoked", "This key was revoked."),
    })?;
    if key.caller.scope.merchant().is_some() || key.caller.role < Role::Admin {
        count_refused("role");
        return Err(Fault::forbidden("This needs a key of the platform with the role admin."));
    }
    Ok(key.caller.name.clone())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim_matches(' '))
}

fn unauthenticated(reason: &'static str, told: &'static str) -> Fault {
    count_refused(reason);
    Fault::new(StatusCode::UNAUTHORIZED, "Not signed in", told)
}

fn count_refused(reason: &'static str) {
    metrics().access_refused.get_or_create(&Reason { reason }).inc();
}

fn request_id(headers: &HeaderMap) -> String {
    api::request_id(headers).to_str().unwrap_or_default().to_owned()
}

/// Writes what was refused, and has nobody keep or guess at an answer.
async fn told(request: Request<Body>, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let request_id = request_id(request.headers());
    let mut response = next.run(request).await;
    if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        let problem = json!({
            "type": "about:blank",
            "title": fault.title,
            "status": fault.status.as_u16(),
            "detail": fault.detail,
            "error": fault.detail,
            "instance": path,
            "code": code(fault.status),
            "requestId": request_id,
        });
        response = (fault.status, [(header::CONTENT_TYPE, PROBLEM)], problem.to_string()).into_response();
        if fault.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(api::X_REQUEST_ID, id);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "bad_request",
        StatusCode::UNAUTHORIZED => "unauthenticated",
        StatusCode::FORBIDDEN => "access_denied",
        StatusCode::CONFLICT => "profile_in_progress",
        StatusCode::TOO_MANY_REQUESTS => "rate_limited",
        StatusCode::NOT_IMPLEMENTED => "heap_not_sampled",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        StatusCode::MISDIRECTED_REQUEST => "misdirected_request",
        _ => "internal_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_within_their_limits() {
        for (text, wanted) in [("1", Some(1)), ("60", Some(60)), ("+7", Some(7))] {
            assert_eq!(number("seconds", text, cpu::SECONDS).ok(), wanted, "{text}");
        }
        for text in ["", "0", "61", "-1", "1.5", "30s", "99999999999999999999"] {
            let fault = number("seconds", text, cpu::SECONDS).unwrap_err();
            assert_eq!(fault.detail, "seconds is a whole number from 1 to 60.", "{text}");
        }
    }

    #[test]
    fn a_key_is_sent_once_behind_bearer() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["bearer  fk_live_a"]).as_deref(), Some("fk_live_a"));
        for wrong in [&["Basic YTpi"][..], &["fk_live_a"], &["Bearer a", "Bearer a"]] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
