//! Reads, against a handler of the same server that reads nothing.

use super::{
    CompareError, Context,
    database::{Database, Kind},
    requests_of,
    row::{Sample, Spec, Target},
};
use crate::{
    caller::Asks,
    load::Options,
    mix::{Kind as Asked, Mix},
};

const CONNECTIONS: usize = 64;
const PAYMENTS: usize = 100_000;
/// It says that the process lives, and asks nobody.
const EMPTY_HANDLER: &str = "/health/live";

const fn spec(name: &'static str, baseline: &'static str, target: Target) -> Spec {
    Spec { name, baseline, unit: "requests/s", target }
}

pub async fn reads(context: &Context, kind: Kind) -> Result<Vec<Sample>, CompareError> {
    const EMPTY: &str = "empty handler";
    let (by_id, balances) = match kind {
        Kind::Postgres => (
            spec("reads-postgres-by-id", EMPTY, Target::RatioMin(0.4)),
            spec("reads-postgres-balances", EMPTY, Target::RatioMin(0.4)),
        ),
        Kind::Sqlite => (
            spec("reads-sqlite-by-id", EMPTY, Target::RatioMin(0.4)),
            spec("reads-sqlite-balances", EMPTY, Target::RatioMin(0.4)),
        ),
    };
    let database = Database::new(context, kind).await?;
    let server = context.program.serve(&database.url, &[]).await?;
    let mut samples = Vec::new();
    for (spec, asked) in [(by_id, "read=1"), (balances, "complete=1,balance=1000")] {
        let empty = requests_of(&context.measure(&server, &get(context, EMPTY_HANDLER)).await?);
        let candidate = requests_of(&context.measure(&server, &reading(context, asked)).await?);
        samples.push(Sample { spec, baseline: Some(empty), candidate });
    }
    server.stop().await?;
    database.drop().await?;
    Ok(samples)
}

/// Whatever somebody names.
pub async fn against(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let address = context.settings.against.as_ref().ok_or(CompareError::Needs("--against URL"))?;
    let spec = spec("against", "GET of the URL", Target::Nothing);
    let theirs = requests_of(&context.measure_at(address, None, &get(context, "")).await?);
    let database = Database::new(context, Kind::Sqlite).await?;
    let server = context.program.serve(&database.url, &[]).await?;
    let candidate = requests_of(&context.measure(&server, &reading(context, "read=1")).await?);
    server.stop().await?;
    database.drop().await?;
    Ok(vec![Sample { spec, baseline: Some(theirs), candidate }])
}

fn get(context: &Context, path: &str) -> Options {
    Options { asks: Asks::Get(path.to_owned()), merchants: 0, ..context.load(CONNECTIONS) }
}

/// Payments that are there, read by their ids; or balances, a few of which change meanwhile.
fn reading(context: &Context, asked: &str) -> Options {
    let mix = asked.parse().unwrap_or_else(|_| Mix::only(Asked::Read));
    Options { asks: Asks::Mix(mix), preload: PAYMENTS, ..context.load(CONNECTIONS) }
}
