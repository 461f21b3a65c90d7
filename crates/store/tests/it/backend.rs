//! A database of its own for each case.

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::time::Timestamp;
use store::{Clock, Location, Settings, Store};
use uuid::Uuid;

#[derive(Clone, Copy, Debug)]
pub enum Backend {
    Sqlite,
    Postgres,
}

pub enum Database {
    Sqlite(PathBuf),
    Postgres { admin: String, name: String },
}

impl Backend {
    pub async fn create(self) -> Database {
        let name = format!("store_{}", Uuid::now_v7().simple());
        match self {
            Self::Sqlite => {
                let folder = std::env::temp_dir().join(name);
                std::fs::create_dir_all(&folder).unwrap();
                Database::Sqlite(folder)
            }
            Self::Postgres => {
                let admin = std::env::var("FINTECH_TEST_POSTGRES")
                    .expect("FINTECH_TEST_POSTGRES is not set: run the tests by scripts/test");
                execute(&admin, &format!("create database {name}")).await;
                Database::Postgres { admin, name }
            }
        }
    }
}

impl Database {
    pub async fn open(&self, lanes: u16) -> Store {
        Store::open(self.settings(lanes), clock()).await.unwrap()
    }

    pub fn settings(&self, lanes: u16) -> Settings {
        Settings {
            location: self.location(),
            lanes: Some(lanes),
            writers: 2,
            readers: 2,
            queue_commands_max: 1000,
            batch_commands_max: 64,
            idempotency_retention: Duration::from_hours(24),
            sealing_key: [7; 32],
            hints: false,
        }
    }

    pub fn location(&self) -> Location {
        match self {
            Self::Sqlite(folder) => Location::Sqlite(folder.join("fintech.db")),
            Self::Postgres { admin, name } => Location::Postgres(with_database(admin, name)),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        match self {
            Self::Sqlite(folder) => {
                let _ = std::fs::remove_dir_all(folder);
            }
            Self::Postgres { admin, name } => {
                let (admin, statement) = (admin.clone(), format!("drop database {name} with (force)"));
                // A runtime of its own: this one is in the middle of something.
                let dropped = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(execute(&admin, &statement));
                });
                let _ = dropped.join();
            }
        }
    }
}

pub fn clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
    })
}

/// The same server, another database: the part behind the last slash is its name.
fn with_database(admin: &str, name: &str) -> String {
    let (address, query) = admin.split_once('?').map_or((admin, None), |(a, q)| (a, Some(q)));
    let (server, _) = address.rsplit_once('/').unwrap();
    query.map_or_else(|| format!("{server}/{name}"), |query| format!("{server}/{name}?{query}"))
}

async fn execute(admin: &str, statement: &str) {
    let (client, connection) = tokio_postgres::connect(admin, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
    drop(client);
    let _ = connection.await;
}

/// Each test on both databases.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite { $(#[tokio::test(flavor = "multi_thread")] async fn $test() {
            super::$test(crate::backend::Backend::Sqlite).await;
        })+ }
        mod postgres { $(#[tokio::test(flavor = "multi_thread")] async fn $test() {
            super::$test(crate::backend::Backend::Postgres).await;
        })+ }
    };
}
pub(crate) use on_both;
