//! `fintech completions`: what a shell completes after `fintech`, made of the command line itself.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub struct Completions {
    /// Print what this shell reads
    shell: Shell,
}

pub fn print(options: &Completions, mut command: clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, "fintech", &mut script);
    io::stdout().lock().write_all(&script).context("cannot print it")
}
