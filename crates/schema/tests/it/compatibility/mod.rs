//! Which schema reads what another wrote: the rules one by one, the levels, our own schemas, and what goes wrong with an
//! edit to one of them.

use apache_avro::Schema;
use schema::compatibility::{Kind, can_read, parse};

mod drawn;
mod edits;
mod levels;
mod rules;
mod text;

fn schema(text: &str) -> Schema {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A record with one field, of this type and whatever else.
fn holding(of: &str) -> String {
    format!(r#"{{"type":"record","name":"A","fields":[{{"name":"a","type":{of}}}]}}"#)
}

/// What a reader finds in its way, of two texts: the kinds and the places.
fn told(reader: &str, writer: &str) -> Vec<(Kind, String)> {
    can_read(&schema(reader), &schema(writer)).into_iter().map(|what| (what.kind, what.place)).collect()
}

fn reads(reader: &str, writer: &str) -> bool {
    told(reader, writer).is_empty()
}

#[track_caller]
fn assert_told(reader: &str, writer: &str, expected: &[(Kind, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(kind, place)| (*kind, (*place).to_owned())).collect();
    assert_eq!(told(reader, writer), expected, "{reader} reads {writer}");
}
