//! `fintech serve`: wires the parts together, and takes them apart when it is asked to stop.

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use access::{Access, Mode};
use api::{Health, Tls};
use store::{Location, Store};
use telemetry::tasks::{Task, watched};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

use crate::{
    database, event_system, gauges, reconciler,
    settings::{Aside, Reconcile, Settings, TlsFiles},
    signals::StopSignals,
    sweeper,
};

/// What consumers and writers get to finish their batches after the requests had theirs.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1500);

pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut stop_signals = StopSignals::listen()?;
    let tls = tls(&settings)?;
    let listener = if settings.roles.api { Some(bind(settings.listen, "--listen").await?) } else { None };
    let operations =
        bind_aside(settings.operations, "the console, metrics and probes", "--operations").await?;
    let registry = bind_aside(settings.registry, "schemas", "--registry").await?;
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let operations_address = operations.as_ref().map(TcpListener::local_addr).transpose()?;
    let registry_address = registry.as_ref().map(TcpListener::local_addr).transpose()?;
    let store = database::open(&settings.store).await?;
    let access = Access::new(store.clone(), settings.security.access);
    event_system::prepare(&store, &settings).await?;
    announce(address, operations_address, registry_address, &settings);

    let (stop, stopping) = watch::channel(false);
    let health = Health::default();
    let mut tasks = event_system::start(&store, &settings, &stopping);
    let sweeper = sweeper::run(store.clone(), settings.requests_retention, stopping.clone());
    tasks.spawn(watched(Task::Sweeper, sweeper));
    tasks.spawn(watched(Task::Gauges, gauges::begin(&store, &settings, &stopping)));
    let reconcile_now = settings.roles.reconcile.then(|| Arc::new(Notify::new()));
    if let Some(wanted) = reconcile_now.clone() {
        tasks.spawn(watched(Task::Reconciler, reconcile(&store, &settings, wanted, &stopping)?));
    }
    if let Some(listener) = operations {
        let api_url = format!("{}://{}", scheme(&settings), address.unwrap_or(settings.listen));
        let parts = console::Parts {
            store: store.clone(),
            access: access.clone(),
            four_eyes_withdrawal_minor: settings.security.four_eyes_withdrawal_minor,
            tls: tls.clone(),
            health: health.clone(),
            transport: transport(&settings),
            consumers: consumers::all(),
            reconcile_now,
            values: event_system::values(&store, &settings),
            settings: settings.shown.clone(),
            api_url,
            trace_url: settings.trace_url.clone(),
        };
        tasks.spawn(console::serve(parts, listener, stopped(stopping.clone())));
    }
    if let Some(listener) = registry {
        let builtin = registry::Builtin::new(store.clone());
        tasks.spawn(api::schema_registry::serve(builtin, listener, stopped(stopping.clone())));
    }
    let drain_timeout = settings.api.drain_timeout;
    let asked_at = if let Some(listener) = listener {
        let parts = api::Parts { store: store.clone(), access, health, tls };
        serve_api(parts, listener, settings.api, stop_signals).await
    } else {
        stop_signals.received().await;
        health.set_stopping();
        Instant::now()
    };

    stop.send_replace(true);
    let closed = timeout_at(asked_at + drain_timeout + CLOSE_TIMEOUT, async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the program ended by a panic");
            }
        }
        store.close().await;
    });
    if closed.await.is_err() {
        // Nothing is lost: what was not committed was not acknowledged.
        tracing::warn!("stopped before all batches had ended");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Serves requests until a signal, and lets them end; gives when it was asked to stop.
async fn serve_api(
    parts: api::Parts,
    listener: TcpListener,
    settings: api::Settings,
    mut stop_signals: StopSignals,
) -> Instant {
    let (asked, mut when_asked) = watch::channel(None);
    let shutdown = {
        let health = parts.health.clone();
        async move {
            stop_signals.received().await;
            health.set_stopping();
            asked.send_replace(Some(Instant::now()));
        }
    };
    api::serve(parts, listener, settings, shutdown).await;
    when_asked.borrow_and_update().unwrap_or_else(Instant::now)
}

fn transport(settings: &Settings) -> console::Transport {
    settings.kafka.clone().map_or(console::Transport::Log, |kafka| console::Transport::Kafka(Box::new(kafka)))
}

/// The role that compares everything, with a reader of its own.
fn reconcile(
    store: &Store,
    settings: &Settings,
    wanted: Arc<Notify>,
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let db = store::open_reads(&settings.store.location, reconcile::READERS)?;
    let Reconcile { interval, load_percent_max } = settings.reconcile;
    let settings = reconciler::settings(store, settings, load_percent_max);
    Ok(reconciler::run(store.clone(), db, settings, interval, wanted, stopping.clone()))
}

/// What the API and operations are encrypted with.
fn tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    let files = settings.security.tls.as_ref();
    Ok(files.map(|TlsFiles { certificate, key }| Tls::read(certificate, key)).transpose()?)
}

fn scheme(settings: &Settings) -> &'static str {
    if settings.security.tls.is_some() { "https" } else { "http" }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // Who could ask is gone: that is the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// An address that nobody asked for is not worth a start: several processes may run on one machine.
async fn bind_aside(aside: Option<Aside>, what: &str, flag: &str) -> anyhow::Result<Option<TcpListener>> {
    let Some(Aside { address, is_wanted }) = aside else { return Ok(None) };
    match bind(address, flag).await {
        Err(error) if !is_wanted => {
            tracing::warn!("{what} are not served: {error}");
            Ok(None)
        }
        bound => bound.map(Some),
    }
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "cannot listen on {address}: another program does; stop it or choose another address with {flag}"
        ),
        _ => anyhow::anyhow!("cannot listen on {address} ({error}); choose another address with {flag}"),
    })
}

/// For the person who started the program: where it is, where the data is, and something to try.
fn announce(
    address: Option<SocketAddr>,
    operations: Option<SocketAddr>,
    registry: Option<SocketAddr>,
    settings: &Settings,
) {
    let http = scheme(settings);
    let mut lines = vec![
        format!("FintechPlatform {}", env!("CARGO_PKG_VERSION")),
        address.map_or_else(
            || "Running without the API".to_owned(),
            |address| format!("Listening on {http}://{address}"),
        ),
        format!("Data in {}", data(settings)),
    ];
    lines.extend(operations.map(|address| format!("Console, metrics and probes on {http}://{address}")));
    lines.extend(registry.map(|address| format!("Schema registry on http://{address}")));
    lines.extend(
        settings.kafka.as_ref().map(|kafka| format!("Events to Kafka at {}", kafka.bootstrap_servers)),
    );
    let key = match settings.security.access {
        Mode::Open => "",
        Mode::Required => "-H \"Authorization: Bearer $KEY\" ",
    };
    lines.extend(address.map(|address| {
        format!(
            "Try: curl -X POST {http}://{address}/api/merchants -H \"Content-Type: application/json\" {key}\
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
