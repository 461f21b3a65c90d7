//! Results on standard output.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Writes a line; false when nobody reads any more (`fintech events tail | head`), which is no error.
pub fn line(text: impl Display) -> bool {
    writeln!(io::stdout().lock(), "{text}").is_ok()
}

/// A text that somebody else wrote, for a line of a table: it can neither break it nor give orders to a terminal.
pub fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
