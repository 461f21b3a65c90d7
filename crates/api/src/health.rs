//! Whether the service lives, and whether it should get requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use domain::time::Timestamp;
use serde::Serialize;
use store::Store;
use utoipa::ToSchema;

use crate::{schema, state::App};

const SERVICE: &str = "FintechPlatform.Api";
/// A database that takes longer to say a word is of no use to a request.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Shared by the executable, which knows when it stops, and the probes, which say so.
#[derive(Clone, Debug, Default)]
pub struct Health {
    stopping: Arc<AtomicBool>,
}

impl Health {
    /// From now on `/health/ready` answers 503, so that no new traffic is sent here.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthBody {
    /// `Healthy` or `Unhealthy`.
    #[schema(example = "Healthy")]
    status: &'static str,
    #[schema(schema_with = schema::moment)]
    timestamp: Timestamp,
    #[schema(example = "FintechPlatform.Api")]
    service: &'static str,
    version: &'static str,
}

/// Whether the database answers
#[utoipa::path(get, path = "/health", tag = "Health", operation_id = "health",
    responses((status = 200, description = "Healthy", body = HealthBody),
        (status = 503, description = "The database does not answer within two seconds", body = HealthBody)))]
pub async fn health(State(app): State<App>) -> Response {
    answer(app.now(), pings(app.store()).await)
}

/// Whether the process answers; depends on nothing else
#[utoipa::path(get, path = "/health/live", tag = "Health", operation_id = "live",
    responses((status = 200, description = "Alive", body = HealthBody)))]
pub async fn live(State(app): State<App>) -> Response {
    answer(app.now(), true)
}

/// Whether the service should get requests: the database answers and it is not stopping
#[utoipa::path(get, path = "/health/ready", tag = "Health", operation_id = "ready",
    responses((status = 200, description = "Ready", body = HealthBody),
        (status = 503, description = "Stopping, or the database does not answer", body = HealthBody)))]
pub async fn ready(State(app): State<App>) -> Response {
    let is_ready = !app.health().is_stopping() && pings(app.store()).await;
    answer(app.now(), is_ready)
}

/// Whether the database answers in time.
pub async fn pings(store: &Store) -> bool {
    match tokio::time::timeout(PING_TIMEOUT, store.ping()).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database does not answer a probe");
            false
        }
        Err(_) => {
            tracing::warn!("the database does not answer a probe in time");
            false
        }
    }
}

pub fn answer(now: Timestamp, is_healthy: bool) -> Response {
    let (status, word) =
        if is_healthy { (StatusCode::OK, "Healthy") } else { (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy") };
    let body =
        HealthBody { status: word, timestamp: now, service: SERVICE, version: env!("CARGO_PKG_VERSION") };
    (status, Json(body)).into_response()
}
