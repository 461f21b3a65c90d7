//! `fintech dead-letters`: looks at what consumers could not handle, tries it again, or gives it up.

use std::{collections::HashSet, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use store::audit::Actor;
use stream::{
    consumer::Consumer,
    dead_letter::{Kind, State},
    redrive::{self, Letter, Selection},
};
use uuid::Uuid;

use super::output;
use crate::{database, settings::Settings};

/// Letters that are read at once.
const PAGE_LETTERS: usize = 200;

#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List dead letters, oldest first
    List {
        #[command(flatten)]
        which: Which,
        /// In this state
        #[arg(long, value_enum, default_value_t = StateWanted::Open)]
        state: StateWanted,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show one with all that is kept of it
    Show {
        /// Its id, as in `fintech dead-letters list`
        id: Uuid,
    },
    /// Handle dead letters again, each payment's in their order
    Redrive(Change),
    /// Give dead letters up: they are kept, and never handled
    Discard(Change),
}

#[derive(Debug, Args)]
pub struct Which {
    /// Of this consumer
    #[arg(long)]
    consumer: Option<String>,
    /// Whose reason holds this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Change {
    /// These; a redrive takes all of the same payment with them
    #[arg(value_name = "ID", conflicts_with = "all")]
    ids: Vec<Uuid>,
    #[command(flatten)]
    which: Which,
    /// All that are open
    #[arg(long)]
    all: bool,
    /// For the audit log: why
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// For the audit log: who; the user of this machine
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StateWanted {
    Open,
    Redriven,
    Discarded,
    All,
}

pub async fn run(command: DeadLetters, settings: Settings) -> anyhow::Result<()> {
    match command {
        DeadLetters::List { which, state, limit } => list(which, state, limit, &settings).await,
        DeadLetters::Show { id } => show(id, &settings).await,
        DeadLetters::Redrive(change) => redrive(change, &settings).await,
        DeadLetters::Discard(change) => discard(change, &settings).await,
    }
}

async fn list(which: Which, state: StateWanted, limit: usize, settings: &Settings) -> anyhow::Result<()> {
    let state = match state {
        StateWanted::Open => Some(State::Open),
        StateWanted::Redriven => Some(State::Redriven),
        StateWanted::Discarded => Some(State::Discarded),
        StateWanted::All => None,
    };
    let db = store::open_reads(&settings.store.location, 1)?;
    let selection =
        Selection { consumer: which.consumer, reason: which.reason, state, ..Selection::default() };
    output::line(
        "ID                                    CREATED                      CONSUMER         KIND    STATE      EVENT                 SUBJECT                               REASON",
    );
    for letter in redrive::select(db.as_ref(), &selection, limit).await? {
        let subject = letter.subject_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let line = format!(
            "{}  {}  {:<16} {:<7} {:<10} {:<21} {:<36}  {}",
            letter.id,
            letter.created_at,
            letter.consumer,
            letter.kind.name(),
            letter.state.name(),
            letter.event_type.as_deref().unwrap_or("-"),
            subject,
            letter.reason,
        );
        if !output::line(line) {
            break;
        }
    }
    Ok(())
}

async fn show(id: Uuid, settings: &Settings) -> anyhow::Result<()> {
    let db = store::open_reads(&settings.store.location, 1)?;
    let selection = Selection { ids: vec![id], ..Selection::default() };
    let found = redrive::select(db.as_ref(), &selection, 1).await?;
    let letter = found.first().with_context(|| format!("there is no dead letter {id}"))?;
    output::line(format_args!("{:#}", describe(letter)));
    Ok(())
}

fn describe(letter: &Letter) -> serde_json::Value {
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let headers = letter.headers.as_deref().and_then(|headers| serde_json::from_str(headers).ok());
    let headers: Option<serde_json::Value> = headers;
    json!({
        "id": letter.id,
        "consumer": letter.consumer,
        "kind": letter.kind.name(),
        "state": letter.state.name(),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "createdAt": letter.created_at,
        "endedAt": letter.ended_at,
        "stream": letter.place.0.name(),
        "lane": letter.place.1.0,
        "position": letter.position,
        "kafkaOffset": letter.kafka_offset,
        "eventId": letter.event_id,
        "eventType": letter.event_type,
        "subject": letter.subject_id,
        "key": text(&letter.key),
        "payload": text(&letter.payload),
        "payloadHex": letter.payload.as_deref().filter(|bytes| std::str::from_utf8(bytes).is_err()).map(hex::encode),
        "headers": headers,
    })
}

impl Change {
    /// Nothing is changed by a command that names nothing.
    fn selection(&self) -> anyhow::Result<Selection> {
        let Which { consumer, reason } = &self.which;
        ensure!(
            self.all || !self.ids.is_empty() || consumer.is_some() || reason.is_some(),
            "say which dead letters: by id, with --consumer or --reason, or with --all"
        );
        Ok(Selection {
            ids: self.ids.clone(),
            consumer: consumer.clone(),
            reason: reason.clone(),
            state: Some(State::Open),
            ..Selection::default()
        })
    }

    fn actor(&self) -> Actor {
        super::actor(self.by.as_deref(), &self.why)
    }
}

async fn redrive(change: Change, settings: &Settings) -> anyhow::Result<()> {
    let (mut selection, actor) = (change.selection()?, change.actor());
    let store = database::open(&settings.store).await?;
    let consumers = consumers::all();
    let (mut handled, mut failed) = (0, 0);
    let mut seen = HashSet::new();
    loop {
        let page = redrive::select(store.reads(), &selection, PAGE_LETTERS).await?;
        let Some(last) = page.last() else { break };
        selection.behind = Some(last.id);
        for letter in &page {
            // A subject that failed once fails for all of its letters.
            if letter.subject_id.is_some() && !seen.insert((letter.consumer.clone(), letter.subject_id)) {
                continue;
            }
            let consumer = find(&consumers, &letter.consumer)?;
            let redriven = redrive::redrive(&store, consumer, letter, &actor).await?;
            handled += redriven.handled;
            if let Some(reason) = redriven.failed {
                failed += 1;
                output::line(format_args!("{} stays: {reason}", letter.id));
            }
        }
    }
    store.close().await;
    output::line(format_args!("{handled} handled, {failed} failed again"));
    if failed > 0 {
        bail!("{failed} could not be handled");
    }
    Ok(())
}

async fn discard(change: Change, settings: &Settings) -> anyhow::Result<()> {
    let (mut selection, actor) = (change.selection()?, change.actor());
    let store = database::open(&settings.store).await?;
    let (mut discarded, mut waiting) = (0, 0);
    loop {
        let page = redrive::select(store.reads(), &selection, PAGE_LETTERS).await?;
        let Some(last) = page.last() else { break };
        selection.behind = Some(last.id);
        for letter in &page {
            if redrive::discard(&store, letter, &actor).await? {
                discarded += 1;
                waiting += usize::from(letter.kind == Kind::Poison);
            }
        }
    }
    store.close().await;
    output::line(format_args!("{discarded} discarded"));
    if waiting > 0 {
        output::line(
            "Later events of the same payments may be parked: see `fintech dead-letters list`, and redrive them.",
        );
    }
    Ok(())
}

pub fn find<'a>(consumers: &'a [Arc<dyn Consumer>], name: &str) -> anyhow::Result<&'a Arc<dyn Consumer>> {
    consumers.iter().find(|consumer| consumer.name() == name).with_context(|| {
        let known: Vec<&str> = consumers.iter().map(|consumer| consumer.name()).collect();
        format!("there is no consumer {name}; there are {}", known.join(", "))
    })
}
