//! `fintech topics`: the topics on Kafka.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use store::log;

use super::{output, progress};
use crate::{database, event_system, settings::Settings};

const LOOK_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub enum Topics {
    /// Publish the log again into topics that were lost, byte for byte what they held
    Rebuild,
}

pub async fn run(command: Topics, settings: Settings) -> anyhow::Result<()> {
    match command {
        Topics::Rebuild => rebuild(&settings).await,
    }
}

async fn rebuild(settings: &Settings) -> anyhow::Result<()> {
    let kafka = settings
        .kafka
        .clone()
        .context("Kafka:BootstrapServers is not set: there are no topics to rebuild")?;
    let store = database::open(&settings.store).await?;
    event_system::register_schemas(&store, settings).await;
    let heads = log::heads(store.reads()).await?;
    let total: i64 = heads.iter().map(|head| head.sequence).sum();
    let groups = event_system::groups(&kafka);
    let published = Arc::new(AtomicU64::new(0));
    let bar = progress::bar(u64::try_from(total).unwrap_or(0));
    let values = event_system::values(&store, settings);
    let relay = settings.relay.clone();
    let catch_up = stream::relay::catch_up(store.clone(), kafka, values, relay, groups, published.clone());
    tokio::pin!(catch_up);
    let done = loop {
        tokio::select! {
            done = &mut catch_up => break done,
            () = tokio::time::sleep(LOOK_INTERVAL) => bar.set_position(published.load(Ordering::Relaxed)),
        }
    };
    bar.finish_and_clear();
    store.close().await;
    done.map_err(|reason| anyhow!(reason))?;
    output::line(format_args!(
        "{} events were published; the topics hold all {total} of the log",
        published.load(Ordering::Relaxed)
    ));
    Ok(())
}
