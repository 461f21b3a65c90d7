//! `fintech replay`: runs a consumer again over events that it has handled.

use anyhow::Context as _;
use clap::Args;
use domain::time::Timestamp;
use stream::replay::{self, From};

use super::{dead_letters, output, progress};
use crate::{database, settings::Settings};

#[derive(Debug, Args)]
pub struct Replay {
    /// The consumer, by its name in `fintech consumers`
    #[arg(long)]
    consumer: String,
    #[command(flatten)]
    begin: Begin,
    /// For the audit log: why
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
    /// For the audit log: who; the user of this machine
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Begin {
    /// From this position on, in every lane that is meant
    #[arg(long, value_name = "POSITION")]
    from: Option<i64>,
    /// From this time on, as RFC 3339
    #[arg(long, value_name = "TIME")]
    from_time: Option<String>,
    /// All of it
    #[arg(long)]
    from_beginning: bool,
}

impl Begin {
    pub fn from(&self) -> anyhow::Result<From> {
        Ok(match (self.from, &self.from_time) {
            (Some(position), _) => From::Position(position),
            (None, Some(time)) => From::Time(
                Timestamp::parse(time)
                    .with_context(|| format!("{time} is not a time such as 2026-11-23T12:00:00Z"))?,
            ),
            (None, None) => From::Beginning,
        })
    }
}

pub async fn run(options: Replay, settings: Settings) -> anyhow::Result<()> {
    let from = options.begin.from()?;
    let consumers = consumers::all();
    let consumer = dead_letters::find(&consumers, &options.consumer)?;
    let store = database::open(&settings.store).await?;
    let actor = super::actor(options.by.as_deref(), &options.why);
    let bar = progress::bar(0);
    let done = replay::run(&store, consumer, settings.consumers, from, &actor, |progress| {
        bar.set_length(u64::try_from(progress.of).unwrap_or(0));
        bar.set_position(u64::try_from(progress.events).unwrap_or(0));
    })
    .await;
    bar.finish_and_clear();
    store.close().await;
    let done = done.with_context(|| {
        format!(
            "the replay of {} did not come to its end; the same command goes on where it was",
            options.consumer
        )
    })?;
    output::line(format_args!("{} has handled {} events again", options.consumer, done.events));
    Ok(())
}
