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

use tikv_jemallocator::Jemalloc;

/// It can tell at any time what memory was asked for where (`profiling::heap`).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    cli::run()
}
