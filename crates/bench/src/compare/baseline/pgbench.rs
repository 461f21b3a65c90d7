//! `pgbench`, PostgreSQL's own load generator: the program's rows in its own tables, without HTTP or decisions.

use std::{path::Path, process::Command, time::Duration};

use tokio_postgres::{Config, config::Host};

/// One payment a transaction.
pub const PAYMENT: &str = include_str!("../../../../../bench/payment.pgbench.sql");
/// [`BATCH`] payments a transaction.
pub const PAYMENTS: &str = include_str!("../../../../../bench/payments-200.pgbench.sql");
pub const BATCH: f64 = 200.0;

#[derive(Debug, thiserror::Error)]
pub enum PgbenchError {
    #[error(
        "{program} cannot be run ({source}); it comes with PostgreSQL: apt-get install postgresql-contrib"
    )]
    Missing { program: String, source: std::io::Error },
    #[error("pgbench failed: {0}")]
    Failed(String),
}

/// Transactions a second of a script, over TCP, with prepared statements.
pub async fn transactions_per_second(
    program: &str,
    folder: &Path,
    database: &str,
    script: &'static str,
    clients: usize,
    duration: Duration,
) -> Result<f64, PgbenchError> {
    let file = folder.join("pgbench.sql");
    let mut command = Command::new(program);
    command
        .args(["-n", "-M", "prepared", "-c", &clients.to_string(), "-j", if clients > 1 { "2" } else { "1" }])
        .args(["-T", &duration.as_secs().max(1).to_string()])
        .arg("-f")
        .arg(&file)
        .args(connection(database));
    let program = program.to_owned();
    let run = move || {
        std::fs::write(&file, script).map_err(|error| PgbenchError::Failed(error.to_string()))?;
        command.output().map_err(|source| PgbenchError::Missing { program, source })
    };
    let output =
        tokio::task::spawn_blocking(run).await.map_err(|error| PgbenchError::Failed(error.to_string()))??;
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    let failed = || PgbenchError::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    tps.filter(|_| output.status.success()).ok_or_else(failed)
}

/// Older versions of `pgbench` know no URLs.
fn connection(database: &str) -> Vec<String> {
    let Ok(config) = database.parse::<Config>() else { return vec![database.to_owned()] };
    let mut arguments = Vec::new();
    if let Some(Host::Tcp(host)) = config.get_hosts().first() {
        arguments.extend(["-h".to_owned(), host.clone()]);
    }
    arguments
        .extend(config.get_ports().first().into_iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
    arguments.extend(config.get_user().into_iter().flat_map(|user| ["-U".to_owned(), user.to_owned()]));
    arguments.extend(config.get_dbname().map(str::to_owned));
    arguments
}
