//! Opening the database, and what to tell a person when that fails.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use domain::time::Timestamp;
use store::{Location, Store, error::OpenError};

pub async fn open(settings: &store::Settings) -> anyhow::Result<Store> {
    create_folder(&settings.location)?;
    Store::open(settings.clone(), Arc::new(now)).await.map_err(|error| told(&settings.location, error))
}

/// Brings the database up to date; gives the number of its lanes.
pub async fn migrate(settings: &store::Settings) -> anyhow::Result<u16> {
    create_folder(&settings.location)?;
    store::migrate(settings, now()).await.map_err(|error| told(&settings.location, error))
}

/// The wall clock. Before 1970 it is 1970: lanes keep time from running backwards in any case.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

fn create_folder(location: &Location) -> anyhow::Result<()> {
    let Location::Sqlite(path) = location else { return Ok(()) };
    match path.parent().filter(|folder| *folder != Path::new("")) {
        Some(folder) => fs::create_dir_all(folder).with_context(|| {
            format!(
                "cannot create the folder {} for the database; make it writable or choose another with --database",
                folder.display()
            )
        }),
        None => Ok(()),
    }
}

/// The two faults that everybody meets once get a sentence of their own.
fn told(location: &Location, error: OpenError) -> anyhow::Error {
    let (Location::Sqlite(path), OpenError::Connect { reason, .. }) = (location, &error) else {
        return error.into();
    };
    let path = path.display();
    if reason.contains("database is locked") {
        anyhow!("another program holds the database {path}; stop it or choose another with --database")
    } else if reason.contains("unable to open database file") || reason.contains("readonly database") {
        anyhow!(
            "cannot write the database {path}; make the file and its folder writable or choose another with --database"
        )
    } else if reason.contains("file is not a database") {
        anyhow!("{path} is not an SQLite database; choose another file with --database")
    } else {
        error.into()
    }
}
