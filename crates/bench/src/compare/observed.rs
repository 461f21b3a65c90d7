//! What it costs to be watched: lines of log, traces, metrics that are asked for, and all of it, against the same load on
//! a program that nobody watches. Metrics are counted in both; whoever wants to know their share takes a profile.

use std::{
    convert::Infallible,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{Request, Response, body::Incoming, client::conn, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::interval,
};

use super::{
    CompareError, Context,
    database::{Database, Kind},
    payments, payments_of,
    program::{Program, Server},
    row::{Figure, Sample, Spec, Target},
};

const CONNECTIONS: usize = 64;
/// Prometheus asks every fifteen seconds when nobody says otherwise; a load of some seconds has to see it.
const BETWEEN_SCRAPES: Duration = Duration::from_secs(1);
const OPERATIONS: &str = "Console, metrics and probes on http://";

const fn spec(name: &'static str) -> Spec {
    Spec { name, baseline: "nobody watches", unit: "payments/s", target: Target::RatioMin(0.95) }
}

/// What is switched on.
#[derive(Clone, Copy)]
struct Watched {
    spec: Spec,
    has_lines: bool,
    has_traces: bool,
    is_scraped: bool,
}

const ALL: [Watched; 4] = [
    Watched { spec: spec("observed-lines"), has_lines: true, has_traces: false, is_scraped: false },
    Watched { spec: spec("observed-traces"), has_lines: false, has_traces: true, is_scraped: false },
    Watched { spec: spec("observed-metrics"), has_lines: false, has_traces: false, is_scraped: true },
    Watched { spec: spec("observed-all"), has_lines: true, has_traces: true, is_scraped: true },
];

pub async fn observed(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let collector = Collector::start().await?;
    let unwatched = payments::program(context, Kind::Postgres, &context.load(CONNECTIONS)).await?;
    let mut samples = Vec::new();
    for watched in ALL {
        let candidate = watched.measure(context, &collector).await?;
        samples.push(Sample { spec: watched.spec, baseline: Some(unwatched), candidate });
    }
    Ok(samples)
}

impl Watched {
    async fn measure(self, context: &Context, collector: &Collector) -> Result<Figure, CompareError> {
        let database = Database::new(context, Kind::Postgres).await?;
        let server = self.program(context, collector).serve(&database.url, &[]).await?;
        let before = collector.bytes();
        let scraper = self.is_scraped.then(|| Scraper::of(&server)).transpose()?;
        let figure = payments_of(&context.measure(&server, &context.load(CONNECTIONS)).await?);
        let scraped = scraper.as_ref().is_none_or(|scraper| scraper.bytes.load(Ordering::Relaxed) > 0);
        drop(scraper);
        server.stop().await?;
        database.drop().await?;
        // What nobody took has cost nothing, and would be measured as if it did not.
        match (scraped, self.has_traces && collector.bytes() == before) {
            (true, false) => Ok(figure),
            (false, _) => Err(CompareError::Broken("no metrics were shown")),
            (_, true) => Err(CompareError::Broken("no traces were sent")),
        }
    }

    fn program(self, context: &Context, collector: &Collector) -> Program {
        let mut program = context.program.with("Server__OperationsAddress", "127.0.0.1:0");
        if self.has_lines {
            program = program.with("Logging__Level", "info").with("Logging__Format", "json");
        }
        if self.has_traces {
            program = program.with("Telemetry__OtlpEndpoint", &format!("http://{}", collector.address));
        }
        program
    }
}

/// Takes spans and does nothing with them.
struct Collector {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Collector {
    async fn start() -> Result<Self, CompareError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, bytes) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let taken = bytes.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = taken.clone();
                let take = service_fn(move |request| take(request, taken.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), take));
            }
        });
        Ok(Self { address, bytes, task })
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(
    request: Request<Incoming>,
    taken: Arc<AtomicU64>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    if let Ok(body) = request.into_body().collect().await {
        taken.fetch_add(body.to_bytes().len() as u64, Ordering::Relaxed);
    }
    Ok(Response::new(Empty::new()))
}

/// Asks for metrics as Prometheus does.
struct Scraper {
    bytes: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Scraper {
    fn of(server: &Server) -> Result<Self, CompareError> {
        let log = fs::read_to_string(server.log())?;
        let address = log.lines().find_map(|line| line.strip_prefix(OPERATIONS));
        let address = address.ok_or(CompareError::Broken("metrics are shown nowhere"))?.to_owned();
        let bytes = Arc::new(AtomicU64::new(0));
        let seen = bytes.clone();
        let task = tokio::spawn(async move {
            let mut ticks = interval(BETWEEN_SCRAPES);
            loop {
                ticks.tick().await;
                let shown = scrape(&address).await.unwrap_or(0);
                seen.fetch_add(shown, Ordering::Relaxed);
            }
        });
        Ok(Self { bytes, task })
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Gives how many bytes were shown.
async fn scrape(address: &str) -> Option<u64> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/metrics").header("host", address).body(Full::<Bytes>::default()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    let body = response.into_body().collect().await.ok()?.to_bytes();
    connection.abort();
    Some(body.len() as u64)
}
