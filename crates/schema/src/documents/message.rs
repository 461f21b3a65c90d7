//! What may lie on the topics, as `AsyncAPI` messages: each version of each event as JSON and in Avro, and what stands for an
//! event or is none.

use domain::event::Stream;
use serde_json::{Map, Value, json};

use super::{
    channel::BINDING_VERSION, example, example::Example, field::Fields, json_schema, occasion::occasion,
};
use crate::{
    catalogue::{CATALOGUE, Entry},
    headers::{CONTENT_TYPE_AVRO, CONTENT_TYPE_JSON},
};

/// Avro as `AsyncAPI` knows it.
const AVRO: &str = "application/vnd.apache.avro;version=1.9.0";
pub const CLAIM_CHECK: &str = "ClaimCheck";
pub const DEAD_LETTER: &str = "DeadLetter";

#[derive(Clone, Copy)]
enum Form {
    Json,
    Avro,
}

pub fn reference(place: &str) -> Value {
    json!({ "$ref": format!("#/{place}") })
}

/// The names of the messages that are events of a stream.
pub fn messages_of(stream: Stream) -> Vec<String> {
    let entries = CATALOGUE.iter().filter(|entry| entry.stream == stream);
    entries.flat_map(|entry| [name(entry, Form::Json), name(entry, Form::Avro)]).collect()
}

fn name(entry: &Entry, form: Form) -> String {
    match form {
        Form::Json => entry.name(),
        Form::Avro => format!("{}.avro", entry.name()),
    }
}

pub fn messages() -> Map<String, Value> {
    let events = CATALOGUE
        .iter()
        .flat_map(|entry| [Form::Json, Form::Avro].map(|form| (name(entry, form), event(entry, form))));
    let others = [(CLAIM_CHECK.to_owned(), claim_check()), (DEAD_LETTER.to_owned(), dead_letter())];
    events.chain(others).collect()
}

fn event(entry: &Entry, form: Form) -> Value {
    let example = Example::parse(entry.example);
    let (form_name, content_type, bindings) = match form {
        Form::Json => ("as JSON", CONTENT_TYPE_JSON, "json"),
        Form::Avro => ("in Avro", CONTENT_TYPE_AVRO, "avro"),
    };
    let payload = match form {
        Form::Json => reference(&format!("components/schemas/{}", entry.name())),
        Form::Avro => {
            let schema: Value = serde_json::from_str(entry.avro).expect("a schema of the catalogue is JSON");
            json!({ "schemaFormat": AVRO, "schema": schema })
        }
    };
    let mut headers = example.headers.clone();
    headers.insert("content-type".to_owned(), content_type.into());
    let (summary, value) = match form {
        Form::Json => ("As it lies on the topic.", example.value),
        Form::Avro => (
            "As a reader of Avro sees it: moments are microseconds since 1970.",
            example.as_read_from_avro(entry),
        ),
    };
    let constants = ["event-type", "event-version", "content-type", "ce_type", "ce_dataschema"];
    json!({
        "name": entry.event_type,
        "title": format!("{}, version {}, {form_name}", entry.event_type, entry.version),
        "summary": Fields::of(entry).meaning,
        "description": occasion(entry.event_type),
        "contentType": content_type,
        "headers": with_constants("EventHeaders", &headers, &constants),
        "payload": payload,
        "correlationId": reference("components/correlationIds/request"),
        "bindings": reference(&format!("components/messageBindings/{bindings}")),
        "examples": [{ "name": name(entry, form), "summary": summary, "headers": headers, "payload": value }],
    })
}

/// Headers of which some have one value only.
fn with_constants(all: &str, example: &Map<String, Value>, constants: &[&str]) -> Value {
    let properties: Map<String, Value> = constants
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), json!({ "const": example.get(*name)? }))))
        .collect();
    json!({
        "type": "object",
        "allOf": [reference(&format!("components/schemas/{all}"))],
        "properties": properties,
        "required": constants,
    })
}

fn claim_check() -> Value {
    let Example { headers, value, .. } = Example::parse(example::CLAIM_CHECK);
    json!({
        "name": CLAIM_CHECK,
        "title": "An event that is too large for a record",
        "summary": "Stands for an event of any type and says where in the log it is.",
        "description": "Its headers are those of the event, whose hash is over the event as the log has it. What is too \
            large is set by `Kafka:MessageBytesMax`. It is JSON on every topic.",
        "contentType": CONTENT_TYPE_JSON,
        "headers": with_constants("EventHeaders", &headers, &["content-type", "claim-check"]),
        "payload": reference("components/schemas/ClaimCheck"),
        "correlationId": reference("components/correlationIds/request"),
        "bindings": reference("components/messageBindings/json"),
        "examples": [{ "name": CLAIM_CHECK, "headers": headers, "payload": value }],
    })
}

fn dead_letter() -> Value {
    let Example { headers, value, .. } = Example::parse(example::DEAD_LETTER);
    json!({
        "name": DEAD_LETTER,
        "title": "A record that could not be handled",
        "summary": "Key and value are those of the record, byte for byte; the headers say what it was and what failed.",
        "description": "A record of ours that was set aside is handled again by `fintech dead-letters redrive`, not by \
            publishing it anew.",
        "contentType": "application/octet-stream",
        "headers": reference("components/schemas/DeadLetterHeaders"),
        "payload": reference("components/schemas/DeadLetter"),
        "bindings": reference("components/messageBindings/deadLetter"),
        "examples": [{ "name": DEAD_LETTER, "headers": headers, "payload": value }],
    })
}

/// The schemas of the values that are JSON.
pub fn schemas() -> Map<String, Value> {
    let events = CATALOGUE.iter().map(|entry| (entry.name(), json_schema::without_dialect(entry).into()));
    let text = |meaning: &str| json!({ "type": "string", "description": meaning });
    let claim_check = json!({
        "title": "Claim check",
        "type": "object",
        "properties": {
            "eventId": text("The event's id."),
            "occurredAt": text("When it happened, in UTC."),
            "eventType": text("The name of the event."),
            "claimCheck": text("Where it is in the log: TOPIC/PARTITION/POSITION."),
        },
        "required": ["eventId", "occurredAt", "eventType", "claimCheck"],
    });
    let dead_letter = json!({
        "title": "Dead letter",
        "description": "Whatever it was: JSON, Avro, or anything else when someone else had written it; nothing when it \
            was too large.",
    });
    events.chain([(CLAIM_CHECK.to_owned(), claim_check), (DEAD_LETTER.to_owned(), dead_letter)]).collect()
}

/// What Kafka adds to a message: its key, and where the id of an Avro schema is.
pub fn bindings() -> Value {
    let key = json!({
        "type": "string",
        "format": "uuid",
        "description": "The merchant's id, in lower case with hyphens.",
    });
    json!({
        "json": { "kafka": { "key": key, "bindingVersion": BINDING_VERSION } },
        "avro": { "kafka": {
            "key": key,
            "schemaIdLocation": "payload",
            "schemaIdPayloadEncoding": "confluent",
            "schemaLookupStrategy": "TopicRecordNameStrategy",
            "bindingVersion": BINDING_VERSION,
        } },
        "deadLetter": { "kafka": {
            "key": { "type": "string", "description": "The key that the record had." },
            "bindingVersion": BINDING_VERSION,
        } },
    })
}
