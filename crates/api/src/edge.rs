//! What every request passes on its way in and every answer on its way out: a request id, an end to
//! panics, the bodies of problems, the record of requests, CORS and gzip.

use std::any::Any;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, header, request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use telemetry::trace;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer, Predicate,
        predicate::{NotForContentType, SizeAbove},
    },
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
};

use crate::{
    access::{RATE_LIMIT, RATE_LIMIT_POLICY},
    idempotency::IDEMPOTENT_REPLAYED,
    observe::Observed,
    problem::{self, Problem},
    problem_kind::Kind,
    request_id::{RequestId, X_REQUEST_ID, request_id},
    request_log::{Arrival, Recorder},
};

/// A smaller body costs more to compress than to send.
const GZIP_BYTES_MIN: u64 = 1024;

/// The layers around all routes, the last one outermost.
pub fn around<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    recorder: Recorder,
    allowed_origins: &[String],
) -> Router<S> {
    // What is sent as it happens must not wait for more to be compressed with it.
    let worth_it = SizeAbove::new(GZIP_BYTES_MIN).and(NotForContentType::IMAGES).and(NotForContentType::SSE);
    routes
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(recorder, edge))
        .layer(cors(allowed_origins))
        .layer(CompressionLayer::new().compress_when(worth_it))
}

async fn edge(State(recorder): State<Recorder>, mut request: Request<Body>, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let arrival = Arrival::of(&request);
    let (observed, scope) = Observed::begin(&request, &id);
    let mut response = trace::within(scope.clone(), next.run(request)).await;
    let mut code = None;
    if is_without_body(&response) {
        let with_body = || with_problem_body(response, arrival.method(), arrival.path(), &id);
        let (with_body, kind) = trace::within_sync(scope, with_body);
        (response, code) = (with_body, Some(kind.code));
    }
    observed.end(&response);
    recorder.record(&arrival, &response, code, &id);
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// An error that a handler wrote itself is JSON: the health probes.
fn is_without_body(response: &Response) -> bool {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    is_error && response.headers().get(header::CONTENT_TYPE).is_none_or(|value| value != "application/json")
}

fn with_problem_body(
    response: Response,
    method: &Method,
    path: &str,
    id: &HeaderValue,
) -> (Response, &'static Kind) {
    let (mut parts, _) = response.into_parts();
    let problem = parts.extensions.remove::<Problem>().unwrap_or_else(|| Problem::of_status(parts.status));
    let request_id = id.to_str().unwrap_or_default();
    if parts.status.is_server_error() {
        let (code, cause) = (problem.kind().code, problem.cause().unwrap_or_default());
        if parts.status == StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(%method, path, code, cause, "a request was turned away");
        } else {
            tracing::error!(%method, path, code, cause, "a request failed");
        }
    }
    parts.status = problem.status();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, problem::CONTENT_TYPE);
    let response = Response::from_parts(parts, Body::from(problem.body(path, request_id)));
    (response, problem.kind())
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Problem::internal(format!("a panic: {}", text.unwrap_or("without a text"))).into_response()
}

fn cors(allowed_origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> =
        allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    let is_allowed = move |origin: &HeaderValue, _: &request::Parts| origins.contains(origin);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST, Method::PATCH])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            header::CONTENT_DISPOSITION,
            X_REQUEST_ID,
            HeaderName::from_static(IDEMPOTENT_REPLAYED),
        ])
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, routing::get};
    use tower::ServiceExt;

    use super::*;

    const ORIGIN: &str = "http://localhost:5173";

    async fn panics() {
        panic!("the inside of the program");
    }

    async fn ask(path: &str, headers: &[(&str, &str)]) -> (Response<()>, String) {
        let routes = Router::new()
            .route("/panic", get(panics))
            .route("/long", get(async || "x".repeat(5000)))
            .route("/short", get(async || "x"))
            .fallback(async || StatusCode::NOT_FOUND);
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let router = around(routes, Recorder::off(), &[ORIGIN.to_owned()]);
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (Response::from_parts(parts, ()), String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_that_keeps_its_cause_inside() {
        let (response, body) = ask("/panic", &[("x-request-id", "abc")]).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["x-request-id"], "abc");
        assert!(body.contains("\"requestId\":\"abc\"") && !body.contains("inside of the program"), "{body}");
    }

    #[tokio::test]
    async fn what_a_library_refuses_becomes_a_problem() {
        let (response, body) = ask("/nowhere", &[]).await;
        assert_eq!(response.status(), 404);
        assert!(body.contains("route_not_found"), "{body}");
        let (response, body) = ask("/short", &[]).await;
        assert_eq!((response.status().as_u16(), body.as_str()), (200, "x"));
    }

    #[tokio::test]
    async fn long_answers_are_compressed_for_who_can_read_them() {
        let accepts = [("accept-encoding", "gzip")];
        assert_eq!(ask("/long", &accepts).await.0.headers()["content-encoding"], "gzip");
        assert!(ask("/long", &[]).await.0.headers().get("content-encoding").is_none());
        assert!(ask("/short", &accepts).await.0.headers().get("content-encoding").is_none());
    }

    #[tokio::test]
    async fn only_the_configured_origins_may_read() {
        let (response, _) = ask("/short", &[("origin", ORIGIN)]).await;
        assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
        let (response, _) = ask("/short", &[("origin", "http://evil.example")]).await;
        assert!(response.headers().get("access-control-allow-origin").is_none());
    }
}
