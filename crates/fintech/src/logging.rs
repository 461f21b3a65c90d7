//! Log lines: text for people, JSON for machines.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter};

use crate::settings::Logging;

#[derive(Clone, Copy)]
pub enum Output {
    Stdout,
    /// For commands whose result stands on standard output.
    Stderr,
}

pub fn start(logging: &Logging, output: Output) {
    let (writer, is_terminal) = match output {
        Output::Stdout => (BoxMakeWriter::new(io::stdout), io::stdout().is_terminal()),
        Output::Stderr => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
    };
    let text = match logging.format.as_str() {
        "auto" => is_terminal,
        format => format == "text",
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&logging.level))
        .with_writer(writer)
        // It would write the error to standard error, and panic where that is full, too.
        .log_internal_errors(false)
        .with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none());
    if text {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
