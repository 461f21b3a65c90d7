//! `fintech consumers`: how far behind each consumer is, by the log and by the broker.

use std::fmt::Display;

use anyhow::Context as _;
use clap::Args;

use super::output;
use crate::{database, settings::Settings};

const MICROS_A_MILLISECOND: i64 = 1000;

#[derive(Debug, Args)]
pub struct Options {
    /// By group and partition, as the broker sees it
    #[arg(long)]
    partitions: bool,
}

pub async fn show(options: Options, settings: Settings) -> anyhow::Result<()> {
    if options.partitions {
        return partitions(&settings).await;
    }
    let db = store::open_reads(&settings.store.location, 1)?;
    let now = database::now();
    row("CONSUMER", "LAG EVENTS", "LAG SECONDS", "DEAD LETTERS");
    for lag in stream::lag::lags(db.as_ref(), now).await? {
        row(&lag.consumer, lag.events, seconds(lag.micros), lag.dead_letters);
    }
    Ok(())
}

pub fn seconds(micros: i64) -> String {
    let millis = micros / MICROS_A_MILLISECOND;
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn row(consumer: &str, events: impl Display, seconds: impl Display, dead_letters: impl Display) {
    output::line(format_args!("{consumer:<24} {events:>12} {seconds:>12} {dead_letters:>12}"));
}

async fn partitions(settings: &Settings) -> anyhow::Result<()> {
    let kafka = settings.kafka.as_ref().context(
        "Kafka:BootstrapServers is not set: consumers read the log itself, and have no partitions",
    )?;
    let db = store::open_reads(&settings.store.location, 1)?;
    let lanes = u16::try_from(store::log::heads(db.as_ref()).await?.len())?;
    output::line(format_args!(
        "{:<32} {:<20} {:>9} {:>12} {:>12} {:>8} {:>12}",
        "GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "LAG SECONDS"
    ));
    for consumer in consumers::all() {
        let found =
            stream::kafka::lag::partitions(kafka, consumer.as_ref(), db.as_ref(), lanes, database::now())
                .await?;
        for partition in found {
            let committed = partition.committed.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
            output::line(format_args!(
                "{:<32} {:<20} {:>9} {:>12} {:>12} {:>8} {:>12}",
                partition.group,
                partition.topic,
                partition.partition,
                committed,
                partition.end,
                partition.lag(),
                seconds(partition.micros)
            ));
        }
    }
    Ok(())
}
