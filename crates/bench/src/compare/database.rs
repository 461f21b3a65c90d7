//! Fresh databases for each measurement, gone afterwards.

use std::{fs, path::PathBuf};

use tokio_postgres::NoTls;
use uuid::Uuid;

use super::{CompareError, Context};

/// Which of the two sets of parts is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

pub struct Database {
    /// For `--database`.
    pub url: String,
    /// Of SQLite.
    pub path: PathBuf,
    /// PostgreSQL's own, from which others are made.
    admin: Option<(String, String)>,
}

impl Database {
    /// Empty, without tables.
    pub async fn new(context: &Context, kind: Kind) -> Result<Self, CompareError> {
        let name = format!("fintech_bench_{}", Uuid::new_v4().simple());
        match kind {
            Kind::Sqlite => {
                let path = context.folder.join(format!("{name}.db"));
                Ok(Self { url: format!("sqlite:{}", path.display()), path, admin: None })
            }
            Kind::Postgres => {
                let admin = context.settings.postgres.clone().ok_or(CompareError::Needs("--postgres"))?;
                Context::note(&context.databases, name.clone());
                execute(&admin, &format!("create database {name}")).await?;
                let (server, _) = admin.rsplit_once('/').ok_or(CompareError::NotAUrl)?;
                Ok(Self { url: format!("{server}/{name}"), path: PathBuf::new(), admin: Some((admin, name)) })
            }
        }
    }

    /// With the program's tables.
    pub async fn migrated(context: &Context, kind: Kind) -> Result<Self, CompareError> {
        let database = Self::new(context, kind).await?;
        context.program.run(&["migrate", "--database", &database.url]).await?;
        Ok(database)
    }

    /// A number, such as a count.
    pub async fn number(&self, sql: &str) -> Result<i64, CompareError> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let number = client.query_one(sql, &[]).await?.try_get(0)?;
        drop(client);
        drop(connection.await);
        Ok(number)
    }

    pub async fn drop(self) -> Result<(), CompareError> {
        if let Some((admin, name)) = &self.admin {
            return drop_by_name(admin, name).await;
        }
        for suffix in ["", "-wal", "-shm"] {
            drop(fs::remove_file(format!("{}{suffix}", self.path.display())));
        }
        Ok(())
    }
}

pub async fn drop_by_name(admin: &str, name: &str) -> Result<(), CompareError> {
    execute(admin, &format!("drop database if exists {name} with (force)")).await
}

async fn execute(url: &str, sql: &str) -> Result<(), CompareError> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await?;
    drop(client);
    drop(connection.await);
    Ok(())
}
