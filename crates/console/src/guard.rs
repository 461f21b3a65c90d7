//! What every request passes on its way in and every answer on its way out.
//!
//! In: open access is for this machine only, so a page that was called by another name than this machine's is refused
//! (a foreign site can point its own name here: DNS rebinding). A POST must come from a page of the console: by the
//! browser's word (`Sec-Fetch-Site`, `Origin`) and by the token that stands in the form ([`crate::change::Form`]).
//! Out: a strict Content-Security-Policy without inline scripts or styles, no framing, no caching, and a page for
//! every [`Fault`].

use std::sync::LazyLock;

use access::{
    Mode, OperatorRole, Permission,
    sessions::{self, Session},
};
use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header, request::Parts,
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use store::error::ReadError;
use uuid::Uuid;

use crate::{
    fault::{Fault, render},
    layout::{FaultPage, Frame, Section, THEME_COOKIE, Theme, cookie},
    pages::{live, sign_in::PATH as SIGN_IN},
    show::Clock,
    state::Console,
};

const HEADERS: [(HeaderName, HeaderValue); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // Not `no-referrer`: a form's Origin would be "null", and its POST refused.
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), microphone=(), geolocation=()"),
    ),
];

/// Proves that a form is of this process, where nobody signs in.
static OPEN_TOKEN: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().simple().to_string());

/// The cookie of a session. Only its hash is stored ([`access::sessions`]).
pub const SESSION_COOKIE: &str = "fintech_session";

/// Who looks.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// As the audit log has it: `operator anna`, or `open access`.
    pub name: String,
    pub standing: Standing,
    /// What the forms of this viewer carry.
    pub csrf: String,
    pub theme: Theme,
    pub request_id: String,
}

/// What somebody is to the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody signs in here: whoever is on this machine may do everything.
    Open,
    /// Nobody yet: only the page to sign in is shown.
    Stranger,
    Operator {
        name: String,
        role: OperatorRole,
    },
}

impl Viewer {
    /// Whoever looks as long as nothing else is known.
    pub fn open(parts: &Parts, request_id: String) -> Self {
        Self {
            name: "open access".to_owned(),
            standing: Standing::Open,
            csrf: OPEN_TOKEN.clone(),
            theme: Theme::of_name(cookie(&parts.headers, THEME_COOKIE).unwrap_or_default()),
            request_id,
        }
    }

    pub const fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Open)
    }

    pub const fn is_stranger(&self) -> bool {
        matches!(self.standing, Standing::Stranger)
    }

    /// The name that operators sign in with; empty with open access.
    pub fn operator(&self) -> &str {
        match &self.standing {
            Standing::Operator { name, .. } => name,
            Standing::Open | Standing::Stranger => "",
        }
    }

    pub const fn may(&self, permission: Permission) -> bool {
        match &self.standing {
            Standing::Open => true,
            Standing::Stranger => false,
            Standing::Operator { role, .. } => role.may(permission),
        }
    }

    pub fn must(&self, permission: Permission) -> Result<(), Fault> {
        if self.may(permission) {
            return Ok(());
        }
        let role = match &self.standing {
            Standing::Operator { role, .. } => role.name(),
            Standing::Open | Standing::Stranger => "nobody",
        };
        Err(Fault::forbidden(format!("The role {role} may not do this. Ask an operator who is an admin.")))
    }
}

/// The outermost layer around the pages.
pub async fn pages(State(console): State<Console>, request: Request<Body>, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let request_id = api::request_id(&parts.headers);
    let mut viewer = Viewer::open(&parts, request_id.to_str().unwrap_or_default().to_owned());
    let response = match enter(&console, &mut viewer, &parts).await {
        Ok(None) => {
            parts.extensions.insert(viewer.clone());
            next.run(Request::from_parts(parts, body)).await
        }
        Ok(Some(elsewhere)) => elsewhere,
        Err(fault) => fault.into_response(),
    };
    let mut response = with_page(&console, viewer, response);
    let headers = response.headers_mut();
    headers.insert(api::X_REQUEST_ID, request_id);
    headers.extend(HEADERS);
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Finds out who looks, and whether the request can be from them.
pub async fn recognise(console: &Console, viewer: &mut Viewer, parts: &Parts) -> Result<(), Fault> {
    let Parts { method, uri, headers, .. } = parts;
    if console.access().mode() == Mode::Required && !is_asset(uri) {
        viewer.standing = Standing::Stranger;
        "stranger".clone_into(&mut viewer.name);
        // A stranger's forms prove nothing by a token: what a session's forms carry is only in its pages.
        viewer.csrf.clear();
        if let Some(token) = cookie(headers, SESSION_COOKIE)
            && let Some(session) = console.read(session(console, token, uri.path())).await?
        {
            viewer.name = session.actor_name();
            viewer.standing = Standing::Operator { name: session.operator, role: session.role };
            viewer.csrf = session.csrf;
        }
    }
    check(viewer, method, uri, headers)
}

/// Everybody may have them: the page to sign in is made of them.
fn is_asset(uri: &Uri) -> bool {
    uri.path().starts_with("/assets/")
}

/// Finds out who looks, and whether they may come in; an answer sends them elsewhere.
async fn enter(console: &Console, viewer: &mut Viewer, parts: &Parts) -> Result<Option<Response>, Fault> {
    recognise(console, viewer, parts).await?;
    let Parts { method, uri, headers, .. } = parts;
    if !viewer.is_stranger() || is_asset(uri) || uri.path() == SIGN_IN {
        return Ok(None);
    }
    // A page is come back to after signing in; what is not a page is refused.
    let is_page = *method == Method::GET && !headers.contains_key("hx-request") && accepts_html(headers);
    if !is_page {
        return Err(Fault::new(
            StatusCode::UNAUTHORIZED,
            "Signed out",
            "Sign in again. Nothing was changed.",
        ));
    }
    let back = uri.path_and_query().map_or("/", |path| path.as_str());
    let back: String = form_urlencoded::byte_serialize(back.as_bytes()).collect();
    Ok(Some(Redirect::to(&format!("{SIGN_IN}?back={back}")).into_response()))
}

/// What a page asks by itself, for as long as it is open, is no sign that somebody is there.
async fn session(console: &Console, token: &str, path: &str) -> Result<Option<Session>, ReadError> {
    if path.starts_with(live::PATH) {
        sessions::find_unused(console.store(), token).await
    } else {
        sessions::find(console.store(), token).await
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("text/html");
    accepted.contains("text/html") || accepted.contains("*/*")
}

fn check(viewer: &Viewer, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
    let host = host(uri, headers).ok_or_else(|| Fault::bad_request("The request names no host."))?;
    if viewer.is_open() && !is_this_machine(host.host()) {
        return Err(Fault::new(
            StatusCode::MISDIRECTED_REQUEST,
            "Another name",
            "Without sign-in the console is only for this machine: open it as localhost, 127.0.0.1 or [::1].",
        ));
    }
    if method == Method::GET || method == Method::HEAD {
        return Ok(());
    }
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    let is_same_site = site.is_none_or(|site| site == "same-origin");
    let is_same_origin = headers.get(header::ORIGIN).is_none_or(|origin| {
        let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
        origin.is_some_and(|origin| origin.authority() == Some(&host))
    });
    if is_same_site && is_same_origin {
        Ok(())
    } else {
        Err(Fault::forbidden("This was not sent from a page of the console. Nothing was changed."))
    }
}

pub fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let of_header = || headers.get(header::HOST)?.to_str().ok()?.parse().ok();
    uri.authority().cloned().or_else(of_header)
}

pub fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: std::net::IpAddr| address.is_loopback();
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_loopback)
}

/// The page of a fault, and of what a library refused.
fn with_page(console: &Console, viewer: Viewer, mut response: Response) -> Response {
    let status = response.status();
    let fault = response.extensions_mut().remove::<Fault>();
    let is_empty = !response.headers().contains_key(header::CONTENT_TYPE);
    let fault = match fault {
        Some(fault) => fault,
        None if (status.is_client_error() || status.is_server_error()) && is_empty => Fault::new(
            status,
            "Not understood",
            match status {
                StatusCode::NOT_FOUND => "There is no such page.",
                StatusCode::METHOD_NOT_ALLOWED => "This page is not asked for in this way.",
                _ => "The request is not understood.",
            },
        ),
        None => return response,
    };
    let request_id = viewer.request_id.clone();
    let frame = Frame {
        title: fault.title.to_owned(),
        section: Section::Elsewhere,
        viewer,
        clock: Clock { now: console.now() },
        notice: None,
        is_embedded: console.kafka().is_none(),
        views: Vec::new(),
        query: String::new(),
    };
    let page =
        FaultPage { frame, status: fault.status.as_u16(), detail: &fault.detail, request_id: &request_id };
    let mut response = render(&page).unwrap_or_else(|_| fault.status.into_response());
    *response.status_mut() = fault.status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer() -> Viewer {
        Viewer {
            name: String::new(),
            standing: Standing::Open,
            csrf: String::new(),
            theme: Theme::Auto,
            request_id: String::new(),
        }
    }

    fn ask(method: Method, pairs: &[(&'static str, &'static str)]) -> Result<(), Fault> {
        let headers =
            pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        check(&viewer(), &method, &Uri::from_static("/payments"), &headers)
    }

    #[test]
    fn open_access_answers_to_this_machines_names_only() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "localhost", "a.localhost:1"] {
            assert!(ask(Method::GET, &[("host", host)]).is_ok(), "{host}");
        }
        for host in ["evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1:8080", "localhost.evil.example"]
        {
            assert_eq!(ask(Method::GET, &[("host", host)]).unwrap_err().status, 421, "{host}");
        }
        assert_eq!(ask(Method::GET, &[]).unwrap_err().status, 400);
    }

    #[test]
    fn a_post_from_another_site_is_refused() {
        let host = ("host", "localhost:8080");
        assert!(ask(Method::POST, &[host]).is_ok());
        assert!(ask(Method::POST, &[host, ("origin", "http://localhost:8080")]).is_ok());
        for foreign in [
            [host, ("origin", "http://evil.example")],
            [host, ("origin", "http://localhost:8081")],
            [host, ("origin", "null")],
            [host, ("sec-fetch-site", "cross-site")],
            [host, ("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(ask(Method::POST, &foreign).unwrap_err().status, 403, "{foreign:?}");
        }
    }
}
