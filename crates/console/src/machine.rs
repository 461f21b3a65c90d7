//! What machines ask for beside the pages: metrics and probes.

use api::health;
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use crate::state::Console;

/// `/metrics`
pub async fn metrics() -> Response {
    let written = telemetry::metrics().render();
    ([(header::CONTENT_TYPE, telemetry::metrics::CONTENT_TYPE)], written).into_response()
}

/// `/health/live`
pub async fn live(State(console): State<Console>) -> Response {
    health::answer(console.now(), true)
}

/// `/health/ready`
pub async fn ready(State(console): State<Console>) -> Response {
    let is_ready = !console.health().is_stopping() && health::pings(console.store()).await;
    health::answer(console.now(), is_ready)
}
