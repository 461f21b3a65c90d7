//! A database for one test, gone when the test is over.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio_postgres::SimpleQueryMessage;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// A folder of its own for the program to run in.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fintech-it-{}", Uuid::new_v4().simple()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub enum Database {
    /// The default of the program: `data/fintech.db` in the folder that it runs in.
    Sqlite,
    Postgres {
        admin_url: String,
        name: String,
    },
}

impl Database {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::Sqlite,
            Kind::Postgres => {
                let admin_url = admin_url();
                let name = format!("fintech_it_{}", Uuid::new_v4().simple());
                execute(&admin_url, &format!("create database {name}"));
                Self::Postgres { admin_url, name }
            }
        }
    }

    pub const fn kind(&self) -> Kind {
        match self {
            Self::Sqlite => Kind::Sqlite,
            Self::Postgres { .. } => Kind::Postgres,
        }
    }

    /// The files of SQLite; every row of PostgreSQL as text, bytes in hexadecimal.
    pub fn stored_bytes(&self, folder: &Path) -> Vec<u8> {
        match self {
            Self::Sqlite => {
                let files = fs::read_dir(folder.join("data")).unwrap();
                files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
            }
            Self::Postgres { .. } => {
                let tables = "select quote_ident(tablename) from pg_tables where schemaname = 'public'";
                let rows = query(&self.url(), tables)
                    .into_iter()
                    .flat_map(|table| query(&self.url(), &format!("select t::text from {table} t")));
                rows.collect::<Vec<_>>().join("\n").into_bytes()
            }
        }
    }

    /// Changes the database behind the program's back.
    pub fn alter(&self, folder: &Path, sql: &str) {
        match self {
            Self::Sqlite => {
                let connection = rusqlite::Connection::open(folder.join("data/fintech.db")).unwrap();
                connection.busy_timeout(super::PATIENCE).unwrap();
                connection.execute_batch(sql).unwrap();
            }
            Self::Postgres { .. } => execute(&self.url(), sql),
        }
    }

    /// The first column of every row, as text.
    pub fn query(&self, folder: &Path, sql: &str) -> Vec<String> {
        match self {
            Self::Sqlite => {
                let connection = rusqlite::Connection::open(folder.join("data/fintech.db")).unwrap();
                connection.busy_timeout(super::PATIENCE).unwrap();
                let mut statement = connection.prepare(sql).unwrap();
                let rows = statement.query_map([], |row| {
                    Ok(match row.get_ref(0)? {
                        rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                        value => value.as_str().unwrap_or_default().to_owned(),
                    })
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
            Self::Postgres { .. } => query(&self.url(), sql),
        }
    }

    /// Lets nobody connect to the database, and ends the connections that there are; or lets them again.
    pub fn let_connect(&self, allowed: bool) {
        let Self::Postgres { admin_url, name } = self else { panic!("SQLite is not connected to") };
        execute(admin_url, &format!("alter database {name} allow_connections {allowed}"));
        if !allowed {
            let end =
                format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
            execute(admin_url, &end);
        }
    }

    /// For `--database`.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite => "sqlite:data/fintech.db".to_owned(),
            Self::Postgres { admin_url, name } => {
                let (server, _) = admin_url.rsplit_once('/').unwrap();
                format!("{server}/{name}")
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres { admin_url, name } = self {
            execute(admin_url, &format!("drop database if exists {name} with (force)"));
        }
    }
}

fn admin_url() -> String {
    std::env::var("FINTECH_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!(
            "tests on PostgreSQL need a server: run scripts/test, or \
             eval \"$(scripts/services up)\" && cargo test"
        )
    })
}

fn execute(url: &str, sql: &str) {
    query(url, sql);
}

/// The first column of every row, as text.
fn query(url: &str, sql: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
            .await
            .unwrap_or_else(|error| panic!("PostgreSQL does not answer: {error}"));
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(sql).await.unwrap();
        drop(client);
        drop(connection.await);
        let texts = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        texts.collect()
    })
}
