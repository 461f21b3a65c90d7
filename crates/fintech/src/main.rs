//! The executable: settings in, parts wired together, signals obeyed.

mod cli;
mod database;
mod event_system;
mod logging;
mod serve;
mod settings;
mod sweeper;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The whole chain is one sentence: what was tried, and why it failed.
            eprintln!("fintech: {error:#}");
            ExitCode::FAILURE
        }
    }
}
