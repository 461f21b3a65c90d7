//! A message as people see it: bytes, and the JSON of an event that was written in Avro.

use std::collections::HashMap;

use domain::time::Timestamp;
use rdkafka::message::{BorrowedMessage, Message as _};
use schema::frame::{self, HEADER_BYTES, SchemaId};

use crate::kafka::{headers, values::Values};

const MICROS_A_MILLISECOND: i64 = 1000;
/// Schemas that nobody could give, remembered while one list is made.
const UNKNOWN_SCHEMAS_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Option<Timestamp>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// In their order; a name may come more than once.
    pub headers: Vec<Header>,
    /// Where the value is in the format of a schema registry, or looks like it.
    pub avro: Option<Avro>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub value: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Avro {
    pub schema_id: SchemaId,
    /// The event's type and its JSON, or why it could not be read.
    pub event: Result<(String, String), String>,
}

impl Message {
    pub(super) fn new(message: &BorrowedMessage<'_>) -> Self {
        let owned = |header: headers::Header<'_>| Header {
            name: header.name.to_owned(),
            value: header.value.map(<[u8]>::to_vec),
        };
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: millis(message)
                .map(|millis| Timestamp::from_micros(millis.saturating_mul(MICROS_A_MILLISECOND))),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers(message).map(owned).collect(),
            avro: None,
        }
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let headers =
            self.headers.iter().map(|header| header.name.len() + header.value.as_ref().map_or(0, Vec::len));
        self.key.as_ref().map_or(0, Vec::len)
            + self.value.as_ref().map_or(0, Vec::len)
            + headers.sum::<usize>()
    }
}

/// What a message takes on its way, without its headers, which librdkafka counts one by one.
pub(super) fn bytes(message: &BorrowedMessage<'_>) -> usize {
    message.key_len() + message.payload_len()
}

pub(super) fn millis(message: &BorrowedMessage<'_>) -> Option<i64> {
    message.timestamp().to_millis()
}

pub(super) fn headers<'a>(message: &'a BorrowedMessage<'_>) -> impl Iterator<Item = headers::Header<'a>> {
    message.headers().into_iter().flat_map(headers::each)
}

/// Whether a value begins as those of a registry's serializers do. A text never does.
pub(super) fn may_be_avro(value: &[u8]) -> bool {
    value.len() >= HEADER_BYTES && frame::open(value).is_ok()
}

/// Reads values for one list. What the registry does not know, or does not say, is not asked again.
pub(super) struct Decoder {
    values: Values,
    unknown: HashMap<SchemaId, String>,
}

impl Decoder {
    pub(super) fn new(values: Values) -> Self {
        Self { values, unknown: HashMap::new() }
    }

    pub(super) async fn read(&mut self, value: &[u8]) -> Option<Avro> {
        let (schema_id, _) = frame::open(value).ok()?;
        if let Some(reason) = self.unknown.get(&schema_id) {
            return Some(Avro { schema_id, event: Err(reason.clone()) });
        }
        let event = match self.values.decode(value).await {
            Ok(read) => Ok((read.event_type, read.json)),
            Err(error) => {
                if !matches!(error, registry::ReadError::Body { .. })
                    && self.unknown.len() < UNKNOWN_SCHEMAS_MAX
                {
                    self.unknown.insert(schema_id, error.to_string());
                }
                Err(error.to_string())
            }
        };
        Some(Avro { schema_id, event })
    }

    pub(super) async fn complete(&mut self, message: &mut Message) {
        if let Some(value) = &message.value {
            message.avro = self.read(value).await;
        }
    }
}
