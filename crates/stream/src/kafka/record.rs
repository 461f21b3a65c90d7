//! An event as a record: key, value and headers, and back.
//!
//! The value is the payload of the log, byte for byte, or the same in Avro (see [`super::values`]). The headers hold everything else that the log knows, so
//! that a consumer checks the chain without asking the database, and so that `CloudEvents` (binary mode of the Kafka
//! protocol binding 1.0.2) and W3C Trace Context readers find what they look for. A record depends on nothing
//! but the event and the format: published again, it is the same to the byte.

use std::str;

use domain::{
    chain::Hash,
    event::Stream,
    id::{CommandId, EventId, MerchantId},
    lane::Lane,
    time::Timestamp,
};
use rdkafka::message::Headers;
use schema::{
    catalogue,
    headers::{CONTENT_TYPE_AVRO, CONTENT_TYPE_JSON},
};
use serde_json::json;
use store::batch::{LogEvent, own_trace};
use telemetry::trace::TraceContext;
use uuid::Uuid;

use super::{
    headers::{self, Header},
    values::Format,
};

/// The headers, each declared here and nowhere else.
pub mod header {
    pub const EVENT_TYPE: &str = "event-type";
    pub const OCCURRED_AT: &str = "occurred-at";
    pub const EVENT_VERSION: &str = "event-version";
    pub const POSITION: &str = "position";
    pub const SEQUENCE: &str = "sequence";
    pub const CHAIN_HASH: &str = "chain-hash";
    pub const COMMAND_ID: &str = "command-id";
    pub const CONTENT_TYPE: &str = "content-type";
    pub const CE_SPECVERSION: &str = "ce_specversion";
    pub const CE_ID: &str = "ce_id";
    pub const CE_SOURCE: &str = "ce_source";
    pub const CE_TYPE: &str = "ce_type";
    pub const CE_DATASCHEMA: &str = "ce_dataschema";
    pub const CE_TIME: &str = "ce_time";
    pub const CE_SUBJECT: &str = "ce_subject";
    pub const TRACEPARENT: &str = "traceparent";
    /// Only on records of events that were too large: says that the payload is in the log.
    pub const CLAIM_CHECK: &str = "claim-check";

    pub const ORIGINAL_TOPIC: &str = "original-topic";
    pub const ORIGINAL_EVENT_TYPE: &str = "original-event-type";
    pub const FAILURE_REASON: &str = "failure-reason";
    pub const RETRY_COUNT: &str = "retry-count";
    pub const CONSUMER_GROUP: &str = "consumer-group";
    pub const DLQ_TIMESTAMP: &str = "dlq-timestamp";
    pub const DEAD_LETTER_ID: &str = "dead-letter-id";
    pub const CONSUMER: &str = "consumer";
    pub const ORIGINAL_PARTITION: &str = "original-partition";
}

const CE_SOURCE: &str = "/fintechplatform";
const CE_TYPE_PREFIX: &str = "com.fintechplatform.";

/// A record that is ready to be sent.
pub struct Outgoing {
    pub topic: Topic,
    pub partition: i32,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Stream(Stream),
    DeadLetters,
}

impl Topic {
    pub const ALL: [Self; 4] = [
        Self::Stream(Stream::ALL[0]),
        Self::Stream(Stream::ALL[1]),
        Self::Stream(Stream::ALL[2]),
        Self::DeadLetters,
    ];

    /// The place in [`Self::ALL`].
    pub const fn number(self) -> usize {
        match self {
            Self::Stream(stream) => stream.index(),
            Self::DeadLetters => 3,
        }
    }

    pub fn from_number(number: usize) -> Option<Self> {
        Self::ALL.get(number).copied()
    }
}

/// The event as a record; when its value is larger than `bytes_max`, a claim check for it. Avro that would not be read as
/// what the log holds, to the byte, is not written: it is JSON then, which is said.
pub fn encode(event: &LogEvent, format: &Format, bytes_max: usize) -> Outgoing {
    let avro = match format {
        Format::Json => None,
        Format::Avro(writers) => writers.write(&event.event_type, event.version, &event.payload),
    };
    if avro.is_none() && matches!(format, Format::Avro(_)) {
        tracing::error!(
            event_type = event.event_type,
            version = event.version,
            stream = event.stream.name(),
            lane = event.lane.0,
            position = event.position,
            "an event is not what its schema says: it is published as JSON"
        );
    }
    let (mut content_type, mut value) = match avro {
        Some(value) => (CONTENT_TYPE_AVRO, value),
        None => (CONTENT_TYPE_JSON, event.payload.as_bytes().to_vec()),
    };
    let is_claim_check = value.len() > bytes_max;
    if is_claim_check {
        (content_type, value) = (CONTENT_TYPE_JSON, claim(event));
    }
    let mut headers = headers(event, content_type);
    if is_claim_check {
        headers.push((header::CLAIM_CHECK, "log".to_owned()));
    }
    Outgoing {
        topic: Topic::Stream(event.stream),
        partition: i32::from(event.lane.0),
        key: event.merchant_id.to_string().into_bytes(),
        value: Some(value),
        headers,
    }
}

fn claim(event: &LogEvent) -> Vec<u8> {
    json!({
        "eventId": event.event_id,
        "occurredAt": event.occurred_at,
        "eventType": event.event_type,
        "claimCheck": format!("{}/{}/{}", event.stream.name(), event.lane.0, event.position),
    })
    .to_string()
    .into_bytes()
}

/// The headers of an event's record, but the one of a claim check.
pub(super) fn headers(event: &LogEvent, content_type: &str) -> Vec<(&'static str, String)> {
    let occurred_at = event.occurred_at.to_string();
    let id = event.event_id.to_string();
    vec![
        (header::EVENT_TYPE, event.event_type.clone()),
        (header::OCCURRED_AT, occurred_at.clone()),
        (header::EVENT_VERSION, event.version.to_string()),
        (header::POSITION, event.position.to_string()),
        (header::SEQUENCE, event.sequence.to_string()),
        (header::CHAIN_HASH, hex::encode(event.hash)),
        (header::COMMAND_ID, event.command_id.to_string()),
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CE_SPECVERSION, "1.0".to_owned()),
        (header::CE_ID, id),
        (header::CE_SOURCE, CE_SOURCE.to_owned()),
        (header::CE_TYPE, format!("{CE_TYPE_PREFIX}{}.v{}", event.event_type, event.version)),
        (header::CE_DATASCHEMA, catalogue::urn(&event.event_type, event.version)),
        (header::CE_TIME, occurred_at),
        (header::CE_SUBJECT, event.subject_id.to_string()),
        (header::TRACEPARENT, event.trace_context().to_string()),
    ]
}

/// What a record on a topic of ours is.
pub enum Incoming {
    Event(LogEvent),
    /// All of it is known but the payload, which is in this value, by a schema of a registry.
    Avro(LogEvent, Vec<u8>),
    /// The event is in the log, under this position.
    Claim(LogEvent),
    /// Not of our log, and why not.
    Foreign(String),
}

/// Reads a record back. That the chain holds is for the reader to check, who knows what stood before.
pub fn decode<H: Headers>(
    stream: Stream,
    lane: Lane,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: Option<&H>,
) -> Incoming {
    let found = headers.map(Found::collect).unwrap_or_default();
    let event = match found.event(stream, lane, key) {
        Ok(event) => event,
        Err(reason) => return Incoming::Foreign(reason),
    };
    match value {
        // JSON never begins with the magic byte.
        Some([0, ..]) => Incoming::Avro(event, value.unwrap_or_default().to_vec()),
        value if found.is_avro() => Incoming::Avro(event, value.unwrap_or_default().to_vec()),
        value => match value.and_then(|value| str::from_utf8(value).ok()) {
            Some(payload) => {
                let event = LogEvent { payload: payload.to_owned(), ..event };
                if found.claim_check.is_some() { Incoming::Claim(event) } else { Incoming::Event(event) }
            }
            None => Incoming::Foreign("its value is not a text, so it is not of this log".to_owned()),
        },
    }
}

/// Where in the log the event stands that a record says it is, and its hash.
pub fn place<H: Headers>(
    stream: Stream,
    lane: Lane,
    key: Option<&[u8]>,
    headers: Option<&H>,
) -> Option<(i64, Hash)> {
    let found = headers.map(Found::collect)?;
    found.event(stream, lane, key).ok().map(|event| (event.position, event.hash))
}

/// The headers that make an event, each found in one walk over all of them.
#[derive(Default)]
struct Found<'a> {
    event_type: Option<&'a str>,
    occurred_at: Option<&'a str>,
    version: Option<&'a str>,
    position: Option<&'a str>,
    sequence: Option<&'a str>,
    hash: Option<&'a str>,
    command_id: Option<&'a str>,
    event_id: Option<&'a str>,
    subject_id: Option<&'a str>,
    claim_check: Option<&'a str>,
    content_type: Option<&'a str>,
    traceparent: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn collect<H: Headers>(headers: &'a H) -> Self {
        let mut found = Self::default();
        for Header { name, value } in headers::each(headers) {
            let place = match name {
                header::EVENT_TYPE => &mut found.event_type,
                header::OCCURRED_AT => &mut found.occurred_at,
                header::EVENT_VERSION => &mut found.version,
                header::POSITION => &mut found.position,
                header::SEQUENCE => &mut found.sequence,
                header::CHAIN_HASH => &mut found.hash,
                header::COMMAND_ID => &mut found.command_id,
                header::CE_ID => &mut found.event_id,
                header::CE_SUBJECT => &mut found.subject_id,
                header::CLAIM_CHECK => &mut found.claim_check,
                header::CONTENT_TYPE => &mut found.content_type,
                header::TRACEPARENT => &mut found.traceparent,
                _ => continue,
            };
            *place = value.and_then(|value| str::from_utf8(value).ok());
        }
        found
    }

    fn is_avro(&self) -> bool {
        self.content_type == Some(CONTENT_TYPE_AVRO)
    }

    /// All of the event but its payload.
    fn event(&self, stream: Stream, lane: Lane, key: Option<&[u8]>) -> Result<LogEvent, String> {
        let mut hash = Hash::default();
        let position = parsed(header::POSITION, self.position)?;
        hex::decode_to_slice(text(header::CHAIN_HASH, self.hash)?, &mut hash)
            .map_err(|_| unreadable(header::CHAIN_HASH))?;
        let key = key.and_then(|key| str::from_utf8(key).ok()).and_then(|key| key.parse::<Uuid>().ok());
        let event_id = EventId(parsed(header::CE_ID, self.event_id)?);
        let command_id = CommandId(parsed(header::COMMAND_ID, self.command_id)?);
        let trace = self.traceparent.and_then(TraceContext::parse);
        Ok(LogEvent {
            lane,
            sequence: parsed(header::SEQUENCE, self.sequence)?,
            stream,
            position,
            event_id,
            command_id,
            event_type: text(header::EVENT_TYPE, self.event_type)?.to_owned(),
            version: parsed(header::EVENT_VERSION, self.version)?,
            occurred_at: Timestamp::parse(text(header::OCCURRED_AT, self.occurred_at)?)
                .ok_or_else(|| unreadable(header::OCCURRED_AT))?,
            merchant_id: MerchantId(key.ok_or("its key is not a merchant's id, so it is not of this log")?),
            subject_id: parsed(header::CE_SUBJECT, self.subject_id)?,
            payload: String::new(),
            hash,
            trace: trace.filter(|trace| *trace != own_trace(command_id, event_id)),
        })
    }
}

fn text<'a>(name: &str, found: Option<&'a str>) -> Result<&'a str, String> {
    found.ok_or_else(|| format!("it has no header {name}, so it is not of this log"))
}

fn parsed<T: str::FromStr>(name: &str, found: Option<&str>) -> Result<T, String> {
    text(name, found)?.parse().map_err(|_| unreadable(name))
}

fn unreadable(name: &str) -> String {
    format!("its header {name} cannot be read, so it is not of this log")
}
