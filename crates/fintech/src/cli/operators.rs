//! `fintech operators`: who may sign in to the console.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use access::{
    AccessError, OperatorRole, PASSWORD_CHARS_MIN,
    operators::{self, Operator},
};
use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use store::{Store, audit::Actor};

use super::output;
use crate::{database, settings::Settings};

/// A line of standard input that is longer is no password.
const LINE_BYTES_MAX: u64 = 4096;

#[derive(Debug, Subcommand)]
pub enum Operators {
    /// List all
    List,
    #[command(flatten)]
    Change(Change),
}

#[derive(Debug, Subcommand)]
pub enum Change {
    /// Let somebody sign in. The password is asked for, or is the first line of standard input
    Create {
        /// The name to sign in with
        name: String,
        /// What they may do: viewer, support, finance or admin
        #[arg(long, value_name = "ROLE")]
        role: OperatorRole,
        #[command(flatten)]
        trace: Trace,
    },
    /// Let somebody in no longer, and end their sessions
    Disable {
        /// Whose name it is, as in `fintech operators list`
        name: String,
        #[command(flatten)]
        trace: Trace,
    },
    /// Let somebody in again
    Enable {
        /// Whose name it is, as in `fintech operators list`
        name: String,
        #[command(flatten)]
        trace: Trace,
    },
    /// Set a new password, and end all sessions and a lock. It is asked for, or is the first line of standard input
    Password {
        /// Whose name it is, as in `fintech operators list`
        name: String,
        #[command(flatten)]
        trace: Trace,
    },
    /// Give somebody another role
    Role {
        /// Whose name it is, as in `fintech operators list`
        name: String,
        /// viewer, support, finance or admin
        role: OperatorRole,
        #[command(flatten)]
        trace: Trace,
    },
}

#[derive(Debug, Args)]
pub struct Trace {
    /// For the audit log: why
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
    /// For the audit log: who; the user of this machine
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Trace {
    fn actor(&self) -> Actor {
        super::actor(self.by.as_deref(), &self.why)
    }
}

pub async fn run(command: Operators, settings: Settings) -> anyhow::Result<()> {
    match command {
        Operators::List => list(&settings).await,
        Operators::Change(change) => change.run(&settings).await,
    }
}

impl Change {
    async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let password = match &self {
            Self::Create { name, .. } | Self::Password { name, .. } => read_password(name)?,
            Self::Disable { .. } | Self::Enable { .. } | Self::Role { .. } => String::new(),
        };
        let store = database::open(&settings.store).await?;
        let changed = self.apply(&password, &store).await;
        store.close().await;
        output::line(line(&changed?));
        Ok(())
    }

    async fn apply(self, password: &str, store: &Store) -> Result<Operator, AccessError> {
        match self {
            Self::Create { name, role, trace } => {
                operators::create(store, &name, role, password, &trace.actor()).await
            }
            Self::Disable { name, trace } => operators::disable(store, &name, &trace.actor()).await,
            Self::Enable { name, trace } => operators::enable(store, &name, &trace.actor()).await,
            Self::Password { name, trace } => {
                operators::set_password(store, &name, password, &trace.actor()).await
            }
            Self::Role { name, role, trace } => operators::set_role(store, &name, role, &trace.actor()).await,
        }
    }
}

async fn list(settings: &Settings) -> anyhow::Result<()> {
    let db = store::open_reads(&settings.store.location, 1)?;
    output::line(
        "NAME                                     ROLE     STATE    CHANGED                      LOCKED UNTIL",
    );
    for operator in operators::list(db.as_ref()).await? {
        if !output::line(line(&operator)) {
            break;
        }
    }
    Ok(())
}

fn line(operator: &Operator) -> String {
    let now = database::now();
    let locked = operator.locked_until.filter(|end| now < *end);
    format!(
        "{:<40} {:<8} {:<8} {:<28} {}",
        operator.name,
        operator.role.name(),
        if operator.is_active { "active" } else { "disabled" },
        operator.changed_at,
        locked.map_or_else(|| "-".to_owned(), |end| end.to_string()),
    )
}

/// Typed twice at a terminal, where it is not shown.
fn read_password(name: &str) -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        let ask = |prompt: &str| rpassword::prompt_password(prompt).context("the password could not be read");
        let password = ask(&format!("Password of {name}, at least {PASSWORD_CHARS_MIN} characters: "))?;
        ensure!(ask("The same again: ")? == password, "the two are not the same");
        return Ok(password);
    }
    let mut line = String::new();
    io::stdin().lock().take(LINE_BYTES_MAX).read_line(&mut line).context("the password could not be read")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
