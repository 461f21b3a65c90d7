//! `fintech bench compare`: the program beside others that do the same work, or less, in one go. Each round measures
//! baseline and candidate right after each other, on fresh databases, so that ratios hold where absolute figures
//! move with the machine and its neighbours.
//!
//! What is compared with whom is declared in [`payments`], [`reads`], [`events`], [`latency`], [`life`] and [`observed`]; a [`row`] is
//! what comes out. The program is the real executable, as a user starts it, at the log level `warn`.

pub mod baseline;
mod codec;
mod database;
mod effect;
mod events;
mod latency;
mod life;
mod observed;
mod payments;
mod platform;
mod program;
mod reads;
pub mod row;

use std::{
    fmt::{self, Display, Formatter},
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use rdkafka::error::KafkaError;
use serde::Serialize;
use uuid::Uuid;

use self::{
    program::{Program, Server},
    row::{Figure, Row, Rows, Sample},
};
use crate::{
    address::Address,
    caller::Asks,
    http::HttpConnection,
    load::{self, LoadError, Options, Place, Unwatched},
    machine::{Group, Machine},
    mix::{Kind, Mix},
    pace::{End, Span},
    report::Report,
    spread::Spread,
};

/// What is measured with, and how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The executable.
    pub program: PathBuf,
    /// A URL of a database from which others may be made.
    pub postgres: Option<String>,
    pub kafka: Option<String>,
    /// `scripts/kafka`, for Kafka's own tools.
    pub kafka_tool: Option<String>,
    pub pgbench: String,
    /// A URL to send GET to, beside ours.
    pub against: Option<Address>,
    pub rounds: usize,
    /// Of each load.
    pub seconds: u64,
    /// Of a log that is drained, read, replayed or reconciled.
    pub events: usize,
    /// Of a database that has grown.
    pub growth_payments: usize,
}

/// A thing that is measured; it gives one sample or several, the first letters of whose rows are its name.
pub struct Scenario {
    pub name: &'static str,
    /// For whoever chooses.
    pub about: &'static str,
    run: for<'a> fn(&'a Context) -> Running<'a>,
}

type Running<'a> = BoxFuture<'a, Result<Vec<Sample>, CompareError>>;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "payments-postgres",
        about: "payments one by one, at 1, 16, 64 and 256 connections, against pgbench",
        run: |context| Box::pin(payments::postgres(context)),
    },
    Scenario {
        name: "payments-sqlite",
        about: "the same embedded, against a bare SQLite loop in batches of 64",
        run: |context| Box::pin(payments::sqlite(context)),
    },
    Scenario {
        name: "hot-postgres",
        about: "90 % of the load on one merchant, against uniform",
        run: |context| Box::pin(payments::hot(context, database::Kind::Postgres)),
    },
    Scenario {
        name: "hot-sqlite",
        about: "the same embedded",
        run: |context| Box::pin(payments::hot(context, database::Kind::Sqlite)),
    },
    Scenario {
        name: "mixed-postgres",
        about: "60 % create, 20 complete, 5 refund, 5 withdraw, 10 read, against create only",
        run: |context| Box::pin(payments::mixed(context, database::Kind::Postgres)),
    },
    Scenario {
        name: "mixed-sqlite",
        about: "the same embedded",
        run: |context| Box::pin(payments::mixed(context, database::Kind::Sqlite)),
    },
    Scenario {
        name: "bulk-postgres",
        about: "500 payments a request, against pgbench with the same rows in batches of 200",
        run: |context| Box::pin(payments::bulk_postgres(context)),
    },
    Scenario {
        name: "bulk-sqlite",
        about: "500 payments a request, against a bare SQLite loop in batches of 500",
        run: |context| Box::pin(payments::bulk_sqlite(context)),
    },
    Scenario {
        name: "reads-postgres",
        about: "payments by id, and balances, against an empty handler of the same server",
        run: |context| Box::pin(reads::reads(context, database::Kind::Postgres)),
    },
    Scenario {
        name: "reads-sqlite",
        about: "the same embedded",
        run: |context| Box::pin(reads::reads(context, database::Kind::Sqlite)),
    },
    Scenario {
        name: "against",
        about: "payments by id, against GET of a URL that is named",
        run: |context| Box::pin(reads::against(context)),
    },
    Scenario {
        name: "drain",
        about: "the relay drains a log, against a bare producer and Kafka's own ProducerPerformance",
        run: |context| Box::pin(events::drain(context)),
    },
    Scenario {
        name: "avro",
        about: "an event is written in Avro and read, against a library's values, and its size against JSON",
        run: |context| Box::pin(codec::codec(context)),
    },
    Scenario {
        name: "consumers",
        about: "the event loggers, and a consumer with rows, read a whole topic",
        run: |context| Box::pin(events::consumers(context)),
    },
    Scenario {
        name: "latency-kafka",
        about: "commit to stored effect through Kafka, at 1,000 payments/s",
        run: |context| Box::pin(latency::kafka(context)),
    },
    Scenario {
        name: "latency-embedded",
        about: "the same on SQLite, without Kafka",
        run: |context| Box::pin(latency::embedded(context)),
    },
    Scenario {
        name: "replay",
        about: "a consumer handles a whole log again, on both databases",
        run: |context| Box::pin(events::replay(context)),
    },
    Scenario {
        name: "reconcile",
        about: "the tables are proved by a whole log, on both databases",
        run: |context| Box::pin(events::reconcile(context)),
    },
    Scenario {
        name: "startup",
        about: "start to first answer, embedded",
        run: |context| Box::pin(life::startup(context)),
    },
    Scenario {
        name: "growth-postgres",
        about: "payments with many payments there, against an empty database",
        run: |context| Box::pin(life::growth(context, database::Kind::Postgres)),
    },
    Scenario {
        name: "growth-sqlite",
        about: "the same embedded",
        run: |context| Box::pin(life::growth(context, database::Kind::Sqlite)),
    },
    Scenario {
        name: "observed",
        about: "payments with lines of log, traces, metrics that are asked for, and all of it, against nothing of it",
        run: |context| Box::pin(observed::observed(context)),
    },
    Scenario {
        name: "memory",
        about: "the most that is resident: at full load with Kafka, and with a backlog",
        run: |context| Box::pin(life::memory(context)),
    },
];

#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("there is no scenario \"{0}\"; `fintech bench compare --list` names them all")]
    UnknownScenario(String),
    #[error("it needs {0}")]
    Needs(&'static str),
    #[error("the URL of PostgreSQL does not end with a database, as in postgres://USER@HOST:PORT/DATABASE")]
    NotAUrl,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("{0}")]
    Pgbench(#[from] baseline::pgbench::PgbenchError),
    #[error("{0}")]
    Loop(#[from] baseline::sqlite::SqliteError),
    #[error("{0}")]
    Producer(#[from] baseline::producer::ProducerError),
    #[error("`fintech {command}` failed: {log}")]
    Program { command: String, log: String },
    #[error("{0}")]
    Load(#[from] LoadError),
    #[error("the load was not answered rightly, so its figures are worth nothing:\n{0}")]
    Wrong(Box<Report>),
    #[error("{0}")]
    Open(#[from] store::error::OpenError),
    #[error("{0}")]
    Read(#[from] store::error::ReadError),
    #[error("{0}")]
    Submit(#[from] store::error::SubmitError),
    #[error("it was asked to stop before everything was measured")]
    Stopped,
    #[error("{0} did not happen in time")]
    Late(&'static str),
    #[error("a part of the measurement ended by a panic")]
    Panic(#[from] tokio::task::JoinError),
    #[error("{0}")]
    Broken(&'static str),
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    pub machine: Machine,
    pub rounds: usize,
    pub seconds: u64,
    pub rows: Vec<Row>,
    /// Scenarios that were not measured, and why.
    pub skipped: Skipped,
}

/// What every measurement works with.
pub struct Context {
    pub settings: Settings,
    /// For databases and logs; gone at the end.
    pub folder: PathBuf,
    pub program: Program,
    /// Names of databases on PostgreSQL that were made.
    databases: Mutex<Vec<String>>,
    /// What stands before the names of topics that were made.
    topics: Mutex<Vec<String>>,
}

/// Gives the scenarios whose names begin with one of these; all for none.
pub fn choose(names: &[String]) -> Result<Vec<&'static Scenario>, CompareError> {
    for name in names {
        if !SCENARIOS.iter().any(|scenario| scenario.name.starts_with(name.as_str())) {
            return Err(CompareError::UnknownScenario(name.clone()));
        }
    }
    let is_chosen = |scenario: &&Scenario| {
        names.is_empty() || names.iter().any(|name| scenario.name.starts_with(name.as_str()))
    };
    Ok(SCENARIOS.iter().filter(is_chosen).collect())
}

/// Measures the scenarios, all of them in each round; `told` hears what is measured, and each sample. `stop` ends it.
pub async fn run(
    settings: Settings,
    scenarios: Vec<&'static Scenario>,
    mut told: impl FnMut(&str),
    stop: impl Future<Output = ()>,
) -> Result<Comparison, CompareError> {
    let (rounds, seconds) = (settings.rounds, settings.seconds);
    let context = Context::new(settings)?;
    let measured = tokio::select! {
        measured = measure_all(&context, &scenarios, &mut told) => measured,
        () = stop => Err(CompareError::Stopped),
    };
    // Of what was measured nothing is left, whatever became of it.
    platform::clean_up(&context).await;
    let (rows, skipped) = measured?;
    Ok(Comparison { machine: Machine::this(), rounds, seconds, rows: rows.into_rows(), skipped })
}

type Skipped = Vec<(String, String)>;

async fn measure_all(
    context: &Context,
    scenarios: &[&'static Scenario],
    told: &mut impl FnMut(&str),
) -> Result<(Rows, Skipped), CompareError> {
    let mut rows = Rows::default();
    let mut skipped = Skipped::new();
    for round in 1..=context.settings.rounds {
        for scenario in scenarios {
            if skipped.iter().any(|(name, _)| name == scenario.name) {
                continue;
            }
            told(&format!("round {round}: {}", scenario.name));
            match (scenario.run)(context).await {
                Ok(samples) => {
                    for sample in samples {
                        told(&format!("round {round}: {sample}"));
                        rows.add(sample);
                    }
                }
                // What is not there is not measured; whatever else fails is no figure at all.
                Err(CompareError::Needs(what)) => {
                    skipped.push((scenario.name.to_owned(), format!("it needs {what}")));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok((rows, skipped))
}

const WARMUP: Duration = Duration::from_secs(2);
const MERCHANTS: usize = 100;
const PATIENCE: Duration = Duration::from_mins(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(35);

impl Context {
    fn new(settings: Settings) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("fintech-bench-{}", Uuid::new_v4().simple()));
        fs::create_dir_all(&folder)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let variables = [("PATH", path.as_str()), ("Logging__Level", "warn")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let program = Program { path: settings.program.clone(), folder: folder.clone(), variables };
        Ok(Self { settings, folder, program, databases: Mutex::default(), topics: Mutex::default() })
    }

    fn note(made: &Mutex<Vec<String>>, name: String) {
        made.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }

    fn noted(made: &Mutex<Vec<String>>) -> Vec<String> {
        std::mem::take(&mut *made.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.settings.seconds)
    }

    /// New payments, uniform over a hundred merchants, as fast as it will.
    fn load(&self, connections: usize) -> Options {
        Options {
            connections,
            arrivals: None,
            span: Span { warmup: WARMUP, end: End::After(self.duration()) },
            merchants: MERCHANTS,
            spread: Spread::Uniform,
            asks: Asks::Mix(Mix::only(Kind::Create)),
            bulk: None,
            repeats: 0.0,
            preload: 0,
            seed: 1,
            persist: false,
            patience: PATIENCE,
            journal: None,
        }
    }

    /// Puts a load on a server. A load that was not answered rightly is an error.
    async fn measure(&self, server: &Server, options: &Options) -> Result<Report, CompareError> {
        self.measure_at(&server.address, Some(server), options).await
    }

    async fn measure_at(
        &self,
        address: &Address,
        server: Option<&Server>,
        options: &Options,
    ) -> Result<Report, CompareError> {
        let addresses: Arc<[Address]> = [address.clone()].into();
        let connect = |number| HttpConnection::new(addresses.clone(), number, REQUEST_TIMEOUT);
        let groups = server.map(|server| Group::of("server", server.id())).into_iter().collect();
        let report = load::run(connect, Place::Threads(1), options, groups, &mut Unwatched).await?;
        if report.is_right() == Some(true) && report.reasons.is_empty() {
            Ok(report)
        } else {
            Err(CompareError::Wrong(Box::new(report)))
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// New payments a second, and how long a request took.
fn payments_of(report: &Report) -> Figure {
    Figure { value: report.payments_per_second, ..requests_of(report) }
}

/// Requests a second.
fn requests_of(report: &Report) -> Figure {
    let server = report.processes.iter().find(|usage| usage.role == "server");
    Figure {
        value: report.measured.ok_per_second,
        p50_ms: Some(report.measured.latency.p50),
        p99_ms: Some(report.measured.latency.p99),
        memory_mib: server.map(|usage| usage.memory_peak_mib),
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; rounds of {} s: {}\n", self.machine, self.seconds, self.rounds)?;
        row::header(f)?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        for (scenario, why) in &self.skipped {
            writeln!(f, "\nnot measured: {scenario}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_the_beginning_of_their_names() {
        let names = |chosen: &[&str]| -> Vec<&str> {
            let chosen: Vec<String> = chosen.iter().map(|name| (*name).to_owned()).collect();
            choose(&chosen).unwrap().iter().map(|scenario| scenario.name).collect()
        };
        assert_eq!(names(&[]).len(), SCENARIOS.len());
        assert_eq!(names(&["bulk", "startup"]), ["bulk-postgres", "bulk-sqlite", "startup"]);
        assert!(
            matches!(choose(&["fast".to_owned()]), Err(CompareError::UnknownScenario(name)) if name == "fast")
        );
    }
}
