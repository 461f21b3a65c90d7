//! Payments, one by one and in bulk.

use super::{
    CompareError, Context,
    baseline::{
        pgbench,
        sqlite::{self, Keys},
    },
    database::{Database, Kind},
    payments_of, requests_of,
    row::{Figure, Sample, Spec, Target},
};
use crate::{
    caller::Asks,
    load::Options,
    mix::{Kind as Asked, Mix},
    spread::Spread,
};

/// Of `pgbench`: the best of them is what the program is compared with.
const PGBENCH_CLIENTS: [usize; 5] = [1, 8, 16, 32, 64];
const PGBENCH_BULK_CLIENTS: [usize; 4] = [1, 2, 4, 8];
const CONNECTIONS: usize = 64;
const BULK: usize = 500;
/// Enough to keep every lane busy.
const BULK_CONNECTIONS: usize = 16;
const HOT: f64 = 0.9;

const PAYMENTS: &str = "payments/s";

const fn spec(name: &'static str, baseline: &'static str, target: Target) -> Spec {
    Spec { name, baseline, unit: PAYMENTS, target }
}

/// One caller alone is compared with one client alone.
const ALONE: Spec = spec("payments-postgres-1", "pgbench, 1 client", Target::Nothing);
const OF_MANY: [(usize, Spec); 3] = [
    (16, spec("payments-postgres-16", "pgbench's best", Target::Nothing)),
    (64, spec("payments-postgres-64", "pgbench's best", Target::RatioMinP99(3.0, 25.0))),
    (256, spec("payments-postgres-256", "pgbench's best", Target::RatioMin(4.0))),
];

pub async fn postgres(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let (mut alone, mut best) = (0.0, 0.0_f64);
    for clients in PGBENCH_CLIENTS {
        let rate = pgbench(context, pgbench::PAYMENT, clients).await?;
        if clients == 1 {
            alone = rate;
        }
        best = best.max(rate);
    }
    let mut samples = Vec::new();
    for (connections, spec, baseline) in
        std::iter::once((1, ALONE, alone)).chain(OF_MANY.map(|(connections, spec)| (connections, spec, best)))
    {
        let candidate = program(context, Kind::Postgres, &context.load(connections)).await?;
        samples.push(Sample { spec, baseline: Some(Figure::of(baseline)), candidate });
    }
    Ok(samples)
}

const EMBEDDED: [(usize, Spec); 4] = [
    (1, spec("payments-sqlite-1", "bare loop, batches of 64", Target::Nothing)),
    (16, spec("payments-sqlite-16", "bare loop, batches of 64", Target::Nothing)),
    (64, spec("payments-sqlite-64", "bare loop, batches of 64", Target::RatioMin(0.7))),
    (256, spec("payments-sqlite-256", "bare loop, batches of 64", Target::Nothing)),
];

pub async fn sqlite(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let mut samples = Vec::new();
    for (connections, spec) in EMBEDDED {
        let baseline = bare_loop(context, 64, Keys::APayment).await?;
        let candidate = program(context, Kind::Sqlite, &context.load(connections)).await?;
        samples.push(Sample { spec, baseline: Some(Figure::of(baseline)), candidate });
    }
    Ok(samples)
}

pub async fn hot(context: &Context, kind: Kind) -> Result<Vec<Sample>, CompareError> {
    let uniform = program(context, kind, &context.load(CONNECTIONS)).await?;
    let options = Options { spread: Spread::Hot(HOT), ..context.load(CONNECTIONS) };
    let candidate = program(context, kind, &options).await?;
    let spec = match kind {
        Kind::Postgres => spec("hot-postgres", "uniform", Target::RatioMin(0.8)),
        Kind::Sqlite => spec("hot-sqlite", "uniform", Target::RatioMin(0.8)),
    };
    Ok(vec![Sample { spec, baseline: Some(uniform), candidate }])
}

pub async fn mixed(context: &Context, kind: Kind) -> Result<Vec<Sample>, CompareError> {
    let create = program(context, kind, &context.load(CONNECTIONS)).await?;
    let mix: Mix = "create=60,complete=20,refund=5,withdraw=5,read=10"
        .parse()
        .unwrap_or_else(|_| Mix::only(Asked::Create));
    let options = Options { asks: Asks::Mix(mix), repeats: 0.02, ..context.load(CONNECTIONS) };
    let database = Database::new(context, kind).await?;
    let server = context.program.serve(&database.url, &[]).await?;
    let candidate = requests_of(&context.measure(&server, &options).await?);
    server.stop().await?;
    database.drop().await?;
    let name = match kind {
        Kind::Postgres => "mixed-postgres",
        Kind::Sqlite => "mixed-sqlite",
    };
    let spec = Spec { name, baseline: "create only", unit: "requests/s", target: Target::Nothing };
    Ok(vec![Sample { spec, baseline: Some(create), candidate }])
}

pub async fn bulk_postgres(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let mut best = 0.0_f64;
    for clients in PGBENCH_BULK_CLIENTS {
        best = best.max(pgbench(context, pgbench::PAYMENTS, clients).await? * pgbench::BATCH);
    }
    let candidate = program(context, Kind::Postgres, &bulk(context)).await?;
    let spec = spec("bulk-postgres", "pgbench's best, batches of 200", Target::RatioMin(0.7));
    Ok(vec![Sample { spec, baseline: Some(Figure::of(best)), candidate }])
}

pub async fn bulk_sqlite(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let baseline = bare_loop(context, BULK as u64, Keys::ABatch).await?;
    let candidate = program(context, Kind::Sqlite, &bulk(context)).await?;
    let spec = spec("bulk-sqlite", "bare loop, batches of 500", Target::RatioMin(0.7));
    Ok(vec![Sample { spec, baseline: Some(Figure::of(baseline)), candidate }])
}

fn bulk(context: &Context) -> Options {
    Options { bulk: Some(BULK), ..context.load(BULK_CONNECTIONS) }
}

/// A load on a server with a fresh database of its own.
pub async fn program(context: &Context, kind: Kind, options: &Options) -> Result<Figure, CompareError> {
    let database = Database::new(context, kind).await?;
    let server = context.program.serve(&database.url, &[]).await?;
    let figure = payments_of(&context.measure(&server, options).await?);
    server.stop().await?;
    database.drop().await?;
    Ok(figure)
}

async fn pgbench(context: &Context, script: &'static str, clients: usize) -> Result<f64, CompareError> {
    let database = Database::migrated(context, Kind::Postgres).await?;
    let rate = pgbench::transactions_per_second(
        &context.settings.pgbench,
        &context.folder,
        &database.url,
        script,
        clients,
        context.duration(),
    );
    let rate = rate.await?;
    database.drop().await?;
    Ok(rate)
}

async fn bare_loop(context: &Context, batch: u64, keys: Keys) -> Result<f64, CompareError> {
    let database = Database::migrated(context, Kind::Sqlite).await?;
    let rate = sqlite::payments_per_second(&database.path, batch, keys, context.duration()).await?;
    database.drop().await?;
    Ok(rate)
}
