//! `fintech bench compare`: the table of `docs/performance.md`, made again.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use bench::{
    address::Address,
    compare::{self, SCENARIOS, Settings},
};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{super::output, number, size};

#[derive(Debug, Args)]
pub struct Compare {
    /// What to measure, by the first letters of its name; without it, everything
    scenario: Vec<String>,
    /// Name all scenarios, and measure nothing
    #[arg(long)]
    list: bool,
    /// Times that everything is measured
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = number(1, 1000))]
    rounds: u64,
    /// Seconds of each load
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = number(1, 3600))]
    seconds: u64,
    /// Events of a log that is drained, read, replayed or reconciled
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = number(1000, 1_000_000_000))]
    events: u64,
    /// Payments of a database that has grown
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = number(1000, 1_000_000_000))]
    growth_payments: u64,
    /// A database of a PostgreSQL server on which others may be made
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// HOST:PORT of Kafka brokers
    #[arg(long, value_name = "SERVERS")]
    kafka: Option<String>,
    /// scripts/kafka, to run Kafka's own producer-perf-test
    #[arg(long, value_name = "PROGRAM")]
    kafka_tool: Option<String>,
    /// PostgreSQL's load generator
    #[arg(long, default_value = "pgbench", value_name = "PROGRAM")]
    pgbench: String,
    /// A URL to send GET to, beside ours
    #[arg(long, value_name = "URL")]
    against: Option<Address>,
    /// Write everything that was measured into this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub async fn run(options: Compare) -> anyhow::Result<ExitCode> {
    if options.list {
        for scenario in SCENARIOS {
            output::line(format_args!("{:<18} {}", scenario.name, scenario.about));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios = compare::choose(&options.scenario)?;
    let settings = Settings {
        program: std::env::current_exe().context("the program does not know where it lies")?,
        postgres: options.postgres,
        kafka: options.kafka,
        kafka_tool: options.kafka_tool,
        pgbench: options.pgbench,
        against: options.against,
        rounds: size(options.rounds),
        seconds: options.seconds,
        events: size(options.events),
        growth_payments: size(options.growth_payments),
    };
    // It takes long; whoever waits sees each figure as it comes.
    let told = |what: &str| eprintln!("{what}");
    let comparison = compare::run(settings, scenarios, told, asked_to_stop()?).await?;
    output::line(&comparison);
    if let Some(path) = options.json {
        let json = serde_json::to_vec_pretty(&comparison).context("the comparison is no JSON")?;
        fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Servers, databases and topics of a measurement do not outlive it.
fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
