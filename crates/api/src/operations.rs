//! What operators and their machines ask for, on a port of its own: metrics and probes.

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use store::Store;
use telemetry::Registry;
use tokio::net::TcpListener;

use crate::{
    health::{self, Health},
    server::{self, Shape},
};

/// Scrapers, probes and a person.
const CONNECTIONS_MAX: usize = 64;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// They come again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Clone)]
struct Parts {
    store: Store,
    health: Health,
    registry: Registry,
}

/// Serves until `shutdown` is ready.
pub async fn serve(
    store: Store,
    listener: TcpListener,
    health: Health,
    registry: Registry,
    shutdown: impl Future<Output = ()>,
) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .fallback(async || StatusCode::NOT_FOUND)
        .with_state(Parts { store, health, registry });
    let shape = Shape {
        connections_max: CONNECTIONS_MAX,
        head_timeout: REQUEST_TIMEOUT,
        lame_duck: Duration::ZERO,
        drain_timeout: DRAIN_TIMEOUT,
    };
    server::take_connections(router, listener, shape, shutdown).await;
}

async fn metrics(State(parts): State<Parts>) -> Response {
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], parts.registry.render()).into_response()
}

async fn live(State(parts): State<Parts>) -> Response {
    health::answer(parts.store.now(), true)
}

async fn ready(State(parts): State<Parts>) -> Response {
    let is_ready = !parts.health.is_stopping() && health::pings(&parts.store).await;
    health::answer(parts.store.now(), is_ready)
}
