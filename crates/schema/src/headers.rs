//! The headers of the records on Kafka: what each means and looks like, in the order in which they stand.
//!
//! Every value is text. Names with `ce_` are those of `CloudEvents` 1.0 (binary mode of its Kafka protocol binding),
//! `traceparent` is W3C Trace Context's; `event-type` and `occurred-at` are older than both. Readers find a header by its
//! name, and pass over those that they do not know.

use serde_json::{Map, Value, json};

/// What `content-type` says of a value as JSON.
pub const CONTENT_TYPE_JSON: &str = "application/json";
/// What it says of a value in Avro, behind the five bytes of Confluent's framing.
pub const CONTENT_TYPE_AVRO: &str = "application/vnd.apache.avro";

#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub name: &'static str,
    pub meaning: &'static str,
    /// Whether there are records without it.
    pub is_optional: bool,
    /// Of ECMA 262, as JSON Schema has it.
    pub pattern: &'static str,
    pub example: &'static str,
}

const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
const MOMENT: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$";
const FROM_ONE: &str = "^[1-9][0-9]*$";
const FROM_ZERO: &str = "^(0|[1-9][0-9]*)$";
const ANYTHING: &str = "^";

const fn always(
    name: &'static str,
    pattern: &'static str,
    example: &'static str,
    meaning: &'static str,
) -> Header {
    Header { name, meaning, is_optional: false, pattern, example }
}

/// Of an event.
pub const EVENT_HEADERS: &[Header] = &[
    always("event-type", "^[A-Z][A-Za-z]*$", "PaymentCreated", "The name of the event."),
    always(
        "occurred-at",
        MOMENT,
        "2026-11-26T07:03:44.763135Z",
        "When it happened: RFC 3339 in UTC, to the microsecond.",
    ),
    always("event-version", FROM_ONE, "2", "The version of the event that the value is of."),
    always(
        "position",
        FROM_ONE,
        "1",
        "Its place among the events of its topic's partition, counted from 1 without gaps. A reader that notes the last \
         one it handled notices both a repetition and a loss.",
    ),
    always(
        "sequence",
        FROM_ONE,
        "2",
        "Its place among the events of its lane: of the partitions of this number of all three topics together.",
    ),
    always(
        "chain-hash",
        "^[0-9a-f]{64}$",
        "7378267137ebbff05059ca85ad9624fb475dc662c2e404eea59df809fca6e87b",
        "SHA-256 over the event and the hash of the event before it in the partition. It is over the JSON, whichever form \
         the value has.",
    ),
    always(
        "command-id",
        UUID,
        "01a216aa-d77a-7611-9894-7ac326f68bf7",
        "The request that caused it. All events of one request share it.",
    ),
    always(
        "content-type",
        r"^application/(json|vnd\.apache\.avro)$",
        CONTENT_TYPE_JSON,
        "The form of the value: `application/json`, or `application/vnd.apache.avro` behind Confluent's five bytes.",
    ),
    always("ce_specversion", r"^1\.0$", "1.0", "The version of CloudEvents."),
    always("ce_id", UUID, "01a216aa-d77a-7611-9894-7ac326f68bf9", "The event's id: `eventId` of the value."),
    always("ce_source", "^/fintechplatform$", "/fintechplatform", "Where it comes from."),
    always(
        "ce_type",
        r"^com\.fintechplatform\.[A-Z][A-Za-z]*\.v[1-9][0-9]*$",
        "com.fintechplatform.PaymentCreated.v2",
        "The name and the version of the event in one.",
    ),
    always(
        "ce_dataschema",
        "^urn:fintechplatform:event:[A-Z][A-Za-z]*:v[1-9][0-9]*$",
        "urn:fintechplatform:event:PaymentCreated:v2",
        "The name of the value's schema: the `$id` of its JSON Schema.",
    ),
    always("ce_time", MOMENT, "2026-11-26T07:03:44.763135Z", "The same as `occurred-at`."),
    always(
        "ce_subject",
        UUID,
        "01a216aa-d77a-7611-9894-7ac326f68bf8",
        "The payment, withdrawal or merchant that it happened to.",
    ),
    always(
        "traceparent",
        "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        "00-01a216aad77a761198947ac326f68bf7-98947ac326f68bf9-00",
        "W3C Trace Context: the trace of the request that it came of, and in it the span of the command.",
    ),
    Header {
        name: "claim-check",
        meaning: "Only where the event was too large for a record: the value then says where in the log it is.",
        is_optional: true,
        pattern: "^log$",
        example: "log",
    },
];

/// Of a dead letter: a record, as it was, that a consumer could not handle.
pub const DEAD_LETTER_HEADERS: &[Header] = &[
    always(
        "original-topic",
        "-events$",
        "payment-events",
        "The topic that it was on, without the prefix of `Kafka:Prefix`.",
    ),
    always(
        "original-event-type",
        ANYTHING,
        "PaymentCompleted",
        "What its header `event-type` said; `unknown` where it had none.",
    ),
    always(
        "failure-reason",
        ANYTHING,
        "it has no header position, so it is not of this log",
        "Why it could not be handled.",
    ),
    always(
        "retry-count",
        FROM_ZERO,
        "0",
        "How many attempts were made to handle it; 0 where it was no event of ours.",
    ),
    always("consumer-group", ANYTHING, "fintechplatform-api", "The consumer group that could not handle it."),
    always("dlq-timestamp", MOMENT, "2026-11-26T07:05:04.099301Z", "When it was set aside."),
    always("consumer", "^[a-z_]+$", "payment_log", "The consumer in the group."),
    always("original-partition", FROM_ZERO, "8", "The partition that it was in."),
    always(
        "dead-letter-id",
        UUID,
        "01a216ac-0d63-77d2-b71c-609f339a3de3",
        "What `fintech dead-letters show` knows it by.",
    ),
    Header {
        name: "claim-check",
        meaning: "Only where it was too large: it has no value here, and is kept under its id in the database.",
        is_optional: true,
        pattern: "^dead_letters$",
        example: "dead_letters",
    },
];

/// The JSON Schema of headers, as an object of texts.
pub fn json_schema(headers: &[Header]) -> Value {
    let properties: Map<String, Value> = headers
        .iter()
        .map(|header| {
            let schema = json!({
                "type": "string",
                "description": header.meaning,
                "pattern": header.pattern,
                "examples": [header.example],
            });
            (header.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<&str> =
        headers.iter().filter(|header| !header.is_optional).map(|header| header.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": true })
}
