//! What is measured and traced of every request, of the API and of the console.
//!
//! Names and labels are the router's routes, never paths: these may hold what is secret, and there is no end of them.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{LazyLock, PoisonError, RwLock},
    time::Instant,
};

use axum::{
    body::Body,
    extract::MatchedPath,
    http::{HeaderValue, Method, Request},
    middleware::Next,
    response::Response,
};
use telemetry::{
    metrics,
    metrics::{Answered, Route},
    trace::{self, Scope, Span},
};
use utoipa::openapi::OpenApi;

use crate::request_id::{X_REQUEST_ID, request_id};

const TRACEPARENT: &str = "traceparent";
/// What failures are answered with.
const FAILURES: [u16; 2] = [500, 503];
/// What no route has.
const NO_ROUTE: &str = "none";
/// As OpenTelemetry has it.
const OTHER_METHOD: &str = "_OTHER";
/// More than both routers have; it cannot grow with what callers ask for.
const ROUTES_MAX: usize = 500;

static ROUTES: LazyLock<RwLock<HashMap<String, &'static str>>> = LazyLock::new(RwLock::default);

/// A request that is being answered.
pub struct Observed {
    span: Span,
    began: Instant,
    route: Route,
}

impl Observed {
    /// Also gives what the work on it is done for.
    pub fn begin(request: &Request<Body>, id: &HeaderValue) -> (Self, Scope) {
        let route =
            request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, |path| interned(path.as_str()));
        let route = Route { method: method(request.method()), route };
        let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let mut span = Span::server(traceparent, || name(&route));
        let request_id = id.to_str().unwrap_or_default();
        if span.is_kept() {
            span.set("http.request.method", route.method);
            if route.route != NO_ROUTE {
                span.set("http.route", route.route);
            }
            span.set("fintech.request.id", request_id.to_owned());
        }
        metrics().http_requests_in_flight.inc();
        let scope = Scope::of_request(&span, request_id);
        (Self { span, began: Instant::now(), route }, scope)
    }

    pub fn end(mut self, response: &Response) {
        let status = response.status();
        if self.span.is_kept() {
            self.span.set("http.response.status_code", i64::from(status.as_u16()));
            if status.is_server_error() {
                self.span.set("error.type", status.as_str().to_owned());
                self.span.fail("");
            }
        }
        let trace_id = self.span.is_kept().then(|| self.span.context().trace_id_text());
        metrics().http_request_duration.observe(&self.route, self.began.elapsed(), trace_id);
        let Route { method, route } = self.route;
        let answered = Answered { method, route, status: status.as_u16() };
        metrics().http_requests.get_or_create(&answered).inc();
    }
}

/// Failures of the API are counted from zero on, so that the first one is a rise that an alert can see.
pub fn begin_at_zero(described: &OpenApi) {
    for (path, item) in &described.paths.paths {
        let methods = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        for (method, _) in methods.into_iter().filter(|(_, operation)| operation.is_some()) {
            for status in FAILURES {
                let answered = Answered { method, route: interned(path), status };
                drop(metrics().http_requests.get_or_create(&answered));
            }
        }
    }
}

/// Also when the caller went away before the answer.
impl Drop for Observed {
    fn drop(&mut self) {
        metrics().http_requests_in_flight.dec();
    }
}

/// A layer for a router that has no other edge.
pub async fn observe(mut request: Request<Body>, next: Next) -> Response {
    let id = request_id(request.headers());
    let (observed, scope) = Observed::begin(&request, &id);
    request.headers_mut().insert(X_REQUEST_ID, id);
    let response = trace::within(scope, next.run(request)).await;
    observed.end(&response);
    response
}

/// As OpenTelemetry's conventions for HTTP have it.
fn name(Route { method, route }: &Route) -> Cow<'static, str> {
    match (*method, *route) {
        (OTHER_METHOD, NO_ROUTE) => "HTTP".into(),
        (method, NO_ROUTE) => method.into(),
        (method, route) => format!("{method} {route}").into(),
    }
}

/// Of all methods that there could be, those that a router knows.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER_METHOD,
    }
}

/// The router's text of a route, which lives as long as the program.
fn interned(route: &str) -> &'static str {
    if let Some(known) = ROUTES.read().unwrap_or_else(PoisonError::into_inner).get(route) {
        return known;
    }
    let mut routes = ROUTES.write().unwrap_or_else(PoisonError::into_inner);
    if routes.len() >= ROUTES_MAX {
        return NO_ROUTE;
    }
    routes.entry(route.to_owned()).or_insert_with(|| route.to_owned().leak())
}
