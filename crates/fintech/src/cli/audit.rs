//! `fintech audit`: who changed what by hand.

use clap::{Args, Subcommand};
use domain::time::Timestamp;
use serde_json::json;
use store::audit::{self, Filter, Line};

use super::output;
use crate::settings::Settings;

const PAGE_LINES: usize = 500;

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List changes, newest first
    List(List),
}

#[derive(Debug, Args)]
pub struct List {
    /// Of whom: `operator anna`, `key fk_live_ab12`
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// What the action begins with: `key.`
    #[arg(long, value_name = "PREFIX")]
    action: Option<String>,
    /// What was changed
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// From this time on (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Up to this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// As JSON, one a line, with all that was noted
    #[arg(long)]
    json: bool,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
        .ok_or_else(|| "expected a time as RFC 3339, such as 2026-11-23T12:00:00Z".to_owned())
}

pub async fn run(command: Audit, settings: Settings) -> anyhow::Result<()> {
    let Audit::List(list) = command;
    let db = store::open_reads(&settings.store.location, 1)?;
    let List { actor, action: action_prefix, subject, from, to, limit, json } = list;
    let filter = Filter { actor, action_prefix, subject, request_id: None, from, to };
    if !json {
        output::line(
            "TIME                         ACTOR                    ACTION                     SUBJECT                               WHY",
        );
    }
    let (mut after, mut left) = (None, limit);
    while left > 0 {
        let page = audit::list(db.as_ref(), &filter, after, left.min(PAGE_LINES)).await?;
        left -= page.rows.len();
        for line in &page.rows {
            if !output::line(if json { describe(line) } else { row(line) }) {
                return Ok(());
            }
        }
        if page.next.is_none() {
            break;
        }
        after = page.next;
    }
    Ok(())
}

fn row(line: &Line) -> String {
    let Line { at, actor, action, subject, reason, .. } = line;
    format!(
        "{at}  {:<24} {:<26} {:<37} {}",
        output::plain(actor),
        output::plain(action),
        output::plain(subject),
        output::plain(reason),
    )
}

fn describe(line: &Line) -> String {
    json!({
        "id": line.id,
        "at": line.at,
        "actor": line.actor,
        "action": line.action,
        "subject": line.subject,
        "detail": line.detail,
        "reason": line.reason,
        "requestId": line.request_id,
    })
    .to_string()
}
