//! `fintech keys`: makes API keys, lists and revokes them.
//!
//! A key is printed once, alone on standard output, so that a script can keep it; all else is said on standard error.

use access::{
    Access, Mode, Role, Scope,
    keys::{self, Key, NewKey},
};
use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use domain::{id::MerchantId, time::Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::output;
use crate::{database, settings::Settings};

const PAGE_KEYS: usize = 200;

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key and print it; it is shown this once
    Create(Create),
    /// List keys, newest first
    List(List),
    /// Revoke a key for good
    Revoke {
        /// As `fintech keys list` shows it
        id: Uuid,
        /// For the audit log: why
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// For the audit log: who; the user of this machine
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct Create {
    /// What uses it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// For what belongs to this merchant alone; without it for everything
    #[arg(long, value_name = "ID")]
    merchant: Option<MerchantId>,
    /// What it may do: read, write, operate or admin, each with all before it
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// Make a key that looks like one for tests: `fk_test_…`
    #[arg(long)]
    test: bool,
    /// When it ends: after a time (`90d`, `12h`), on a day (`2027-01-31`, as it begins in UTC), or at a moment (RFC 3339)
    #[arg(long, value_name = "DURATION_OR_DATE")]
    expires: Option<String>,
    /// Requests that it may make a second
    #[arg(long, value_name = "N")]
    requests_per_second: Option<u32>,
    /// For the audit log: why
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// For the audit log: who; the user of this machine
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

#[derive(Debug, Args)]
pub struct List {
    /// Of this merchant
    #[arg(long, value_name = "ID")]
    merchant: Option<MerchantId>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// As JSON, one a line
    #[arg(long)]
    json: bool,
}

pub async fn run(command: Keys, settings: Settings) -> anyhow::Result<()> {
    match command {
        Keys::Create(create) => create.run(&settings).await,
        Keys::List(list) => list.run(&settings).await,
        Keys::Revoke { id, why, by } => revoke(id, &why, by.as_deref(), &settings).await,
    }
}

impl Create {
    async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let actor = super::actor(self.by.as_deref(), &self.why);
        let expires_at = self.expires.as_deref().map(|text| end(text, database::now())).transpose()?;
        let new = NewKey {
            name: self.name,
            is_live: !self.test,
            scope: self.merchant.map_or(Scope::Platform, Scope::Merchant),
            role: self.role,
            requests_per_second: self.requests_per_second,
            expires_at,
        };
        let store = database::open(&settings.store).await?;
        let created = keys::create(&store, &new, &actor).await;
        store.close().await;
        let created = created?;
        output::line(created.secret.reveal());
        let end = new.expires_at.map_or_else(String::new, |end| format!(" It ends at {end}."));
        eprintln!("This key is shown this once; keep it. Its id is {}.{end}", created.key.id);
        Ok(())
    }
}

impl List {
    async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let db = store::open_reads(&settings.store.location, 1)?;
        let now = database::now();
        if !self.json {
            output::line(
                "ID                                    KEY                STATE    ROLE     SCOPE                                 CREATED                      USED                         ENDS                         NAME",
            );
        }
        let (mut behind, mut left) = (None, self.limit);
        while left > 0 {
            let page = keys::list(db.as_ref(), self.merchant, behind, left.min(PAGE_KEYS)).await?;
            let Some(last) = page.last() else { break };
            behind = Some(last.id);
            left -= page.len();
            for key in &page {
                let line = if self.json { describe(key, now).to_string() } else { row(key, now) };
                if !output::line(line) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn row(key: &Key, now: Timestamp) -> String {
    let moment = |moment: Option<Timestamp>| moment.map_or_else(|| "-".to_owned(), |at| at.to_string());
    format!(
        "{}  {}…{}  {:<8} {:<8} {:<37} {:<28} {:<28} {:<28} {}",
        key.id,
        key.prefix,
        key.last4,
        key.state(now).name(),
        key.role.name(),
        key.scope.merchant().map_or_else(|| "platform".to_owned(), |id| id.to_string()),
        key.created_at,
        moment(key.last_used_at),
        moment(key.expires_at),
        output::plain(&key.name),
    )
}

fn describe(key: &Key, now: Timestamp) -> serde_json::Value {
    json!({
        "id": key.id,
        "prefix": key.prefix,
        "last4": key.last4,
        "state": key.state(now).name(),
        "role": key.role.name(),
        "merchantId": key.scope.merchant(),
        "name": key.name,
        "isLive": key.is_live,
        "requestsPerSecond": key.requests_per_second,
        "createdAt": key.created_at,
        "createdBy": key.created_by,
        "lastUsedAt": key.last_used_at,
        "expiresAt": key.expires_at,
        "revokedAt": key.revoked_at,
    })
}

async fn revoke(id: Uuid, why: &str, by: Option<&str>, settings: &Settings) -> anyhow::Result<()> {
    let store = database::open(&settings.store).await?;
    let access = Access::new(store.clone(), Mode::Required);
    let revoked = keys::revoke(&access, id, &super::actor(by, why)).await;
    store.close().await;
    let key = revoked?;
    let at = key.revoked_at.context("a key that was revoked has no moment of it")?;
    output::line(format_args!("{}…{} was revoked at {at}", key.prefix, key.last4));
    Ok(())
}

/// The moment that somebody means by `90d`, `2027-01-31` or `2027-01-31T12:00:00Z`.
fn end(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    let moment = || -> Option<jiff::Timestamp> {
        if let Ok(date) = text.parse::<jiff::civil::Date>()
            && !text.contains('T')
        {
            return date.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok().map(|midnight| midnight.timestamp());
        }
        let span: jiff::Span = text.parse().ok()?;
        let now = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?;
        now.to_zoned_datetime(jiff::tz::TimeZone::UTC).checked_add(span).ok().map(|end| end.timestamp())
    };
    let found =
        Timestamp::parse(text).or_else(|| moment().map(|at| Timestamp::from_micros(at.as_microsecond())));
    found.ok_or_else(|| {
        anyhow!("{text} is neither a time from now (90d, 12h), a day (2027-01-31) nor a moment (2027-01-31T12:00:00Z)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_after_a_time_on_a_day_or_at_a_moment() {
        let now = Timestamp::parse("2026-11-26T10:00:00Z").unwrap();
        let cases = [
            ("90d", "2027-02-24T10:00:00.000000Z"),
            ("12h", "2026-11-26T22:00:00.000000Z"),
            ("1y", "2027-11-26T10:00:00.000000Z"),
            ("2027-01-31", "2027-01-31T00:00:00.000000Z"),
            ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00.000000Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(end(text, now).unwrap().to_string(), expected, "{text}");
        }
        for bad in ["", "90", "soon", "2027-02-30", "2027-01-31T12:00:00"] {
            assert!(end(bad, now).is_err(), "{bad}");
        }
    }
}
