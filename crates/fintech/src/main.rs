//! The executable: settings in, parts wired together, signals obeyed.

mod cli;
mod database;
mod event_system;
mod gauges;
mod logging;
mod reconciler;
mod serve;
mod settings;
mod signals;
mod sweeper;

use std::process::ExitCode;

use profiling::heap::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    cli::run()
}
