//! Results on standard output.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Writes a line; false when nobody reads any more (`fintech events tail | head`), which is no error.
pub fn line(text: impl Display) -> bool {
    writeln!(io::stdout().lock(), "{text}").is_ok()
}
