//! Takes connections in, a limited number of them, over TLS or not, and lets them end in peace when the program stops.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use access::Access;
use axum::{Router, extract::ConnectInfo, middleware, response::Response};
use hyper::{Request, body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::{self, Builder},
        graceful::{GracefulShutdown, Watcher},
    },
    service::{TowerToHyperService, TowerToHyperServiceFuture},
};
use store::Store;
use telemetry::tasks::{Task, watched};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    access::GuardLayer,
    event_stream::Streams,
    health::Health,
    request_log,
    router::router,
    state::{App, Limits},
    tls::Tls,
    unread,
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
    /// For a key that has none of its own; `None`: as many as it likes.
    pub requests_per_second_max: Option<u32>,
    /// That are recorded for the console; 0: none.
    pub requests_kept_per_second_max: u32,
}

/// How long new connections are still taken after readiness began to fail, so that a load balancer that
/// looks once a second sees it before it meets a closed door.
const LAME_DUCK: Duration = Duration::from_secs(1);
/// A client that takes nothing of its answer for so long loses its connection: nobody holds a stream or an export for
/// ever by not reading it.
const UNREAD_MAX: Duration = Duration::from_mins(1);
/// What the record of requests gets to be written to its end: the write that goes on, and the last one.
const RECORD_TIMEOUT: Duration = Duration::from_secs(1);
/// After an error of `accept`, such as too many open files, which does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HTTP2_STREAMS_MAX: u32 = 128;
/// A silent HTTP/2 connection is asked for a sign of life.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// What the API is served with.
pub struct Parts {
    pub store: Store,
    pub access: Access,
    pub health: Health,
    /// `None`: in clear.
    pub tls: Option<Tls>,
}

/// Serves the public API.
pub async fn serve(
    parts: Parts,
    listener: TcpListener,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) {
    let Settings { connections_max, request_timeout, body_bytes_max, bulk_body_bytes_max, .. } = settings;
    let limits = Limits { request_timeout, body_bytes_max, bulk_body_bytes_max };
    let (streams, follower) = Streams::new(parts.store.clone(), parts.access.clone(), connections_max);
    let (recorder, writer) =
        request_log::begin(parts.store.clone(), parts.access.clone(), settings.requests_kept_per_second_max);
    let guard = GuardLayer::new(parts.access, settings.requests_per_second_max);
    let app = App::new(parts.store, limits, parts.health, streams);
    let router = router(app, guard, recorder, &settings.allowed_origins);
    let shape = Shape {
        connections_max,
        head_timeout: request_timeout,
        lame_duck: LAME_DUCK.min(settings.drain_timeout),
        drain_timeout: settings.drain_timeout,
        tls: parts.tls,
    };
    let lame_duck = shape.lame_duck;
    let (end_streams, ending) = watch::channel(false);
    tokio::spawn(watched(Task::EventStream, follower.run(ending)));
    let (end_record, ending) = watch::channel(false);
    let recording = writer.map(|writer| tokio::spawn(watched(Task::RequestRecord, writer.run(ending))));
    let shutdown = async move {
        shutdown.await;
        // Not before the door is closed: a client whose stream ends comes back at once, and is to find another process.
        tokio::spawn(async move {
            sleep(lame_duck).await;
            end_streams.send_replace(true);
        });
    };
    take_connections(router, listener, shape, shutdown).await;
    end_record.send_replace(true);
    if let Some(recording) = recording
        && timeout(RECORD_TIMEOUT, recording).await.is_err()
    {
        tracing::warn!("the last requests may not be in the record: the database did not answer in time");
    }
}

/// How connections are taken and let go.
pub struct Shape {
    pub connections_max: usize,
    pub head_timeout: Duration,
    /// How long connections are still taken after the shutdown began.
    pub lame_duck: Duration,
    /// From the beginning of the shutdown.
    pub drain_timeout: Duration,
    /// `None`: in clear.
    pub tls: Option<Tls>,
}

/// Serves until `shutdown` is ready and all that was begun has ended, or the drain timeout is over. A request's
/// extensions hold the address that it came from, as `ConnectInfo<SocketAddr>`.
pub async fn take_connections(
    router: Router,
    listener: TcpListener,
    shape: Shape,
    shutdown: impl Future<Output = ()>,
) {
    let Shape { connections_max, head_timeout, lame_duck, drain_timeout, tls } = shape;
    let router = TowerToHyperService::new(router.layer(middleware::from_fn(unread::told)));
    let builder = Arc::new(connection_builder(head_timeout));
    let connections = Arc::new(Semaphore::new(connections_max));
    let graceful = GracefulShutdown::new();
    // Handshakes end with their other half.
    let (closing, closed) = watch::channel(());

    let mut stop = pin!(async {
        shutdown.await;
        sleep(lame_duck).await;
    });
    loop {
        let (stream, peer, permit) = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = &mut stop => break,
        };
        let (service, watcher) = (OfPeer { router: router.clone(), peer }, graceful.watcher());
        match &tls {
            None => {
                let connection =
                    watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
                tokio::spawn(async move {
                    ended(connection.await);
                    drop(permit);
                });
            }
            Some(tls) => {
                let encrypted =
                    Encrypted { tls: tls.clone(), builder: Arc::clone(&builder), closed: closed.clone() };
                tokio::spawn(async move {
                    encrypted.serve(stream, service, watcher).await;
                    drop(permit);
                });
            }
        }
    }
    drop((listener, closing));
    if timeout(drain_timeout.saturating_sub(lame_duck), graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were still running when the time to drain was over");
    }
}

/// What a connection over TLS is served with. The handshake takes a round trip or two, so it is not done where
/// connections are accepted.
struct Encrypted {
    tls: Tls,
    builder: Arc<Builder<TokioExecutor>>,
    closed: watch::Receiver<()>,
}

impl Encrypted {
    async fn serve(mut self, stream: TcpStream, service: OfPeer, watcher: Watcher) {
        let shaken = tokio::select! {
            shaken = self.tls.handshake(stream) => shaken,
            _ = self.closed.changed() => return,
        };
        match shaken {
            Ok(stream) => {
                let connection = self.builder.serve_connection(TokioIo::new(stream), service);
                ended(watcher.watch(connection.into_owned()).await);
            }
            Err(error) => tracing::debug!(%error, "a client did not begin TLS"),
        }
    }
}

/// An error: the client went away, was silent for too long or did not speak HTTP.
fn ended<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}

/// The router, for the requests of one connection.
struct OfPeer {
    router: TowerToHyperService<Router>,
    peer: SocketAddr,
}

impl Service<Request<Incoming>> for OfPeer {
    type Response = Response;
    type Error = Infallible;
    type Future = TowerToHyperServiceFuture<Router, Request<Incoming>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.router.call(request)
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = Arc::clone(connections).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = prepare(&stream, UNREAD_MAX) {
                    tracing::debug!(%error, "a connection ended");
                }
                return (stream, peer, permit);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn prepare(stream: &TcpStream, unread_max: Duration) -> io::Result<()> {
    // An answer is written at once, so there is nothing to wait for.
    stream.set_nodelay(true)?;
    // RFC 5482; on Linux it counts while the client's window is closed, too.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(unread_max))?;
    Ok(())
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    /// More than any buffer between the two holds.
    #[tokio::test]
    async fn whoever_reads_nothing_loses_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        prepare(&stream, Duration::from_secs(1)).unwrap();
        let unread = vec![0; 64 * 1024 * 1024];
        let written = timeout(PATIENCE, stream.write_all(&unread)).await.expect("it waits for ever");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
