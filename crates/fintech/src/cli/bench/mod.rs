//! `fintech bench`: a load with a verdict, and comparisons.

mod compare;
mod load;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::settings::Settings;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: load::Load,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put load on a platform and check the totals (what `fintech bench` alone does)
    Run(load::Load),
    /// Measure the program beside others that do the same work, in rounds, and print the ratios
    Compare(compare::Compare),
}

pub async fn run(bench: Bench, settings: Settings) -> anyhow::Result<ExitCode> {
    let Bench { command, load } = bench;
    match command {
        Some(Command::Run(load)) => load::run(load, settings).await,
        Some(Command::Compare(options)) => compare::run(options).await,
        None => load::run(load, settings).await,
    }
}

fn number(min: u64, max: u64) -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(min..=max)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
