//! `fintech reconcile`: proves the tables and the topics by the log, and shows what was found.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use domain::time::Timestamp;
use indicatif::ProgressBar;
use reconcile::{
    Break, Error, Listener, Summary,
    runs::{self, StoredBreak, StoredRun},
};
use serde_json::{Value as Json, json};
use store::{Store, sql::Reads};
use tokio::sync::watch;
use uuid::Uuid;

use super::{COULD_NOT_BE_FOUND_OUT, output, progress};
use crate::{database, reconciler, settings::Settings, signals};

/// Breaks of a run that are printed; the rest is counted.
const BREAKS_SHOWN_MAX: u64 = 1000;
/// A person waits for it.
const LOAD_PERCENT: u32 = 100;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Look>,
    /// Run again and again, with a pause in between [setting: Reconcile:IntervalSeconds]
    #[arg(long)]
    follow: bool,
    /// Go on with the newest run, when it was left before its end
    #[arg(long)]
    resume: bool,
    /// Print a JSON object a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Look {
    /// List runs, newest first
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Show a run, the newest unless one is named, with the breaks that it found and what to do about them
    Show {
        /// The run's id, as in `fintech reconcile list`
        run: Option<Uuid>,
    },
}

pub async fn run(options: Options, settings: Settings) -> anyhow::Result<ExitCode> {
    let Options { command, follow, resume, json } = options;
    match command {
        Some(Look::List { limit }) => list(limit, json, &settings).await,
        Some(Look::Show { run }) => show(run, json, &settings).await,
        None => compare(follow, resume, json, &settings).await,
    }
}

async fn compare(follow: bool, resume: bool, is_json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    let stopping = signals::stopping()?;
    let store = database::open(&settings.store).await?;
    let db = store::open_reads(&settings.store.location, reconcile::READERS)?;
    let parts = Parts {
        store: &store,
        db: db.as_ref(),
        settings: reconciler::settings(&store, settings, LOAD_PERCENT),
        stopping,
    };
    let ended = if follow {
        parts.follow(is_json, settings.reconcile.interval).await
    } else {
        parts.once(resume, is_json).await
    };
    store.close().await;
    ended
}

struct Parts<'a> {
    store: &'a Store,
    db: &'a dyn Reads,
    settings: reconcile::Settings,
    stopping: watch::Receiver<bool>,
}

impl Parts<'_> {
    async fn once(&self, resume: bool, is_json: bool) -> anyhow::Result<ExitCode> {
        let mut printer = Printer::new(progress::bar(reconcile::size(self.db).await?), is_json);
        let Self { store, db, settings, stopping } = self;
        let mut ran = None;
        if resume {
            ran = reconcile::resume(store, *db, settings, &mut printer, stopping.clone()).await.transpose();
            if ran.is_none() {
                tracing::info!("the newest run has ended; a new one begins");
            }
        }
        let ran = match ran {
            Some(ran) => ran,
            None => reconcile::run(store, *db, settings, &mut printer, stopping.clone()).await,
        };
        printer.bar.finish_and_clear();
        match ran {
            Ok((run, summary)) => Ok(ended(run, &summary, is_json)),
            Err(Error::Stopped) => {
                bail!("stopped before the end; `fintech reconcile --resume` goes on from there")
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Until it is asked to stop; ends as its last run did.
    async fn follow(mut self, is_json: bool, interval: std::time::Duration) -> anyhow::Result<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        loop {
            let mut printer = Printer::new(progress::bar(reconcile::size(self.db).await?), is_json);
            let Self { store, db, settings, stopping } = &self;
            let ran = reconciler::once(store, *db, settings, &mut printer, stopping).await;
            printer.bar.finish_and_clear();
            code = match ran {
                Ok((run, summary)) => ended(run, &summary, is_json),
                Err(Error::Stopped) => return Ok(code),
                Err(error) => {
                    tracing::error!(%error, "it could not be found out whether everything is right; it is tried again");
                    ExitCode::from(COULD_NOT_BE_FOUND_OUT)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                _ = self.stopping.wait_for(|stopping| *stopping) => return Ok(code),
            }
        }
    }
}

/// Prints the last line of a run; gives what it means.
fn ended(run: Uuid, summary: &Summary, is_json: bool) -> ExitCode {
    if is_json {
        let mut line = summary_json(summary);
        line["run"] = json!(run);
        output::line(line);
    } else {
        output::line(describe(summary));
    }
    if summary.breaks() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Printer {
    bar: ProgressBar,
    is_json: bool,
    printed: u64,
}

impl Printer {
    const fn new(bar: ProgressBar, is_json: bool) -> Self {
        Self { bar, is_json, printed: 0 }
    }
}

impl Listener for Printer {
    fn found(&mut self, found: &Break) {
        self.printed += 1;
        if self.printed > BREAKS_SHOWN_MAX {
            return;
        }
        let is_json = self.is_json;
        self.bar.suspend(|| if is_json { output::line(break_json(found)) } else { output::line(found) });
    }

    fn advanced(&mut self, by: usize) {
        self.bar.inc(by as u64);
    }
}

async fn list(limit: usize, is_json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    let db = store::open_reads(&settings.store.location, 1)?;
    if !is_json {
        output::line(format_args!(
            "{:<36}  {:<27}  {:<11}  {:>10}  {:>8}  {:>8}",
            "RUN", "STARTED", "STATE", "EVENTS", "BREAKS", "SECONDS"
        ));
    }
    for run in runs::list(db.as_ref(), limit).await? {
        let is_read = if is_json { output::line(run_json(&run)) } else { output::line(run_line(&run)) };
        if !is_read {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(run: Option<Uuid>, is_json: bool, settings: &Settings) -> anyhow::Result<ExitCode> {
    let db = store::open_reads(&settings.store.location, 1)?;
    let run = match run {
        Some(id) => runs::find(db.as_ref(), id).await?.with_context(|| format!("there is no run {id}"))?,
        None => runs::list(db.as_ref(), 1).await?.pop().context("there is no run yet")?,
    };
    let breaks = runs::breaks(db.as_ref(), run.id).await?;
    if is_json {
        output::line(run_json(&run));
    } else {
        output::line(format_args!("{} {}, started {}", run.id, run.state.name(), run.started_at));
        output::line(run.failure.clone().unwrap_or_else(|| describe(&run.summary)));
    }
    for stored in &breaks {
        let is_read =
            if is_json { output::line(stored_json(stored)) } else { output::line(stored_lines(stored)) };
        if !is_read {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_line(run: &StoredRun) -> String {
    let StoredRun { id, state, started_at, summary, .. } = run;
    let seconds = seconds(run).map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"));
    format!(
        "{id}  {started_at}  {:<11}  {:>10}  {:>8}  {seconds:>8}",
        state.name(),
        summary.events,
        summary.breaks()
    )
}

/// How long a run took from its beginning to its end.
fn seconds(run: &StoredRun) -> Option<f64> {
    let micros = run.ended_at?.as_micros().saturating_sub(run.started_at.as_micros());
    Some(std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64())
}

fn stored_lines(stored: &StoredBreak) -> String {
    let StoredBreak { found, first_seen_at, last_seen_at, closed_at, .. } = stored;
    let Break { kind, place, expected, found: value } = found;
    let seen = closed_at.map_or_else(
        || format!("last seen {last_seen_at}"),
        |closed_at| format!("not found any more {closed_at}"),
    );
    format!(
        "\n{kind}: {place}\n  expected   {expected}\n  found      {value}\n  first seen {first_seen_at}, {seen}\n  what to do {}",
        found.remedy()
    )
}

fn describe(summary: &Summary) -> String {
    let Summary { lanes, events, resources, accounts, entries, keys, records, .. } = summary;
    let verdict = match summary.breaks() {
        0 => "nothing is missing, nothing is doubled, nothing was altered".to_owned(),
        1 => "1 break".to_owned(),
        breaks => format!("{breaks} breaks"),
    };
    let topics = match records {
        0 => String::new(),
        records => format!(", {records} records on Kafka"),
    };
    format!(
        "{events} events in {lanes} lanes, {resources} merchants, payments and withdrawals, {entries} ledger entries in \
         {accounts} accounts, {keys} idempotency keys{topics}: {verdict}."
    )
}

fn summary_json(summary: &Summary) -> Json {
    let Summary { lanes, events, resources, accounts, entries, keys, records, .. } = summary;
    json!({
        "lanes": lanes, "events": events, "resources": resources, "accounts": accounts, "entries": entries,
        "keys": keys, "records": records, "breaks": summary.breaks(),
    })
}

fn run_json(run: &StoredRun) -> Json {
    let mut line = summary_json(&run.summary);
    line["run"] = json!(run.id);
    line["state"] = json!(run.state.name());
    line["startedAt"] = json!(run.started_at);
    line["endedAt"] = json!(run.ended_at);
    line["failure"] = json!(run.failure);
    line
}

fn break_json(found: &Break) -> Json {
    json!({
        "break": found.kind.name(),
        "place": found.place.to_string(),
        "expected": found.expected,
        "found": found.found,
        "remedy": found.remedy(),
    })
}

fn stored_json(stored: &StoredBreak) -> Json {
    let moment = |at: Option<Timestamp>| json!(at);
    let mut line = break_json(&stored.found);
    line["id"] = json!(stored.id);
    line["firstSeenAt"] = moment(Some(stored.first_seen_at));
    line["lastSeenAt"] = moment(Some(stored.last_seen_at));
    line["closedAt"] = moment(stored.closed_at);
    line
}
