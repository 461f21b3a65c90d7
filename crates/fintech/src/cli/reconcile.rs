//! `fintech reconcile`: proves the tables by the log.

use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;
use reconcile::{Break, Listener, Summary};
use serde_json::json;

use super::{output, progress};
use crate::settings::Settings;

/// Breaks that are printed; the rest is counted.
const BREAKS_SHOWN_MAX: u64 = 1000;

#[derive(Debug, Args)]
pub struct Options {
    /// Print each break, and the summary at the end, as a JSON object a line.
    #[arg(long)]
    json: bool,
}

pub async fn run(options: Options, settings: Settings) -> anyhow::Result<ExitCode> {
    let db = store::open_reads(&settings.store.location, 1)?;
    let bar = progress::bar(reconcile::size(db.as_ref()).await?);
    let mut printer = Printer { bar, is_json: options.json, printed: 0 };
    let summary = reconcile::run(db.as_ref(), settings.kafka.as_ref(), &mut printer).await?;
    printer.bar.finish_and_clear();
    if options.json {
        output::line(summary_json(&summary));
    } else {
        output::line(describe(&summary));
    }
    Ok(if summary.breaks == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Printer {
    bar: ProgressBar,
    is_json: bool,
    printed: u64,
}

impl Listener for Printer {
    fn found(&mut self, found: Break) {
        self.printed += 1;
        if self.printed > BREAKS_SHOWN_MAX {
            return;
        }
        let is_json = self.is_json;
        self.bar.suspend(|| {
            if is_json {
                output::line(json!({
                    "break": found.kind.name(),
                    "place": found.place.to_string(),
                    "expected": found.expected,
                    "found": found.found,
                    "remedy": found.remedy(),
                }))
            } else {
                output::line(found)
            }
        });
    }

    fn advanced(&mut self, by: usize) {
        self.bar.inc(by as u64);
    }
}

fn describe(summary: &Summary) -> String {
    let Summary { lanes, events, resources, accounts, entries, keys, records, breaks } = summary;
    let verdict = match breaks {
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

fn summary_json(summary: &Summary) -> serde_json::Value {
    let Summary { lanes, events, resources, accounts, entries, keys, records, breaks } = summary;
    json!({
        "lanes": lanes, "events": events, "resources": resources, "accounts": accounts, "entries": entries,
        "keys": keys, "records": records, "breaks": breaks,
    })
}
