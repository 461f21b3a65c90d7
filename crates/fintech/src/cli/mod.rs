//! The command line: one subcommand a role.

mod audit;
mod bench;
mod completions;
mod config;
mod consumers;
mod dead_letters;
mod events;
mod health;
mod keys;
mod manual;
mod migrate;
mod operators;
mod output;
mod progress;
mod reconcile;
mod relay;
mod replay;
mod schemas;
mod topics;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use telemetry::trace;

use crate::{
    logging::{self, Output},
    serve,
    settings::{self, Flags, Layers, Settings},
};

/// A payment platform: merchants, payments, withdrawals, a double-entry ledger and its event log.
#[derive(Parser)]
#[command(name = "fintech", version, long_version = env!("FINTECH_VERSION"), propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Global {
    /// Read this file instead of appsettings.json
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here [setting: Server:ApiAddress]
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Serve the console, metrics and probes here, or nowhere when empty [setting: Server:OperationsAddress]
    #[arg(long, global = true, value_name = "ADDRESS")]
    operations: Option<String>,
    /// Serve the built-in schema registry here, or nowhere when empty [setting: Server:RegistryAddress]
    #[arg(long, global = true, value_name = "ADDRESS")]
    registry: Option<String>,
    /// Keep the data here [setting: ConnectionStrings:DefaultConnection]
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// Do only this: some of api, relay, consumers, reconcile, registry, with commas [setting: Server:Roles]
    #[arg(long, global = true, value_name = "ROLES")]
    roles: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API and run the consumers (what `fintech` alone does)
    Serve,
    /// Bring the database up to date and end
    Migrate,
    /// Ask the program that runs by these settings whether it is ready; end with 1 when it is not
    Health,
    /// Read the event log, and verify it
    Events {
        #[command(subcommand)]
        command: events::Events,
    },
    /// Show how far behind each consumer is; pause one, have it go on, or begin again from another position
    Consumers(consumers::Options),
    /// Show how far publishing to Kafka is behind the log
    Relay,
    /// Look at what consumers could not handle, try it again or give it up
    DeadLetters {
        #[command(subcommand)]
        command: dead_letters::DeadLetters,
    },
    /// Compare the tables and the topics with the log, and the log with itself; end with 1 when something is wrong, with
    /// 2 when it could not be found out
    Reconcile(reconcile::Options),
    /// Measure a platform, and check what it acknowledged; end with 1 when the ledger does not agree, with 2 when it could
    /// not be found out
    Bench(Box<bench::Bench>),
    /// Run a consumer again over events that it has handled
    Replay(replay::Replay),
    /// Care for the topics on Kafka
    Topics {
        #[command(subcommand)]
        command: topics::Topics,
    },
    /// Look at the schemas of the events, compare them with those that are registered, and register them
    Schemas {
        #[command(subcommand)]
        command: schemas::Schemas,
    },
    /// Make, list and revoke the keys of the API
    Keys {
        #[command(subcommand)]
        command: keys::Keys,
    },
    /// Say who may sign in to the console
    Operators {
        #[command(subcommand)]
        command: operators::Operators,
    },
    /// Look at who changed what by hand
    Audit {
        #[command(subcommand)]
        command: audit::Audit,
    },
    /// Print every metric that `/metrics` shows: its type, its labels and what it says
    Metrics,
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Write the manual, a page for `man` a command
    Man(manual::Manual),
    /// Print what a shell needs to complete the command line
    Completions(completions::Completions),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print every setting, its value, and where the value came from
    Show,
}

/// What a collector gets to take the last spans.
const LAST_SPANS_TIMEOUT: Duration = Duration::from_secs(1);

/// A consumer's transaction on SQLite may keep one busy; requests are answered by the others.
const WORKER_THREADS_MIN: usize = 2;

/// Of `fintech bench`, whatever the settings say.
const BENCH_LOG_LEVEL: &str = "warn";

const COULD_NOT_BE_FOUND_OUT: u8 = 2;

pub fn run() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let command = command.unwrap_or(Command::Serve);
    let failure = match command {
        // 1 says that it was found out, and that something is wrong.
        Command::Reconcile(_) | Command::Bench(_) | Command::Schemas { .. } => {
            ExitCode::from(COULD_NOT_BE_FOUND_OUT)
        }
        _ => ExitCode::FAILURE,
    };
    obey(global, command).unwrap_or_else(|error| {
        // The whole chain is one sentence: what was tried, and why it failed.
        eprintln!("fintech: {error:#}");
        failure
    })
}

fn obey(global: Global, command: Command) -> anyhow::Result<ExitCode> {
    let Global { config, listen, operations, registry, database, roles } = global;
    let layers = match command {
        // Wrong ones do not hinder them: a shell that starts asks for completions wherever it is.
        Command::Man(_) | Command::Completions(_) => Layers::defaults(),
        _ => settings::layers(&Flags { config, listen, operations, registry, database, roles })?,
    };
    match command {
        Command::Serve => block_on(&layers, Output::Stdout, serve::serve),
        Command::Migrate => block_on(&layers, Output::Stderr, migrate::migrate),
        Command::Health => block_on(&layers, Output::Stderr, health::check),
        Command::Events { command } => {
            block_on(&layers, Output::Stderr, |settings| events::run(command, settings))
        }
        Command::Consumers(options) => {
            block_on(&layers, Output::Stderr, |settings| consumers::run(options, settings))
        }
        Command::Relay => block_on(&layers, Output::Stderr, relay::show),
        Command::DeadLetters { command } => {
            block_on(&layers, Output::Stderr, |settings| dead_letters::run(command, settings))
        }
        Command::Reconcile(options) => {
            return block_on(&layers, Output::Stderr, |settings| reconcile::run(options, settings));
        }
        Command::Schemas { command } => {
            return block_on(&layers, Output::Stderr, |settings| schemas::run(command, settings));
        }
        Command::Bench(options) => {
            let mut settings = Settings::from_layers(&layers)?;
            // What is said goes between the lines of its progress.
            BENCH_LOG_LEVEL.clone_into(&mut settings.logging.level);
            return block_on_with(settings, Output::Stderr, |settings| bench::run(*options, settings));
        }
        Command::Replay(options) => {
            block_on(&layers, Output::Stderr, |settings| replay::run(options, settings))
        }
        Command::Topics { command } => {
            block_on(&layers, Output::Stderr, |settings| topics::run(command, settings))
        }
        Command::Keys { command } => {
            block_on(&layers, Output::Stderr, |settings| keys::run(command, settings))
        }
        Command::Operators { command } => {
            block_on(&layers, Output::Stderr, |settings| operators::run(command, settings))
        }
        Command::Audit { command } => {
            block_on(&layers, Output::Stderr, |settings| audit::run(command, settings))
        }
        Command::Metrics => {
            output::line(telemetry::metrics::page().trim_end());
            Ok(())
        }
        Command::Config { command: ConfigCommand::Show } => {
            config::show(&layers);
            Ok(())
        }
        Command::Man(options) => manual::write(&options, Cli::command()),
        Command::Completions(options) => completions::print(&options, Cli::command()),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Who acts by hand: as given, or the user of this machine.
fn actor(by: Option<&str>, why: &str) -> store::audit::Actor {
    let user = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let name = by.map_or_else(|| user().unwrap_or_else(|_| "unknown".to_owned()), str::to_owned);
    store::audit::Actor::new(name, why)
}

fn block_on<F, T>(layers: &Layers, logs: Output, role: impl FnOnce(Settings) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    block_on_with(Settings::from_layers(layers)?, logs, role)
}

fn block_on_with<F, T>(
    settings: Settings,
    logs: Output,
    role: impl FnOnce(Settings) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let _lines = logging::start(&settings.logging, logs)?;
    let exporting = settings.traces.as_ref().map(trace::start).transpose()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(WORKER_THREADS_MIN))
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let result = role(settings).await;
        if let Some(exporting) = exporting {
            exporting.stop(LAST_SPANS_TIMEOUT).await;
        }
        result
    });
    // Whatever still blocks a thread has had its time.
    runtime.shutdown_background();
    result
}
