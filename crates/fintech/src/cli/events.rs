//! `fintech events`: reads the log, and proves it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use domain::{event::Stream, id::EventId, lane::Lane};
use indicatif::ProgressBar;
use serde_json::json;
use store::{
    batch::{LaneHead, LogEvent},
    log::{self, Verifier},
    sql::Reads,
};

use super::{output, progress};
use crate::settings::Settings;

/// Events read at once.
const PAGE_EVENTS: usize = 1000;
/// How often `tail --follow` looks for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// `verify` tells this many flaws of a lane, and counts the rest.
const FLAWS_SHOWN_MAX: usize = 20;

#[derive(Debug, Subcommand)]
pub enum Events {
    /// Print events, one JSON object a line, in the order of their lanes.
    Tail(Tail),
    /// Print one event.
    Show {
        /// Its id, or its place as STREAM/LANE/POSITION
        event: String,
    },
    /// Check that positions have no gaps, that the hash chain holds and that time never ran back.
    Verify,
}

#[derive(Debug, Args)]
pub struct Tail {
    /// Only this stream: payment-events, withdrawal-events or merchant-events.
    #[arg(long)]
    stream: Option<String>,
    /// Only this lane.
    #[arg(long)]
    lane: Option<u16>,
    /// The last N events of each lane.
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: i64,
    /// From the beginning of the log.
    #[arg(long)]
    all: bool,
    /// Go on as events arrive.
    #[arg(long, short)]
    follow: bool,
}

/// An error when `verify` finds a flaw, so that the exit code says so.
pub async fn run(command: Events, settings: Settings) -> anyhow::Result<()> {
    let db = store::open_reads(&settings.store.location, 1)?;
    match command {
        Events::Tail(options) => tail(&options, db.as_ref()).await,
        Events::Show { event } => show(&event, db.as_ref()).await,
        Events::Verify => verify(db.as_ref()).await,
    }
}

async fn tail(options: &Tail, db: &dyn Reads) -> anyhow::Result<()> {
    let stream = options.stream.as_deref().map(parse_stream).transpose()?;
    let mut lanes: Vec<(Lane, i64)> = Vec::new();
    for head in wanted(log::heads(db).await?, options.lane)? {
        let from = if options.all { 0 } else { (head.sequence - options.last).max(0) };
        lanes.push((head.lane, from));
    }
    loop {
        let mut is_quiet = true;
        for (lane, sequence) in &mut lanes {
            let events = log::behind_sequence(db, *lane, *sequence, PAGE_EVENTS).await?;
            is_quiet &= events.is_empty();
            for event in &events {
                *sequence = event.sequence;
                if stream.is_none_or(|stream| stream == event.stream) && !output::line(describe(event)) {
                    return Ok(());
                }
            }
        }
        if is_quiet && !options.follow {
            return Ok(());
        }
        if is_quiet {
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }
}

async fn show(wanted: &str, db: &dyn Reads) -> anyhow::Result<()> {
    let event = if let Ok(id) = wanted.parse::<EventId>() {
        log::by_event_id(db, id).await?
    } else {
        let (stream, lane, position) = parse_place(wanted)?;
        let found = log::behind(db, stream, lane, position - 1, 1).await?;
        found.into_iter().find(|event| event.position == position)
    };
    let event = event.with_context(|| format!("there is no event {wanted}"))?;
    output::line(format_args!("{:#}", describe(&event)));
    Ok(())
}

async fn verify(db: &dyn Reads) -> anyhow::Result<()> {
    let heads = log::heads(db).await?;
    let total: i64 = heads.iter().map(|head| head.sequence).sum();
    let progress = progress::bar(u64::try_from(total).unwrap_or(0));
    let mut events: i64 = 0;
    let mut flaws: usize = 0;
    for head in &heads {
        let (read, found) = verify_lane(db, head, &progress).await?;
        events += read;
        flaws += found;
    }
    progress.finish_and_clear();
    let lanes = heads.len();
    if flaws > 0 {
        bail!("{events} events in {lanes} lanes have {flaws} flaws: the log is not what was written");
    }
    output::line(format_args!(
        "{events} events in {lanes} lanes: positions are dense, the chain holds, time never ran back."
    ));
    Ok(())
}

/// How many events the lane has up to its head, and how many flaws. What is appended while it is read
/// lies behind the head and is left to the next run.
async fn verify_lane(
    db: &dyn Reads,
    head: &LaneHead,
    progress: &ProgressBar,
) -> anyhow::Result<(i64, usize)> {
    let mut verifier = Verifier::new(head.lane);
    let (mut events, mut flaws) = (0, 0);
    let mut tell = |flaw: &log::Flaw| {
        flaws += 1;
        if flaws <= FLAWS_SHOWN_MAX {
            progress.suspend(|| output::line(flaw));
        }
    };
    'lane: loop {
        let page = log::behind_sequence(db, head.lane, verifier.sequence(), PAGE_EVENTS).await?;
        for event in &page {
            if event.sequence > head.sequence {
                break 'lane;
            }
            events += 1;
            progress.inc(1);
            if let Err(flaw) = verifier.next(event) {
                tell(&flaw);
            }
        }
        if page.is_empty() {
            break;
        }
    }
    if let Err(flaw) = verifier.end(head) {
        tell(&flaw);
    }
    Ok((events, flaws))
}

/// Drawn on a terminal only.
fn wanted(heads: Vec<LaneHead>, lane: Option<u16>) -> anyhow::Result<Vec<LaneHead>> {
    let lanes = heads.len();
    let wanted: Vec<_> =
        heads.into_iter().filter(|head| lane.is_none_or(|lane| head.lane.0 == lane)).collect();
    if wanted.is_empty() {
        bail!(
            "there is no lane {}: the database has lanes 0 to {}",
            lane.unwrap_or(0),
            lanes.saturating_sub(1)
        );
    }
    Ok(wanted)
}

fn parse_stream(name: &str) -> anyhow::Result<Stream> {
    let names = || Stream::ALL.map(Stream::name).join(", ");
    let found = Stream::ALL.into_iter().find(|stream| stream.name() == name);
    found.with_context(|| format!("there is no stream {name}: there are {}", names()))
}

fn parse_place(text: &str) -> anyhow::Result<(Stream, Lane, i64)> {
    let form = "an event is named by its id, or by its place such as payment-events/3/17";
    let parts: Vec<&str> = text.split('/').collect();
    let [stream, lane, position] = parts.as_slice() else { bail!("{text}: {form}") };
    let lane = lane.parse().ok().with_context(|| format!("{text}: {form}"))?;
    let position = position.parse().ok().filter(|position| *position > 0);
    Ok((parse_stream(stream)?, Lane(lane), position.with_context(|| format!("{text}: {form}"))?))
}

/// The place and the seal of an event beside its payload. A payload that is not JSON is shown as text.
fn describe(event: &LogEvent) -> serde_json::Value {
    let payload = serde_json::from_str(&event.payload).unwrap_or_else(|_| json!(event.payload));
    json!({
        "stream": event.stream.name(),
        "lane": event.lane.0,
        "position": event.position,
        "sequence": event.sequence,
        "eventVersion": event.version,
        "commandId": event.command_id.0,
        "hash": hex::encode(event.hash),
        "event": payload,
    })
}
