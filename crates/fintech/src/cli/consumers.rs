//! `fintech consumers`: how far behind each consumer is, by the log and by the broker; and what is wanted of one.

use std::fmt::Display;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use domain::{event::Stream, lane::Lane};
use stream::control::{self, Move, Restart};

use super::{dead_letters, output, replay::Begin};
use crate::{database, settings::Settings};

const MICROS_A_MILLISECOND: i64 = 1000;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    /// By group and partition, as the broker sees it
    #[arg(long)]
    partitions: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stop a consumer before its next batch, in every process
    Pause(Change),
    /// Let a consumer go on that was paused
    Resume(Change),
    /// Have a consumer that is paused begin at another position when it goes on
    Restart(Again),
}

#[derive(Debug, Args)]
struct Change {
    /// By its name in `fintech consumers`
    consumer: String,
    /// For the audit log: why
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// For the audit log: who; the user of this machine
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

#[derive(Debug, Args)]
struct Again {
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    begin: Begin,
    /// In this stream only, such as payment-events; needs --lane
    #[arg(long, value_name = "STREAM", requires = "lane", value_parser = stream_named)]
    stream: Option<Stream>,
    /// In this lane only; needs --stream
    #[arg(long, value_name = "LANE", requires = "stream")]
    lane: Option<u16>,
    /// Where that is ahead of the consumer, give up what lies between: it is kept with the dead letters
    #[arg(long)]
    skip: bool,
    /// Only say what would be moved
    #[arg(long)]
    dry_run: bool,
}

fn stream_named(name: &str) -> Result<Stream, String> {
    let known = Stream::ALL.map(Stream::name);
    let found = Stream::ALL.into_iter().find(|stream| stream.name() == name);
    found.ok_or_else(|| format!("there are {}", known.join(", ")))
}

pub async fn run(options: Options, settings: Settings) -> anyhow::Result<()> {
    match options.command {
        None if options.partitions => partitions(&settings).await,
        None => show(&settings).await,
        Some(Command::Pause(change)) => pause(change, &settings, true).await,
        Some(Command::Resume(change)) => pause(change, &settings, false).await,
        Some(Command::Restart(again)) => restart(again, &settings).await,
    }
}

async fn pause(change: Change, settings: &Settings, is_wanted: bool) -> anyhow::Result<()> {
    let consumers = consumers::all();
    let name = dead_letters::find(&consumers, &change.consumer)?.name();
    let actor = super::actor(change.by.as_deref(), &change.why);
    let store = database::open(&settings.store).await?;
    let changed = if is_wanted {
        control::pause(&store, name, &actor).await?
    } else {
        control::resume(&store, name, &actor).await?
    };
    store.close().await;
    output::line(match (is_wanted, changed) {
        (true, true) => format!("{name} is paused: it stops before its next batch"),
        (true, false) => format!("{name} was paused already"),
        (false, true) => format!("{name} goes on"),
        (false, false) => format!("{name} was not paused"),
    });
    Ok(())
}

async fn restart(again: Again, settings: &Settings) -> anyhow::Result<()> {
    let consumers = consumers::all();
    let consumer = dead_letters::find(&consumers, &again.change.consumer)?;
    let actor = super::actor(again.change.by.as_deref(), &again.change.why);
    let place = again.stream.zip(again.lane.map(Lane));
    let wanted = Restart { place, from: again.begin.from()?, may_skip: again.skip };
    let store = database::open(&settings.store).await?;
    let moves = if again.dry_run {
        control::plan(&store, consumer.as_ref(), &wanted).await
    } else {
        control::restart(&store, consumer.as_ref(), &wanted, &actor).await
    };
    store.close().await;
    let moves = moves?;
    output::line(format_args!("{:<20} {:>5} {:>12} {:>12}", "STREAM", "LANE", "BEFORE", "AFTER"));
    for Move { place: (stream, lane), from, to } in &moves {
        output::line(format_args!("{:<20} {:>5} {from:>12} {to:>12}", stream.name(), lane.0));
    }
    let repeated: i64 = moves.iter().map(Move::repeated).sum();
    let skipped: i64 = moves.iter().map(Move::skipped).sum();
    let would = if again.dry_run { "would be " } else { "" };
    output::line(format_args!("{repeated} events {would}handled again, {skipped} {would}skipped"));
    if !again.dry_run {
        output::line(format_args!("It begins there after `fintech consumers resume {}`", consumer.name()));
    }
    Ok(())
}

async fn show(settings: &Settings) -> anyhow::Result<()> {
    let db = store::open_reads(&settings.store.location, 1)?;
    let now = database::now();
    row("CONSUMER", "LAG EVENTS", "LAG SECONDS", "DEAD LETTERS");
    for lag in stream::lag::lags(db.as_ref(), now).await? {
        let dead_letters = format!("{:>12}", lag.dead_letters);
        let paused = if lag.is_paused { "  paused" } else { "" };
        row(&lag.consumer, lag.events, seconds(lag.micros), format!("{dead_letters}{paused}"));
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
