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
    time::{Instant, timeout_at},
};

use crate::{database, event_system, settings::Settings, sweeper};

/// What consumers and writers get to finish their batches after the requests had theirs.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1500);

pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut stop_signals = StopSignals::listen()?;
    let listener = if settings.roles.api { Some(bind(settings.listen).await?) } else { None };
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let store = database::open(&settings.store).await?;
    event_system::prepare(&store, &settings).await?;
    announce(address, &settings);

    let (stop, stopping) = watch::channel(false);
    let mut tasks = event_system::start(&store, &settings, &stopping);
    tasks.spawn(sweeper::run(store.clone(), stopping.clone()));
    let drain_timeout = settings.api.drain_timeout;
    let (served, asked_at) = if let Some(listener) = listener {
        serve_api(&store, listener, settings.api, stop_signals).await
    } else {
        stop_signals.received().await;
        (Ok(()), Instant::now())
    };

    stop.send_replace(true);
    let closed = timeout_at(asked_at + drain_timeout + CLOSE_TIMEOUT, async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the event system ended by a panic");
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

/// Serves requests until a signal, and lets them end; gives when it was asked to stop.
async fn serve_api(
    store: &Store,
    listener: TcpListener,
    settings: api::Settings,
    mut stop_signals: StopSignals,
) -> (io::Result<()>, Instant) {
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
    let served = api::serve(store.clone(), listener, settings, health, shutdown).await;
    let asked_at = when_asked.borrow_and_update().unwrap_or_else(Instant::now);
    (served, asked_at)
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
fn announce(address: Option<SocketAddr>, settings: &Settings) {
    let mut lines = vec![
        format!("FintechPlatform {}", env!("CARGO_PKG_VERSION")),
        address.map_or_else(
            || "Running without the API".to_owned(),
            |address| format!("Listening on http://{address}"),
        ),
        format!("Data in {}", data(settings)),
    ];
    lines.extend(
        settings.kafka.as_ref().map(|kafka| format!("Events to Kafka at {}", kafka.bootstrap_servers)),
    );
    lines.extend(address.map(|address| {
        format!(
            "Try: curl -X POST http://{address}/api/merchants -H \"Content-Type: application/json\" \
             -d '{{\"name\": \"Test\", \"email\": \"test@test.com\"}}'"
        )
    }));
    // Nobody may be reading: that is no reason not to serve.
    let _ = writeln!(io::stdout().lock(), "{}", lines.join("\n"));
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
