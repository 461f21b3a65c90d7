//! Log lines: text for people, JSON for machines. Each names the trace and the request that it belongs to.

mod queue;

use std::{
    fmt,
    io::{self, IsTerminal as _},
};

use telemetry::trace;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    filter::Directive,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{self, Format, Full, Json, Writer},
        time::SystemTime,
        writer::BoxMakeWriter,
    },
    registry::LookupSpan,
};

use self::queue::{Queue, Waiting};
use crate::settings::Logging;

#[derive(Clone, Copy)]
pub enum Output {
    /// For the program that serves: nobody who writes a line waits for it.
    Stdout,
    /// For commands whose result stands on standard output.
    Stderr,
}

/// What is given back is dropped at the end, when the last lines have been written.
pub fn start(logging: &Logging, output: Output) -> io::Result<Option<Waiting>> {
    let (writer, is_terminal, waiting) = match output {
        Output::Stdout => {
            let (queue, waiting) = Queue::to_stdout()?;
            (BoxMakeWriter::new(queue), io::stdout().is_terminal(), Some(waiting))
        }
        Output::Stderr => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal(), None),
    };
    let text = match logging.format.as_str() {
        "auto" => is_terminal,
        format => format == "text",
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&logging.level).add_directive(profiler()))
        .with_writer(writer)
        // It would write the error to standard error, and panic where that is full, too.
        .log_internal_errors(false);
    if text {
        let is_colored = is_terminal && std::env::var_os("NO_COLOR").is_none();
        let lines = Lines::Text(format::format().with_ansi(is_colored));
        builder.with_ansi(is_colored).event_format(lines).init();
    } else {
        let lines = Lines::Json(format::format().json().flatten_event(true));
        builder.json().event_format(lines).init();
    }
    Ok(waiting)
}

/// Who takes a profile is said by us; where the library's sources lay when it was built is of no use.
fn profiler() -> Directive {
    "pprof=warn".parse().expect("it is a target and a level")
}

/// The lines of the library, with what they belong to at their end.
enum Lines {
    Text(Format<Full, SystemTime>),
    Json(Format<Json, SystemTime>),
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let format = |writer: Writer<'_>| match self {
            Self::Text(format) => format.format_event(context, writer, event),
            Self::Json(format) => format.format_event(context, writer, event),
        };
        let Some(scope) = trace::current() else { return format(writer) };
        let mut line = String::with_capacity(LINE_CHARS);
        format(Writer::new(&mut line))?;
        let line = line.trim_end();
        let (trace_id, request_id) = (scope.trace.trace_id_text(), scope.request_id.as_deref());
        match self {
            Self::Text(_) => {
                write!(writer, "{line} trace_id={trace_id}")?;
                if let Some(id) = request_id {
                    write!(writer, " request_id={id}")?;
                }
                writeln!(writer)
            }
            Self::Json(_) => {
                let line = line.strip_suffix('}').unwrap_or(line);
                write!(writer, "{line},\"trace_id\":\"{trace_id}\"")?;
                // An event that has one of its own says it already.
                if let Some(id) = request_id.filter(|_| !line.contains("\"request_id\":")) {
                    write!(writer, ",\"request_id\":{}", serde_json::Value::from(id))?;
                }
                writeln!(writer, "}}")
            }
        }
    }
}

/// What most lines have.
const LINE_CHARS: usize = 512;
