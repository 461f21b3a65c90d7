//! Records that the program once published, one of each version of each event.

use domain::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::field::Fields;
use crate::{
    catalogue::Entry,
    codec::{Codec, Kind},
    frame::HEADER_BYTES,
};

/// An event that was too large for a record.
pub const CLAIM_CHECK: &str = include_str!("../../../../schemas/examples/ClaimCheck.json");
/// A record that was set aside: someone else had written it to the topic.
pub const DEAD_LETTER: &str = include_str!("../../../../schemas/examples/DeadLetter.json");

/// A record, as its file has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Example {
    pub key: String,
    /// Texts, in their order.
    pub headers: Map<String, Value>,
    pub value: Map<String, Value>,
}

impl Example {
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).expect("an example is a record")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The value to the byte, as the log and the topic had it.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.value).expect("what was read can be written")
    }

    /// How long the value is in Avro, with the bytes before it.
    pub fn avro_bytes(&self, entry: &Entry) -> usize {
        let codec = Codec::parse(entry.avro).expect("a schema of the catalogue is an event's");
        let mut body = Vec::new();
        codec.write(&self.json(), &mut body).expect("an example is of its schema");
        HEADER_BYTES + body.len()
    }

    /// What a reader of Avro makes of the value: a null for what is absent, and moments as microseconds.
    pub fn as_read_from_avro(&self, entry: &Entry) -> Map<String, Value> {
        let fields = Fields::of(entry).all.into_iter();
        let read = fields.map(|field| {
            let value = match (self.value.get(&field.name), &field.kind) {
                (None, _) => Value::Null,
                (Some(value), Kind::Moment) => {
                    value.as_str().and_then(Timestamp::parse).map(Timestamp::as_micros).into()
                }
                (Some(value), _) => value.clone(),
            };
            (field.name, value)
        });
        read.collect()
    }
}
