//! Takes connections in, a limited number of them, and lets them end in peace when the program stops.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::{self, Builder},
        graceful::GracefulShutdown,
    },
    service::TowerToHyperService,
};
use store::Store;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::{
    health::Health,
    router::router,
    state::{App, Limits},
};

#[derive(Clone, Debug)]
pub struct Settings {
    /// More wait in the listener's backlog until one ends.
    pub connections_max: usize,
    /// For a request's head, for its body, and for its answer, each.
    pub request_timeout: Duration,
    pub body_bytes_max: usize,
    pub bulk_body_bytes_max: usize,
    /// Who may read answers in a browser (CORS).
    pub allowed_origins: Vec<String>,
    /// What requests in flight get to end after the program was asked to stop.
    pub drain_timeout: Duration,
}

/// How long new connections are still taken after readiness began to fail, so that a load balancer that
/// looks once a second sees it before it meets a closed door.
const LAME_DUCK: Duration = Duration::from_secs(1);
/// After an error of `accept`, such as too many open files, which does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HTTP2_STREAMS_MAX: u32 = 128;
/// A silent HTTP/2 connection is asked for a sign of life.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// Serves the public API.
pub async fn serve(
    store: Store,
    listener: TcpListener,
    settings: Settings,
    health: Health,
    shutdown: impl Future<Output = ()>,
) {
    let Settings { connections_max, request_timeout, body_bytes_max, bulk_body_bytes_max, .. } = settings;
    let limits = Limits { request_timeout, body_bytes_max, bulk_body_bytes_max };
    let router = router(App::new(store, limits, health), &settings.allowed_origins);
    let shape = Shape {
        connections_max,
        head_timeout: request_timeout,
        lame_duck: LAME_DUCK.min(settings.drain_timeout),
        drain_timeout: settings.drain_timeout,
    };
    take_connections(router, listener, shape, shutdown).await;
}

/// How connections are taken and let go.
pub(crate) struct Shape {
    pub connections_max: usize,
    pub head_timeout: Duration,
    /// How long connections are still taken after the shutdown began.
    pub lame_duck: Duration,
    /// From the beginning of the shutdown.
    pub drain_timeout: Duration,
}

/// Serves until `shutdown` is ready and all that was begun has ended, or the drain timeout is over.
pub(crate) async fn take_connections(
    router: Router,
    listener: TcpListener,
    shape: Shape,
    shutdown: impl Future<Output = ()>,
) {
    let Shape { connections_max, head_timeout, lame_duck, drain_timeout } = shape;
    let service = TowerToHyperService::new(router);
    let builder = connection_builder(head_timeout);
    let connections = Arc::new(Semaphore::new(connections_max));
    let graceful = GracefulShutdown::new();

    let mut stop = pin!(async {
        shutdown.await;
        sleep(lame_duck).await;
    });
    loop {
        let (stream, permit) = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = &mut stop => break,
        };
        let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            // The client went away, was silent for too long or did not speak HTTP.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if timeout(drain_timeout.saturating_sub(lame_duck), graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were still running when the time to drain was over");
    }
}

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = Arc::clone(connections).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // An answer is written at once, so there is nothing to wait for.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection ended");
                }
                return (stream, permit);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection_builder(head_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // The time-out also ends connections that are kept open and say nothing.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .keep_alive_interval(HTTP2_PING_INTERVAL);
    builder
}
