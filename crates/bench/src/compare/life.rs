//! From the start to old age: how soon the program answers, what it takes in memory, and what becomes of it when the
//! database has grown.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    CompareError, Context,
    database::{Database, Kind},
    payments::program,
    payments_of, platform,
    row::{Figure, Sample, Spec, Target},
};
use crate::{
    address::Address,
    connection::Connection as _,
    connection::Verdict,
    http::HttpConnection,
    load::Options,
    machine,
    operation::{Action, Operation},
};

const CONNECTIONS: usize = 64;
const FULL_LOAD_CONNECTIONS: usize = 256;
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// It touches the database.
const FIRST_REQUEST: &str = "/api/merchants?limit=1";

const fn startup_spec(name: &'static str) -> Spec {
    Spec { name, baseline: "", unit: "ms", target: Target::ValueMax(150.0) }
}

/// On a fresh database, whose tables are made first, and on one that is there.
pub async fn startup(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let database = Database::new(context, Kind::Sqlite).await?;
    let mut samples = Vec::new();
    for spec in [startup_spec("startup-fresh"), startup_spec("startup-again")] {
        let server = context.program.serve(&database.url, &[]).await?;
        first_answer(&server.address).await?;
        let milliseconds = server.started_at.elapsed().as_secs_f64() * 1000.0;
        let candidate =
            Figure { memory_mib: machine::memory_peak_mib(server.id()), ..Figure::of(milliseconds) };
        samples.push(Sample { spec, baseline: None, candidate });
        server.stop().await?;
    }
    database.drop().await?;
    Ok(samples)
}

async fn first_answer(address: &Address) -> Result<(), CompareError> {
    let mut connection = HttpConnection::new([address.clone()].into(), 0, FIRST_ANSWER_MAX);
    let get = Operation {
        merchant: 0,
        merchant_id: uuid::Uuid::nil(),
        key: uuid::Uuid::nil(),
        action: Action::Get { path: FIRST_REQUEST.to_owned() },
    };
    let asked = async {
        while connection.send(&get).await.verdict != Verdict::Ok {
            sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::time::timeout(FIRST_ANSWER_MAX, asked).await.map_err(|_| CompareError::Late("the first answer"))
}

pub async fn growth(context: &Context, kind: Kind) -> Result<Vec<Sample>, CompareError> {
    const WITHIN: f64 = 1.3;
    let (rate, tail) = match kind {
        Kind::Postgres => ("growth-postgres-rate", "growth-postgres-p99"),
        Kind::Sqlite => ("growth-sqlite-rate", "growth-sqlite-p99"),
    };
    let empty = program(context, kind, &context.load(CONNECTIONS)).await?;
    let options = Options { preload: context.settings.growth_payments, ..context.load(CONNECTIONS) };
    let grown = program(context, kind, &options).await?;
    let p99 = |figure: Figure| Figure { value: figure.p99_ms.unwrap_or(0.0), ..figure };
    let rate =
        Spec { name: rate, baseline: "empty", unit: "payments/s", target: Target::RatioMin(1.0 / WITHIN) };
    let tail = Spec { name: tail, baseline: "empty", unit: "ms", target: Target::RatioMax(WITHIN) };
    Ok(vec![
        Sample { spec: rate, baseline: Some(empty), candidate: grown },
        Sample { spec: tail, baseline: Some(p99(empty)), candidate: p99(grown) },
    ])
}

const FULL_LOAD: Spec =
    Spec { name: "memory-full-load", baseline: "", unit: "MiB", target: Target::ValueMax(80.0) };
const WITH_KAFKA: Spec = Spec {
    name: "payments-kafka-256",
    baseline: "without Kafka",
    unit: "payments/s",
    target: Target::Nothing,
};
const BACKLOG: Spec =
    Spec { name: "memory-backlog", baseline: "", unit: "MiB", target: Target::ValueMax(120.0) };

/// On PostgreSQL with Kafka, everything in one process.
pub async fn memory(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let load = context.load(FULL_LOAD_CONNECTIONS);
    let without = program(context, Kind::Postgres, &load).await?;
    let topics = platform::Topics::new(context)?;
    let with_kafka = topics.program(context);
    let database = Database::new(context, Kind::Postgres).await?;
    let server = with_kafka.serve(&database.url, &[]).await?;
    let report = context.measure(&server, &load).await?;
    server.stop().await?;
    database.drop().await?;
    topics.drop().await?;
    let candidate = payments_of(&report);
    let resident = |figure: Figure| Figure::of(figure.memory_mib.unwrap_or(0.0));
    let mut samples = vec![
        Sample { spec: WITH_KAFKA, baseline: Some(without), candidate },
        Sample { spec: FULL_LOAD, baseline: None, candidate: resident(candidate) },
    ];

    // Nothing of the log is published yet, and nothing is handled.
    let topics = platform::Topics::new(context)?;
    let database = Database::new(context, Kind::Postgres).await?;
    platform::fill(&database.url, context.settings.events).await?;
    let server = topics.program(context).serve(&database.url, &[]).await?;
    platform::handled(&database, "payment_log", context.settings.events).await?;
    let memory_mib = machine::memory_peak_mib(server.id()).unwrap_or(0.0);
    samples.push(Sample { spec: BACKLOG, baseline: None, candidate: Figure::of(memory_mib) });
    server.stop().await?;
    database.drop().await?;
    topics.drop().await?;
    Ok(samples)
}
