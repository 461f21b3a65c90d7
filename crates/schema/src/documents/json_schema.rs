//! An event's JSON as JSON Schema 2020-12, derived from its Avro.

use serde_json::{Map, Value, json};

use super::field::{Field, Fields};
use crate::{catalogue::Entry, codec::Kind};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const OPEN: &str =
    "A later version may add fields, and changes nothing else: pass over those that you do not know.";

/// The schema that its `$id` names. What may be absent is left out and is never null.
pub fn json_schema(entry: &Entry) -> Value {
    let mut schema = Map::from_iter([("$schema".to_owned(), DIALECT.into())]);
    schema.extend(without_dialect(entry));
    schema.into()
}

/// The same, in words that the dialects since draft 7 share.
pub fn without_dialect(entry: &Entry) -> Map<String, Value> {
    let fields = Fields::of(entry);
    let required: Vec<&str> =
        fields.all.iter().filter(|field| !field.is_optional).map(|field| field.name.as_str()).collect();
    let properties: Map<String, Value> =
        fields.all.iter().map(|field| (field.name.clone(), property(field))).collect();
    let members = [
        ("$id", entry.urn().into()),
        ("title", format!("{}, version {}", entry.event_type, entry.version).into()),
        ("description", fields.meaning.into()),
        ("type", "object".into()),
        ("properties", properties.into()),
        ("required", required.into()),
        ("additionalProperties", true.into()),
        ("$comment", OPEN.into()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn property(field: &Field) -> Value {
    let mut schema = match &field.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Uuid => json!({
            "type": "string",
            "format": "uuid",
            "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        }),
        Kind::Integer => {
            json!({ "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX })
        }
        Kind::Moment => json!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
        }),
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::Symbol(symbols) => match symbols.as_slice() {
            [symbol] => json!({ "type": "string", "const": symbol }),
            symbols => json!({ "type": "string", "enum": symbols }),
        },
    };
    schema["description"] = field.meaning.clone().into();
    schema
}
