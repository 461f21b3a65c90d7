//! `/sign-in`: where an operator says who it is. A session always begins with a new token, so one that somebody else
//! planted in the browser is worth nothing (session fixation).

use std::{net::SocketAddr, time::Instant};

use access::{Mode, SignInRefusal, operators, sessions};
use askama::Template;
use axum::{
    Extension,
    body::{Body, to_bytes},
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
};

use super::Visit;
use crate::{
    change::Form,
    fault::{Fault, render},
    guard::{SESSION_COOKIE, host, is_this_machine},
    layout::{Frame, Section, cookie},
    list::Params,
    state::Console,
};

pub const PATH: &str = "/sign-in";
const BODY_BYTES_MAX: usize = 4096;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    back: String,
    refusal: String,
}

/// `GET /sign-in`
pub async fn show(visit: Visit, params: Params) -> Result<Response, Fault> {
    if !visit.viewer.is_stranger() {
        return Ok(Redirect::to("/").into_response());
    }
    let back = local(params.text("back"));
    render(&SignInPage { frame: visit.frame(Section::Elsewhere, "Sign in"), back, refusal: String::new() })
}

/// `POST /sign-in`
pub async fn sign_in(
    State(console): State<Console>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    visit: Visit,
    request: Request<Body>,
) -> Result<Response, Fault> {
    if console.access().mode() == Mode::Open {
        return Ok(Redirect::to("/").into_response());
    }
    if let Some(wait) = console.sign_ins().wait(peer.ip(), Instant::now()) {
        return Err(Fault::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many failures",
            format!("Too many sign-ins from this address failed. Try again in {} s.", wait.as_secs() + 1),
        ));
    }
    let is_secure = !host(request.uri(), request.headers()).is_some_and(|host| is_this_machine(host.host()));
    let before = cookie(request.headers(), SESSION_COOKIE).map(str::to_owned);
    let body = to_bytes(request.into_body(), BODY_BYTES_MAX).await;
    let body = body.map_err(|_| Fault::bad_request("The form is too long, or was broken off."))?;
    let field = |name: &str| {
        let found = form_urlencoded::parse(&body).find(|(field, _)| field == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let (name, password, back) = (field("name"), field("password"), local(&field("back")));
    match operators::sign_in(console.store(), name.trim(), &password).await {
        Ok(operator) => {
            let begun = console.read(sessions::begin(console.store(), &operator)).await?;
            if let Some(before) = before {
                console.read(sessions::end(console.store(), &before)).await?;
            }
            with_cookie(Redirect::to(&back), begun.token.reveal(), is_secure)
        }
        Err(refusal @ (SignInRefusal::Refused | SignInRefusal::Busy)) => {
            if matches!(refusal, SignInRefusal::Refused) {
                console.sign_ins().failed(peer.ip(), Instant::now());
                tracing::warn!(address = %peer.ip(), "a sign-in was refused");
            }
            let frame = visit.frame(Section::Elsewhere, "Sign in");
            let mut response = render(&SignInPage { frame, back, refusal: refusal.to_string() })?;
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            Ok(response)
        }
        Err(SignInRefusal::Unavailable(error)) => Err(Fault::read(error)),
    }
}

/// `POST /sign-out`
pub async fn sign_out(
    State(console): State<Console>,
    headers: HeaderMap,
    _: Form,
) -> Result<Response, Fault> {
    if let Some(token) = cookie(&headers, SESSION_COOKIE) {
        console.read(sessions::end(console.store(), token)).await?;
    }
    let mut response = with_cookie(Redirect::to(PATH), "", false)?;
    // What was looked at is not to be seen by going back.
    let clear = HeaderValue::from_static("\"cache\"");
    response.headers_mut().insert("clear-site-data", clear);
    Ok(response)
}

/// An empty token takes the cookie away.
fn with_cookie(redirect: Redirect, token: &str, is_secure: bool) -> Result<Response, Fault> {
    let secure = if is_secure { "; Secure" } else { "" };
    let ends = if token.is_empty() { "; Max-Age=0" } else { "" };
    let cookie = format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{secure}{ends}");
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| Fault::internal(&error.to_string()))?;
    let mut response = redirect.into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// A path of ours, or home: nobody is sent to another site.
fn local(back: &str) -> String {
    let is_path =
        back.starts_with('/') && !back.starts_with("//") && !back.contains(['\\', '\r', '\n', '\t']);
    let is_uri = back.parse::<Uri>().is_ok_and(|uri| uri.host().is_none() && uri.scheme().is_none());
    if is_path && is_uri { back.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        assert_eq!(local("/payments?status=Failed&x=%2F%2Fevil"), "/payments?status=Failed&x=%2F%2Fevil");
        for bad in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "",
            "/\t/evil",
        ] {
            assert_eq!(local(bad), "/", "{bad:?}");
        }
    }
}
