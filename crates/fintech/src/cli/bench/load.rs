//! `fintech bench run`: puts load on a platform and checks what it has acknowledged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bench::{
    address::Address,
    caller::Asks,
    http::{HeaderValue, HttpConnection},
    in_process::InProcess,
    load::{self, Listener, Options, Place, Progress},
    machine::{self, Group},
    mix::{Kind, Mix},
    pace::{Arrivals, End, Span},
    report::Report,
    spread::Spread,
};
use clap::Args;
use domain::command::BULK_PAYMENTS_MAX;
use indicatif::ProgressBar;
use tokio::sync::watch;

use super::{
    super::{COULD_NOT_BE_FOUND_OUT, output, progress},
    number, size,
};
use crate::{database, settings::Settings, signals::StopSignals};

/// Seconds of load when nothing is said.
const DURATION_DEFAULT: u64 = 10;
const PATIENCE_DEFAULT: u64 = 30;
const PATIENCE_TO_PERSIST_DEFAULT: u64 = 600;
/// Payments to read when the mix makes none.
const PRELOAD_DEFAULT: usize = 10_000;

#[derive(Debug, Args)]
pub struct Load {
    /// Where to send requests; several times to spread the connections, and a connection that breaks goes to the next
    /// address. Without it, where the settings let the API listen
    #[arg(long, value_name = "URL", conflicts_with = "in_process")]
    url: Vec<Address>,
    /// Hand commands to the database of the settings in this process, without HTTP
    #[arg(long)]
    in_process: bool,
    /// Start this many requests a second, whatever becomes of those before (open loop); without it, as fast as it will
    #[arg(long, value_name = "REQUESTS", value_parser = arrivals)]
    rate: Option<Arrivals>,
    /// Requests at once
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = number(1, 10_000))]
    connections: u64,
    /// Seconds of load behind the warm-up [default: 10]
    #[arg(long, value_name = "SECONDS", conflicts_with = "requests", value_parser = number(1, 1_000_000))]
    duration: Option<u64>,
    /// End after this many requests behind the warm-up
    #[arg(long, value_name = "N", value_parser = number(1, u64::MAX))]
    requests: Option<u64>,
    /// Seconds of load that are measured apart
    #[arg(long, default_value_t = 0, value_name = "SECONDS", value_parser = number(0, 1_000_000))]
    warmup: u64,
    /// Merchants to pay to; they are made at the beginning
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = number(1, 1_000_000))]
    merchants: u64,
    /// Spread the load over the merchants by Zipf's law with this exponent
    #[arg(long, value_name = "S", conflicts_with = "hot", value_parser = exponent)]
    zipf: Option<f64>,
    /// Put this share of the load on one merchant
    #[arg(long, value_name = "SHARE", value_parser = share)]
    hot: Option<f64>,
    /// What to ask for, in shares: of create, complete, refund, withdraw, read, balance
    #[arg(long, default_value_t = Mix::only(Kind::Create), value_name = "KIND=SHARE,…")]
    mix: Mix,
    /// Payments a request, in bulk
    #[arg(long, value_name = "N", value_parser = number(1, BULK_PAYMENTS_MAX as u64))]
    bulk: Option<u64>,
    /// The share of requests that are sent again, with the same idempotency key
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    repeats: f64,
    /// Payments that are made before the load [default: 0, or 10000 when the mix makes none]
    #[arg(long, value_name = "N", value_parser = number(0, 1_000_000_000))]
    preload: Option<u64>,
    /// The same seed asks for the same
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Send what is not answered again, with the same key, until it is
    #[arg(long)]
    persist: bool,
    /// Seconds that a platform which does not answer is waited for, before the load and behind it, and with --persist in
    /// it [default: 30, with --persist 600]
    #[arg(long, value_name = "SECONDS", value_parser = number(1, 86_400))]
    patience: Option<u64>,
    /// Seconds after which a request counts as not answered
    #[arg(long, default_value_t = 35, value_name = "SECONDS", value_parser = number(1, 3600))]
    timeout: u64,
    /// Write every change that was acknowledged into this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Send the API key in this file with each request
    #[arg(long, value_name = "FILE", conflicts_with = "in_process")]
    key_file: Option<PathBuf>,
    /// The server's process, when it is not the one that listens at the address
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Threads that send requests
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = number(1, 256))]
    threads: u64,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
}

pub async fn run(load: Load, settings: Settings) -> anyhow::Result<ExitCode> {
    let options = load.options();
    let mut signals = StopSignals::listen()?;
    let (stop, is_stopping) = watch::channel(false);
    let mut bar = Bar { shown: progress::spinner(), is_stopping };
    let work = async {
        if load.in_process {
            in_process(&options, &settings, &mut bar).await
        } else {
            over_http(&load, &options, &settings, &mut bar).await
        }
    };
    let broken_off = async {
        signals.received().await;
        stop.send_replace(true);
        signals.received().await;
    };
    let report = tokio::select! {
        report = work => report?,
        () = broken_off => anyhow::bail!("broken off: nothing is known of what the load has done"),
    };
    bar.shown.finish_and_clear();
    if load.json {
        output::line(serde_json::to_string(&report).context("the report is no JSON")?);
    } else {
        output::line(&report);
    }
    Ok(match report.is_right() {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => ExitCode::from(COULD_NOT_BE_FOUND_OUT),
    })
}

async fn in_process(options: &Options, settings: &Settings, bar: &mut Bar) -> anyhow::Result<Report> {
    let store = database::open(&settings.store).await?;
    let mut groups = vec![Group::of("generator and platform", std::process::id())];
    groups.extend(machine::database(&settings.store.location));
    let report = load::run(|_| InProcess(store.clone()), Place::Here, options, groups, bar).await;
    store.close().await;
    Ok(report?)
}

async fn over_http(
    load: &Load,
    options: &Options,
    settings: &Settings,
    bar: &mut Bar,
) -> anyhow::Result<Report> {
    let addresses: Arc<[Address]> = if load.url.is_empty() {
        [format!("http://{}", settings.listen).parse()?].into()
    } else {
        load.url.clone().into()
    };
    let mut groups = vec![Group::of("generator", std::process::id())];
    let mut servers: Vec<u32> = match load.server_pid {
        Some(id) => vec![id],
        None => addresses.iter().filter_map(|address| machine::listener(address.port)).collect(),
    };
    servers.dedup();
    groups.extend(servers.into_iter().map(|id| Group::of("server", id)));
    groups.extend(machine::database(&settings.store.location));
    let timeout = Duration::from_secs(load.timeout);
    let authorization = load.key_file.as_deref().map(authorization).transpose()?;
    let connect = |number| {
        HttpConnection::new(addresses.clone(), number, timeout).with_authorization(authorization.clone())
    };
    Ok(load::run(connect, Place::Threads(size(load.threads)), options, groups, bar).await?)
}

impl Load {
    fn options(&self) -> Options {
        let spread = match (self.zipf, self.hot) {
            (Some(s), _) => Spread::Zipf(s),
            (None, Some(share)) => Spread::Hot(share),
            (None, None) => Spread::Uniform,
        };
        let end = match self.requests {
            Some(requests) => End::Requests(requests),
            None => End::After(Duration::from_secs(self.duration.unwrap_or(DURATION_DEFAULT))),
        };
        let preload_default = if self.mix.asks_for(Kind::Create) { 0 } else { PRELOAD_DEFAULT };
        let patience_default = if self.persist { PATIENCE_TO_PERSIST_DEFAULT } else { PATIENCE_DEFAULT };
        Options {
            connections: size(self.connections),
            arrivals: self.rate,
            span: Span { warmup: Duration::from_secs(self.warmup), end },
            merchants: size(self.merchants),
            spread,
            asks: Asks::Mix(self.mix.clone()),
            bulk: self.bulk.map(size),
            repeats: self.repeats,
            preload: self.preload.map_or(preload_default, size),
            seed: self.seed,
            persist: self.persist,
            patience: Duration::from_secs(self.patience.unwrap_or(patience_default)),
            journal: self.journal.clone(),
        }
    }
}

fn authorization(file: &Path) -> anyhow::Result<HeaderValue> {
    let key = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.trim()))
        .with_context(|| format!("what {} holds is no API key", file.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// On standard error, where a person looks at it, and may end the load early.
struct Bar {
    shown: ProgressBar,
    is_stopping: watch::Receiver<bool>,
}

impl Listener for Bar {
    fn stage(&mut self, what: &str) {
        self.shown.set_message(what.to_owned());
    }

    fn progress(&mut self, progress: &Progress) -> bool {
        let Progress { elapsed, ok, not_ok, ok_per_second } = progress;
        let seconds = elapsed.as_secs();
        self.shown.set_message(format!("{seconds} s, {ok} answered, {not_ok} not, {ok_per_second:.0}/s"));
        !*self.is_stopping.borrow()
    }
}

fn arrivals(text: &str) -> Result<Arrivals, String> {
    let rate: Option<f64> = text.parse().ok();
    rate.and_then(Arrivals::at_rate).ok_or_else(|| "say a number of requests a second above 0".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "say a share between 0 and 1".to_owned())
}

fn exponent(text: &str) -> Result<f64, String> {
    const MAX: f64 = 10.0;
    let exponent: Option<f64> = text.parse().ok();
    exponent.filter(|s| (0.0..=MAX).contains(s)).ok_or_else(|| format!("say an exponent between 0 and {MAX}"))
}
