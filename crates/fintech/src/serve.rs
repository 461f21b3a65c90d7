//! `fintech serve`: wires the parts together, and takes them apart when it is asked to stop.

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use anyhow::Context as _;
use store::{Location, Store};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{database, settings::Settings, sweeper};

/// What consumers and writers get to finish their batches after the requests had theirs.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1500);

pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut stop_signals = StopSignals::listen()?;
    let listener = bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let store = database::open(&settings.store).await?;
    announce(address, &settings);

    let (stop, stopping) = watch::channel(false);
    let mut consumers = start_consumers(&store, settings.consumers, &stopping);
    let health = api::Health::default();
    let (asked, mut when_asked) = watch::channel(None);
    let shutdown = {
        let health = health.clone();
        async move {
            stop_signals.received().await;
            health.set_stopping();
            asked.send_replace(Some(Instant::now()));
        }
    };
    let drain_timeout = settings.api.drain_timeout;
    let served = api::serve(store.clone(), listener, settings.api, health, shutdown).await;

    let asked_at = when_asked.borrow_and_update().unwrap_or_else(Instant::now);
    stop.send_replace(true);
    let closed = timeout_at(asked_at + drain_timeout + CLOSE_TIMEOUT, async {
        while let Some(ended) = consumers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a consumer ended by a panic");
            }
        }
        store.close().await;
    });
    if closed.await.is_err() {
        // Nothing is lost: what was not committed was not acknowledged.
        tracing::warn!("stopped before all batches had ended");
    }
    tracing::info!("stopped");
    served.context("the API ended")
}

/// Each consumer of the program, as a task that ends at a batch's end; and the sweeper.
fn start_consumers(
    store: &Store,
    settings: stream::runtime::Settings,
    stopping: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for consumer in consumers::all() {
        let run = stream::runtime::run(store.clone(), consumer, settings, stopping.clone());
        // Why one stopped is in the log already.
        tasks.spawn(async move { drop(run.await) });
    }
    tasks.spawn(sweeper::run(store.clone(), stopping.clone()));
    tasks
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "cannot listen on {address}: another program does; stop it or choose another address with --listen"
        ),
        _ => anyhow::anyhow!("cannot listen on {address} ({error}); choose another address with --listen"),
    })
}

/// For the person who started the program: where it is, where the data is, and something to try.
fn announce(address: SocketAddr, settings: &Settings) {
    let mut out = io::stdout().lock();
    // Nobody may be reading: that is no reason not to serve.
    let _ = writeln!(
        out,
        "FintechPlatform {}\n\
         Listening on http://{address}\n\
         Data in {}\n\
         Try: curl -X POST http://{address}/api/merchants -H \"Content-Type: application/json\" \
         -d '{{\"name\": \"Test\", \"email\": \"test@test.com\"}}'",
        env!("CARGO_PKG_VERSION"),
        data(settings)
    );
    drop(out);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
}

fn data(settings: &Settings) -> String {
    match &settings.store.location {
        Location::Sqlite(path) => {
            fs::canonicalize(path).unwrap_or_else(|_| path.clone()).display().to_string()
        }
        Location::Postgres(_) => settings.database_shown.clone(),
    }
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
    }
}
