//! Bytes that others wrote: JSON as a tree, another text as it is, and the rest in hexadecimal. What is long is cut, and the
//! cut is said.

use std::fmt::Write as _;

use super::{Tree, tree};

/// Bytes of a value on a page of its own; what is longer is downloaded.
pub const WHOLE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a value in a list.
pub const LISTED_BYTES_MAX: usize = 4 * 1024;
const HEX_BYTES_MAX: usize = 4 * 1024;
const HEX_BYTES_A_LINE: usize = 16;

#[derive(Clone, Debug)]
pub struct Content {
    pub shape: Shape,
    pub bytes: usize,
    pub is_cut: bool,
}

#[derive(Clone, Debug)]
pub enum Shape {
    /// Not even empty: Kafka calls it a tombstone.
    Absent,
    Json(Tree),
    Text(String),
    Hex(String),
}

impl Content {
    pub fn new(bytes: Option<&[u8]>, bytes_max: usize) -> Self {
        let Some(bytes) = bytes else { return Self { shape: Shape::Absent, bytes: 0, is_cut: false } };
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains(is_unprintable));
        let json = text.filter(|text| text.len() <= bytes_max).and_then(tree);
        let (shape, shown) = match (json, text) {
            (Some(tree), _) => (Shape::Json(tree), bytes.len()),
            (None, Some(text)) => {
                let shown = &text[..text.floor_char_boundary(bytes_max)];
                (Shape::Text(shown.to_owned()), shown.len())
            }
            (None, None) => {
                let shown = &bytes[..bytes.len().min(bytes_max).min(HEX_BYTES_MAX)];
                (Shape::Hex(hex(shown)), shown.len())
            }
        };
        Self { shape, bytes: bytes.len(), is_cut: shown < bytes.len() }
    }

    /// Of a size that people read.
    pub fn size(&self) -> String {
        size(self.bytes)
    }

    /// Empty: it is not a text.
    pub fn text(&self) -> &str {
        match &self.shape {
            Shape::Text(text) => text,
            Shape::Absent | Shape::Json(_) | Shape::Hex(_) => "",
        }
    }

    pub fn hex(&self) -> &str {
        match &self.shape {
            Shape::Hex(hex) => hex,
            Shape::Absent | Shape::Json(_) | Shape::Text(_) => "",
        }
    }

    pub const fn tree(&self) -> Option<&Tree> {
        match &self.shape {
            Shape::Json(tree) => Some(tree),
            Shape::Absent | Shape::Text(_) | Shape::Hex(_) => None,
        }
    }

    pub const fn is_absent(&self) -> bool {
        matches!(self.shape, Shape::Absent)
    }
}

/// A text with such a character is shown as bytes: it was not written to be read.
fn is_unprintable(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

pub fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB ({bytes} bytes)", bytes / 1024),
        _ => format!("{} MiB ({bytes} bytes)", bytes / 1_048_576),
    }
}

/// Lines as `hexdump -C` writes them.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 5);
    for (number, line) in bytes.chunks(HEX_BYTES_A_LINE).enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{:08x} ", number * HEX_BYTES_A_LINE);
        for place in 0..HEX_BYTES_A_LINE {
            let _ = match line.get(place) {
                Some(byte) => write!(text, " {byte:02x}"),
                None => write!(text, "   "),
            };
        }
        let printable =
            |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let _ = writeln!(text, "  {}", line.iter().map(printable).collect::<String>());
    }
    text
}

/// On one line, for a key or a header.
pub fn line(bytes: &[u8], chars_max: usize) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(is_unprintable) => shortened(text, chars_max),
        _ => {
            let shown = &bytes[..bytes.len().min(chars_max / 2)];
            let text = shown.iter().fold("0x".to_owned(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            if shown.len() < bytes.len() { format!("{text}… ({})", size(bytes.len())) } else { text }
        }
    }
}

fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}… ({})", &text[..end], size(text.len())),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_a_tree_text_is_text_and_the_rest_is_hexadecimal() {
        let json = Content::new(Some(br#"{"a":1}"#), 100);
        assert!(json.tree().is_some_and(|tree| tree.nodes.len() == 2) && !json.is_cut);
        assert_eq!(Content::new(Some(b"<b>"), 100).text(), "<b>");
        let hex = Content::new(Some(&[0, 1, b'A', 0xff]), 100);
        let start = "00000000  00 01 41 ff ";
        assert!(hex.hex().starts_with(start) && hex.hex().ends_with("  ..A.\n"), "{}", hex.hex());
        assert!(Content::new(None, 100).is_absent());
        assert_eq!(Content::new(Some(b""), 100).bytes, 0);
    }

    /// Failure of others: a page with a message of 1 MB that no browser opens.
    #[test]
    fn what_is_long_is_cut_and_said() {
        let long = format!("[{}1]", "1,".repeat(1_000_000));
        let content = Content::new(Some(long.as_bytes()), LISTED_BYTES_MAX);
        assert!(content.is_cut && content.text().len() == LISTED_BYTES_MAX);
        assert_eq!(content.size(), "1 MiB (2000003 bytes)");
        let umlauts = "ä".repeat(LISTED_BYTES_MAX);
        assert!(Content::new(Some(umlauts.as_bytes()), LISTED_BYTES_MAX - 1).text().ends_with('ä'));
        let bytes = vec![0; 1_000_000];
        assert!(Content::new(Some(&bytes), WHOLE_BYTES_MAX).hex().lines().count() == HEX_BYTES_MAX / 16);
        assert_eq!(line(&[1, 2, 3], 4), "0x0102… (3 bytes)");
        assert_eq!(line("äöü".as_bytes(), 2), "äö… (6 bytes)");
        assert_eq!(line(b"plain", 10), "plain");
    }
}
