//! A PostgreSQL of the test's own, on a disk of its own, which it may break.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::support::{
    backend::Folder,
    services::{services, try_services},
};

const NAME: &str = "torture";
/// Far more than an hour of load writes; memory is taken only as it is written.
const DISK_MB: &str = "6144";
/// While it is broken it may not answer at all.
const CUT_PATIENCE: Duration = Duration::from_secs(2);
const QUERY_PATIENCE: Duration = Duration::from_mins(10);

pub struct Postgres {
    services: Folder,
    port: u16,
    /// Where its data lies; nobody else's.
    folder: String,
    programs: String,
    /// Where to keep what it holds, when the test fails.
    evidence: PathBuf,
}

impl Postgres {
    pub fn start(evidence: &Path) -> Self {
        let folder = Folder::new();
        services(folder.path(), &["up", "--only", "postgres"], &[("FINTECH_POSTGRES_DISK_MB", DISK_MB)]);
        let note = fs::read_to_string(folder.path().join("postgres")).unwrap();
        let [programs, port, data]: [&str; 3] = note.lines().collect::<Vec<_>>().try_into().unwrap();
        let started = Self {
            services: folder,
            port: port.parse().unwrap(),
            folder: data.to_owned(),
            programs: programs.to_owned(),
            evidence: evidence.to_owned(),
        };
        let admin = started.address().replace(NAME, "postgres");
        try_query(&admin, &format!("create database {NAME}"), QUERY_PATIENCE).unwrap();
        started
    }

    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn address(&self) -> String {
        url(self.port)
    }

    /// What `scripts/services` can do to it: stop, start, restart, abort, fill, free.
    pub fn ask(&self, action: &str) -> Result<(), String> {
        try_services(self.services.path(), &[action, "postgres"], &[]).map(drop)
    }

    /// Whether its disk may be filled without harm to anybody else.
    pub fn has_its_own_disk(&self) -> bool {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        mounts.contains(&format!(" {}/data tmpfs ", self.folder))
    }

    /// Ends so many sessions of the program, or all; gives how many were ended, and none while it is away.
    pub fn cut(&self, sessions_max: Option<u64>) -> u64 {
        let limit = sessions_max.map_or_else(|| "all".to_owned(), |max| max.to_string());
        let sql = format!(
            "select count(pg_terminate_backend(pid)) from (select pid from pg_stat_activity \
             where datname = '{NAME}' and pid <> pg_backend_pid() order by random() limit {limit}) drawn"
        );
        let cut = try_query(&self.address(), &sql, CUT_PATIENCE);
        cut.ok().and_then(|rows| rows.first()?.first()?.parse().ok()).unwrap_or(0)
    }

    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        try_query(&self.address(), sql, QUERY_PATIENCE).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one number that a query gives.
    pub fn number(&self, sql: &str) -> u64 {
        self.query(sql)[0][0].parse().unwrap()
    }

    /// For whoever looks for the fault: its log, and all that it holds.
    fn keep(&self) {
        drop(fs::copy(format!("{}/log", self.folder), self.evidence.join("postgres.log")));
        let file = self.evidence.join("database.dump");
        let mut dump = Command::new(format!("{}/pg_dump", self.programs));
        drop(dump.args(["--format=custom", "--dbname", &self.address(), "--file"]).arg(file).status());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        services(self.services.path(), &["down"], &[]);
    }
}

pub fn url(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{NAME}")
}

/// All rows as text; an empty one for null.
fn try_query(url: &str, sql: &str, patience: Duration) -> Result<Vec<Vec<String>>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(sql).await?;
        drop(client);
        drop(connection.await);
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    };
    let rows = runtime.block_on(async { tokio::time::timeout(patience, rows).await });
    let rows = rows.map_err(|_| format!("no answer within {patience:?}"))?;
    rows.map_err(|error: tokio_postgres::Error| format!("{error:?}"))
}
