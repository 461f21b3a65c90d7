//! `fintech schemas`: the schemas of the events, and what a registry or a released file holds of them.

mod diff;
mod released;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use registry::{Level, Source, subject};
use schema::catalogue::{CATALOGUE, Entry};
use store::Store;

use self::released::Released;
use super::output;
use crate::{database, event_system, settings::Settings};

#[derive(Debug, Subcommand)]
pub enum Schemas {
    /// List every version of every event, and the ids that the registry has for them
    List(Target),
    /// Print the schema of an event
    Show {
        /// With a version, as in `PaymentCreated.v1`, or without: the newest
        event: String,
        /// As JSON Schema, of the form that events have by default, and not as Avro
        #[arg(long)]
        json: bool,
    },
    /// Show what a version of an event changes, and whether readers of either version can read the other
    Diff {
        /// Such as `PaymentCreated.v1`
        from: String,
        /// Such as `PaymentCreated.v2`
        to: String,
    },
    /// Compare this program's schemas with those that are registered; end with 1 when they may not be registered beside them
    Check(Target),
    /// Register this program's schemas: a step of a deployment, before the program that writes by them
    Register(Target),
}

#[derive(Debug, Args)]
pub struct Target {
    /// Of released schemas, instead of the registry
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub async fn run(command: Schemas, settings: Settings) -> anyhow::Result<ExitCode> {
    match command {
        Schemas::Show { event, json } => show(&event, json).map(|()| ExitCode::SUCCESS),
        Schemas::Diff { from, to } => {
            diff::show(find(&from)?, find(&to)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Schemas::List(target) => with(&settings, target, async |place| list(place).await).await,
        Schemas::Check(target) => with(&settings, target, async |place| check(place).await).await,
        Schemas::Register(target) => with(&settings, target, async |place| register(place).await).await,
    }
}

/// Where schemas are registered.
struct Place<'a> {
    source: &'a dyn Source,
    settings: &'a Settings,
    /// When it is a file: texts as they were released, none of which may be changed.
    released: Option<&'a Released>,
}

impl Place<'_> {
    fn subject(&self, entry: &Entry) -> String {
        match self.released {
            // Whatever topics are called here.
            Some(_) => subject(entry.stream.name(), entry),
            None => subject(&event_system::topic(self.settings, entry.stream), entry),
        }
    }
}

async fn with(
    settings: &Settings,
    target: Target,
    then: impl AsyncFnOnce(&Place<'_>) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    if let Some(path) = target.file {
        let released = Released::open(path)?;
        let done = then(&Place { source: &released, settings, released: Some(&released) }).await?;
        released.save()?;
        return Ok(done);
    }
    let store = match &settings.schemas.remote {
        Some(_) => None,
        None => Some(database::open(&settings.store).await?),
    };
    let source = source(settings, store.as_ref());
    let done = then(&Place { source: source.as_ref(), settings, released: None }).await;
    if let Some(store) = store {
        store.close().await;
    }
    done
}

fn source(settings: &Settings, store: Option<&Store>) -> Arc<dyn Source> {
    match (&settings.schemas.remote, store) {
        (Some(remote), _) => remote.clone(),
        (None, Some(store)) => Arc::new(registry::Builtin::new(store.clone())),
        (None, None) => unreachable!("the store is opened when there is no other registry"),
    }
}

/// An event by its name, with or without a version.
fn find(name: &str) -> anyhow::Result<&'static Entry> {
    let (event_type, version) = match name.rsplit_once(".v") {
        Some((event_type, version)) => (event_type, Some(version)),
        None => (name, None),
    };
    let mut found = CATALOGUE.iter().filter(|entry| {
        entry.event_type == event_type && version.is_none_or(|version| version == entry.version.to_string())
    });
    let known = || {
        let names: Vec<String> = CATALOGUE.iter().map(Entry::name).collect();
        format!("there is no event {name}; there are {}", names.join(", "))
    };
    found.next_back().with_context(known)
}

fn show(event: &str, json: bool) -> anyhow::Result<()> {
    let entry = find(event)?;
    if json {
        let schema = schema::documents::json_schema(entry);
        output::line(serde_json::to_string_pretty(&schema).context("a schema is JSON")?);
    } else {
        output::line(entry.avro.trim_end());
    }
    Ok(())
}

async fn list(place: &Place<'_>) -> anyhow::Result<ExitCode> {
    output::line(format_args!("{:<28} {:>8}  SUBJECT", "EVENT", "ID"));
    for entry in CATALOGUE {
        let subject = place.subject(entry);
        let id = place.source.id(&subject, entry.avro).await?;
        let id = id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        output::line(format_args!("{:<28} {id:>8}  {subject}", entry.name()));
    }
    Ok(ExitCode::SUCCESS)
}

enum Judged {
    Known,
    New,
    /// Why it may not be registered, a sentence each.
    Refused(Vec<String>),
}

async fn judge(place: &Place<'_>, entry: &Entry) -> anyhow::Result<Judged> {
    let subject = place.subject(entry);
    if place.source.id(&subject, entry.avro).await?.is_some() {
        return Ok(Judged::Known);
    }
    let mut sentences = place.source.check(&subject, entry.avro).await?;
    sentences.extend(place.released.and_then(|released| released.changed(&subject, entry)));
    Ok(if sentences.is_empty() { Judged::New } else { Judged::Refused(sentences) })
}

async fn check(place: &Place<'_>) -> anyhow::Result<ExitCode> {
    let (mut known, mut new, mut wrong) = (0, 0, 0);
    for entry in CATALOGUE {
        match judge(place, entry).await? {
            Judged::Known => known += 1,
            Judged::New => {
                output::line(format_args!("{} is new, and may be registered.", entry.name()));
                new += 1;
            }
            Judged::Refused(sentences) => {
                output::line(format_args!("{} may not be registered:", entry.name()));
                for sentence in &sentences {
                    output::line(format_args!("  {sentence}"));
                }
                wrong += 1;
            }
        }
    }
    for gone in
        place.released.map(|released| released.gone(|entry| place.subject(entry))).into_iter().flatten()
    {
        output::line(gone);
        wrong += 1;
    }
    output::line(format_args!("{known} are registered, {new} are new, {wrong} may not be registered."));
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn register(place: &Place<'_>) -> anyhow::Result<ExitCode> {
    // All or none, as far as another registry lets that be known beforehand.
    for entry in CATALOGUE {
        if let Judged::Refused(sentences) = judge(place, entry).await? {
            bail!("{} may not be registered, and nothing was: {}", entry.name(), sentences.join(" "));
        }
    }
    for entry in CATALOGUE {
        let subject = place.subject(entry);
        let known = place.source.id(&subject, entry.avro).await?;
        let id = if let Some(id) = known {
            id
        } else {
            // The log is replayed to readers of any age, so every version must do for every reader.
            place.source.set_level(&subject, Level::FullTransitive).await?;
            place.source.register(&subject, entry.avro).await?
        };
        let was = if known.is_some() { "was" } else { "is now" };
        output::line(format_args!("{} {was} registered as {subject} with the id {id}.", entry.name()));
    }
    Ok(ExitCode::SUCCESS)
}
