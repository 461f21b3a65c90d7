//! Serves the console until the program stops.

use std::time::Duration;

use api::server::{self, Shape};
use tokio::net::TcpListener;

use crate::{
    router::router,
    state::{Console, Parts},
};

/// Scrapers, probes, and people with several tabs.
const CONNECTIONS_MAX: usize = 256;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// They come again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Serves until `shutdown` is ready.
pub async fn serve(mut parts: Parts, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let shape = Shape {
        connections_max: CONNECTIONS_MAX,
        head_timeout: HEAD_TIMEOUT,
        lame_duck: Duration::ZERO,
        drain_timeout: DRAIN_TIMEOUT,
        tls: parts.tls.take(),
    };
    server::take_connections(router(Console::new(parts)), listener, shape, shutdown).await;
}
