//! A database of its own for each case, and a clock that a test turns.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use domain::time::Timestamp;
use store::{Location, Settings, Store, sql::Value};
use uuid::Uuid;

/// How long anything may take before a test gives up; far above what it should take.
const PATIENCE: Duration = Duration::from_mins(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug)]
pub enum Backend {
    Sqlite,
    Postgres,
}

enum Database {
    Sqlite(PathBuf),
    Postgres { admin: String, name: String },
}

/// A store, and its time.
pub struct Bench {
    pub store: Store,
    clock: Arc<AtomicI64>,
    database: Database,
}

impl Bench {
    pub async fn new(backend: Backend) -> Self {
        let name = format!("access_{}", Uuid::now_v7().simple());
        let database = match backend {
            Backend::Sqlite => {
                let folder = std::env::temp_dir().join(name);
                std::fs::create_dir_all(&folder).unwrap();
                Database::Sqlite(folder)
            }
            Backend::Postgres => {
                let admin = std::env::var("FINTECH_TEST_POSTGRES")
                    .expect("FINTECH_TEST_POSTGRES is not set: run the tests by scripts/test");
                execute(&admin, &format!("create database {name}")).await;
                Database::Postgres { admin, name }
            }
        };
        let clock = Arc::new(AtomicI64::new(1_795_000_000_000_000));
        let store = open(&database, &clock).await;
        Self { store, clock, database }
    }

    /// Another process on the same database, at the same time of day.
    pub async fn beside(&self) -> Store {
        open(&self.database, &self.clock).await
    }

    pub fn turn(&self, by: Duration) {
        self.clock.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::Relaxed);
    }

    /// The first column of every row, as text.
    pub async fn query(&self, sql: &str) -> Vec<String> {
        let rows = self.store.reads().query(sql, Vec::new()).await.unwrap();
        let text = |value| match value {
            Value::Text(text) => text,
            Value::Int(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        rows.iter().map(|row| text(row.value(0))).collect()
    }

    /// What every audit line says, oldest first.
    pub async fn audit(&self) -> Vec<String> {
        self.query("select actor || ': ' || action || ' ' || subject || ': ' || reason from audit_log order by at, id")
            .await
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        match &self.database {
            Database::Sqlite(folder) => {
                let _ = std::fs::remove_dir_all(folder);
            }
            Database::Postgres { admin, name } => {
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

/// Looks until it is so.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let mut looks = tokio::time::interval(BETWEEN_LOOKS);
    let found = tokio::time::timeout(PATIENCE, async {
        while !look().await {
            looks.tick().await;
        }
    });
    assert!(found.await.is_ok(), "waited {PATIENCE:?} in vain for {what}");
}

async fn open(database: &Database, clock: &Arc<AtomicI64>) -> Store {
    let location = match database {
        Database::Sqlite(folder) => Location::Sqlite(folder.join("fintech.db")),
        Database::Postgres { admin, name } => Location::Postgres(with_database(admin, name)),
    };
    let settings = Settings {
        location,
        lanes: Some(4),
        writers: 1,
        readers: 2,
        queue_commands_max: 100,
        batch_commands_max: 64,
        idempotency_retention: Duration::from_hours(24),
        sealing_key: [7; 32],
        hints: false,
    };
    let clock = clock.clone();
    let now = move || Timestamp::from_micros(clock.load(Ordering::Relaxed));
    Store::open(settings, Arc::new(now)).await.unwrap()
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

/// Each of the named cases on both databases.
macro_rules! on_both_backends {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case($crate::backend::Bench::new($crate::backend::Backend::Sqlite).await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case($crate::backend::Bench::new($crate::backend::Backend::Postgres).await).await;
            })+
        }
    };
}
pub(crate) use on_both_backends;
