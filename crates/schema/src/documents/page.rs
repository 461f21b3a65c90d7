//! The catalogue of events as a page for people, in Markdown.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    COMMAND,
    channel::{TOPICS, Topic},
    example::{self, Example},
    field::{Field, Fields, since},
    occasion::occasion,
};
use crate::{
    catalogue::{CATALOGUE, Entry},
    codec::Kind,
    headers::{DEAD_LETTER_HEADERS, EVENT_HEADERS, Header},
};

const INTRODUCTION: &str = "\
Every change of a merchant, a payment or a withdrawal is an event. It is written once to the log, in the transaction that \
makes the change, and copied once to its Kafka topic: the key is the merchant's id, so a merchant's events lie in one \
partition, in the order in which they happened. Read the topics with `isolation.level=read_committed`, and pass over fields \
and headers that you do not know: a new version of an event only adds some.";

const TYPES: &str = "\
The JSON of a value leaves out what is absent: nothing in it is null, and what a meaning below calls null is not there. The \
types of fields:

| type | JSON | Avro |
|---|---|---|
| text | string | `string` |
| uuid | string, in lower case with hyphens | `string` with the logical type `uuid` |
| integer | number without a fraction, up to 64 bits | `long` |
| time | string: RFC 3339 in UTC, always with six digits of the second | `long` with the logical type `timestamp-micros` |
| truth | `true` or `false` | `boolean` |
| constant | string | `enum` with this one symbol |
";

const FORMS: &str = "\
A value is JSON, or Avro behind the five bytes of Confluent's serializers (a zero, and the id of the schema in the registry). \
`Schemas:Format` sets which of them is written; the header `content-type` says which a record has. The schemas are in \
[`schemas/`](../schemas): each version in Avro (`.avsc`) and as JSON Schema (`.schema.json`), and a record of each under \
[`schemas/examples/`](../schemas/examples), taken from a topic of a running platform. The same for programs is \
[`asyncapi.json`](asyncapi.json).";

/// The page.
pub fn page() -> String {
    let mut page =
        format!("<!-- Derived from schemas/. Written by: {COMMAND} -->\n\n# Events\n\n{INTRODUCTION}\n");
    push(&mut page, &format!("\n{FORMS}\n\n"));
    contents(&mut page);
    push(&mut page, "\n## Headers\n\nAll values are text. Each record of an event has:\n\n");
    headers(EVENT_HEADERS, &mut page);
    push(&mut page, &format!("\n## Types\n\n{TYPES}"));
    for topic in &TOPICS {
        push(&mut page, &format!("\n## {}\n\n{}\n", topic.name, topic.meaning));
        match topic.stream {
            Some(_) => events_of(topic).for_each(|entry| event(entry, &mut page)),
            None => dead_letters(&mut page),
        }
    }
    push(&mut page, "\n## Events that are too large\n\n");
    claim_check(&mut page);
    page
}

fn push(page: &mut String, text: &str) {
    page.push_str(text);
}

/// The newest version of each event of a topic.
fn events_of(topic: &Topic) -> impl Iterator<Item = &'static Entry> {
    let stream = topic.stream;
    CATALOGUE.iter().filter(move |entry| {
        Some(entry.stream) == stream && !versions(entry).any(|other| other.version > entry.version)
    })
}

fn versions(entry: &Entry) -> impl DoubleEndedIterator<Item = &'static Entry> {
    let event_type = entry.event_type;
    CATALOGUE.iter().filter(move |other| other.event_type == event_type)
}

fn contents(page: &mut String) {
    push(page, "| topic | events |\n|---|---|\n");
    for topic in &TOPICS {
        let mut names: Vec<String> = events_of(topic)
            .map(|entry| format!("[{0}](#{1})", entry.event_type, entry.event_type.to_lowercase()))
            .collect();
        if names.is_empty() {
            names.push("records that could not be handled".to_owned());
        }
        push(page, &format!("| [{0}](#{0}) | {1} |\n", topic.name, names.join(", ")));
    }
}

fn headers(headers: &[Header], page: &mut String) {
    push(page, "| header | meaning | example |\n|---|---|---|\n");
    for Header { name, meaning, example, .. } in headers {
        push(page, &format!("| `{name}` | {meaning} | `{example}` |\n"));
    }
}

fn event(entry: &Entry, page: &mut String) {
    let fields = Fields::of(entry);
    let when = occasion(entry.event_type).unwrap_or_default();
    push(page, &format!("\n### {}\n\n{} When: {when}\n\n", entry.event_type, fields.meaning));
    push(page, "| field | type | meaning | since |\n|---|---|---|---|\n");
    for field in &fields.all {
        let Field { name, meaning, is_optional, kind } = field;
        let optional = if *is_optional { ", may be absent" } else { "" };
        let since = since(entry, name);
        push(page, &format!("| `{name}` | {}{optional} | {meaning} | {since} |\n", type_of(kind)));
    }
    push(
        page,
        &format!("\nSchemas: {}.\n", versions(entry).rev().map(schemas).collect::<Vec<_>>().join("; ")),
    );
    let example = Example::parse(entry.example);
    let (json, avro) = (example.json().len(), example.avro_bytes(entry));
    push(page, &format!("\nAn example, {json} bytes as JSON and {avro} in Avro:\n\n"));
    record(&example, page);
}

fn type_of(kind: &Kind) -> String {
    let name = match kind {
        Kind::Text => "text",
        Kind::Uuid => "uuid",
        Kind::Integer => "integer",
        Kind::Moment => "time",
        Kind::Truth => "truth",
        Kind::Symbol(symbols) => match symbols.as_slice() {
            [symbol] => return format!("constant `{symbol}`"),
            symbols => return format!("one of `{}`", symbols.join("`, `")),
        },
    };
    name.to_owned()
}

fn schemas(entry: &Entry) -> String {
    let (topic, name) = (entry.stream.name(), entry.name());
    format!(
        "version {} [Avro](../schemas/{topic}/{name}.avsc), [JSON Schema](../schemas/{topic}/{name}.schema.json) \
         (`{}`), [example](../schemas/examples/{name}.json)",
        entry.version,
        entry.urn()
    )
}

/// A record as its file has it, with the headers one a line.
fn record(example: &Example, page: &mut String) {
    let mut text = format!("key: {}\n", example.key);
    for (name, value) in &example.headers {
        let value = value.as_str().unwrap_or_default();
        writeln!(text, "{name}: {value}").expect("a text takes what is written to it");
    }
    let value = Value::from(example.value.clone());
    push(page, &format!("```json\n{value:#}\n```\n\n```text\n{text}```\n"));
}

fn dead_letters(page: &mut String) {
    push(
        page,
        "\nKey and value are those of the record, byte for byte, and it lies in the partition of the same number. Its own \
         headers are:\n\n",
    );
    headers(DEAD_LETTER_HEADERS, page);
    push(page, "\nAn example, of a record that another program had written to `payment-events`:\n\n");
    record(&Example::parse(example::DEAD_LETTER), page);
}

fn claim_check(page: &mut String) {
    push(
        page,
        "The record of an event that is larger than `Kafka:MessageBytesMax` has the headers of the event, the header \
         `claim-check`, and as its value, always in JSON, where in the log it is: topic, partition and position.\n\n",
    );
    record(&Example::parse(example::CLAIM_CHECK), page);
}
