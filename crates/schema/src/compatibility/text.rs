//! The text of a schema, read more strictly than the library reads it: what is let in here is kept for good, and read by
//! others. The library passes over fields that are no objects and aliases that are no names, lets a name be defined twice,
//! a default be of any branch of its union though its own reader then fails, and a union have no branches though its own
//! reader then panics.

use std::collections::HashSet;

use apache_avro::{
    Schema,
    schema::{RecordField, RecordSchema},
};
use serde_json::{Map, Value};

use super::{
    names::{Names, all_parts, definition},
    underlying::{Told, Underlying},
};

pub const SCHEMA_BYTES_MAX: usize = 512 * 1024;
/// Of one union. The library tries a default with each of them.
pub const BRANCHES_MAX: usize = 200;
/// Arrays and objects within each other. The library's time doubles with each of them that stands in a union.
pub const DEFAULT_DEPTH_MAX: usize = 8;
/// The library may repeat the whole schema.
const REASON_CHARS_MAX: usize = 500;

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// Why a text is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("the schema has {0} bytes, and may have {SCHEMA_BYTES_MAX}")]
    TooLarge(usize),
    #[error("the schema is not JSON: {0}")]
    NotJson(String),
    #[error("the schema is not Avro: {0}")]
    NotAvro(String),
    #[error("the schema is not Avro: {}{what}", at(place))]
    Flaw {
        /// A JSON pointer.
        place: String,
        what: String,
    },
}

fn at(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!("at {place}: ") }
}

/// A schema of its text.
pub fn parse(text: &str) -> Result<Schema, SchemaError> {
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(SchemaError::TooLarge(text.len()));
    }
    let value: Value = serde_json::from_str(text).map_err(|error| SchemaError::NotJson(error.to_string()))?;
    check_shape(&value, "")?;
    let not_avro = |error: apache_avro::Error| {
        SchemaError::NotAvro(error.to_string().chars().take(REASON_CHARS_MAX).collect())
    };
    let schema = Schema::parse(&value).map_err(not_avro)?;
    check_names(&schema)?;
    check_fields(&schema)?;
    Ok(schema)
}

fn flaw(place: &str, what: impl Into<String>) -> SchemaError {
    SchemaError::Flaw { place: place.to_owned(), what: what.into() }
}

/// What the library passes over, or should not be let try.
fn check_shape(value: &Value, place: &str) -> Result<(), SchemaError> {
    match value {
        Value::Array(branches) => {
            if !(1..=BRANCHES_MAX).contains(&branches.len()) {
                let count = branches.len();
                return Err(flaw(
                    place,
                    format!("a union has 1 to {BRANCHES_MAX} branches, and this has {count}"),
                ));
            }
            let mut branches = branches.iter().enumerate();
            branches.try_for_each(|(at, branch)| check_shape(branch, &format!("{place}/{at}")))
        }
        Value::Object(attributes) => {
            check_aliases(attributes, place, |alias| alias.trim_start_matches('.').split('.').all(is_name))?;
            let below = |key: &str| match attributes.get(key) {
                Some(below) => check_shape(below, &format!("{place}/{key}")),
                None => Ok(()),
            };
            match attributes.get("type") {
                Some(Value::String(name)) if name == "array" => below("items"),
                Some(Value::String(name)) if name == "map" => below("values"),
                Some(Value::String(name)) if name == "record" => check_field_shapes(attributes, place),
                _ => below("type"),
            }
        }
        _ => Ok(()),
    }
}

fn check_field_shapes(record: &Map<String, Value>, place: &str) -> Result<(), SchemaError> {
    let Some(Value::Array(fields)) = record.get("fields") else {
        return Err(flaw(place, "a record has an array of fields"));
    };
    for (at, field) in fields.iter().enumerate() {
        let place = format!("{place}/fields/{at}");
        let Value::Object(field) = field else {
            return Err(flaw(&place, "a field is an object with a name and a type"));
        };
        check_aliases(field, &place, is_name)?;
        if field.get("default").is_some_and(|default| is_deeper(default, DEFAULT_DEPTH_MAX)) {
            return Err(flaw(&place, format!("a default nests no deeper than {DEFAULT_DEPTH_MAX}")));
        }
        if let Some(schema) = field.get("type") {
            check_shape(schema, &format!("{place}/type"))?;
        }
    }
    Ok(())
}

fn check_aliases(
    attributes: &Map<String, Value>,
    place: &str,
    is_valid: impl Fn(&str) -> bool,
) -> Result<(), SchemaError> {
    let is_valid = |alias: &Value| alias.as_str().is_some_and(&is_valid);
    match attributes.get("aliases") {
        None => Ok(()),
        Some(Value::Array(aliases)) if aliases.iter().all(is_valid) => Ok(()),
        Some(_) => Err(flaw(place, "aliases are an array of names")),
    }
}

fn is_name(name: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_valid) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn is_deeper(value: &Value, depth: usize) -> bool {
    let is_deeper = |below: &Value| depth == 0 || is_deeper(below, depth - 1);
    match value {
        Value::Array(items) => items.iter().any(is_deeper),
        Value::Object(fields) => fields.values().any(is_deeper),
        _ => false,
    }
}

/// Each is defined once, is no other's alias, and is no primitive's; and what is referred to is defined.
fn check_names(schema: &Schema) -> Result<(), SchemaError> {
    let names = Names::of(schema);
    let mut seen = HashSet::new();
    for part in all_parts(schema) {
        if let Schema::Ref { name } = part.schema
            && names.find(name).is_none()
        {
            return Err(flaw(&part.place, format!("{name} is referred to and not defined")));
        }
        let Some(name) = definition(part.schema) else { continue };
        if name.namespace().is_none() && PRIMITIVES.contains(&name.name()) {
            return Err(flaw(&part.place, format!("{name} is a primitive type and cannot be defined")));
        }
        let aliases = part.schema.aliases().into_iter().flatten();
        let aliases = aliases.map(|alias| alias.fully_qualified_name(name.namespace()).into_owned());
        let own: HashSet<_> = std::iter::once(name.clone()).chain(aliases).collect();
        if let Some(name) = own.iter().find(|name| seen.contains(*name)) {
            return Err(flaw(&part.place, format!("{name} is defined twice, or is another's alias")));
        }
        seen.extend(own);
    }
    Ok(())
}

fn check_fields(schema: &Schema) -> Result<(), SchemaError> {
    let names = Names::of(schema);
    for part in all_parts(schema) {
        let Schema::Record(RecordSchema { fields, .. }) = part.schema else { continue };
        let mut seen = HashSet::new();
        for (at, field) in fields.iter().enumerate() {
            let place = format!("{}/fields/{at}", part.place);
            let own: HashSet<_> = std::iter::once(&field.name).chain(&field.aliases).collect();
            if let Some(name) = own.iter().find(|name| seen.contains(*name)) {
                return Err(flaw(&place, format!("{name} is another field's name or alias")));
            }
            seen.extend(own);
            check_default(&names, field, &place)?;
        }
    }
    Ok(())
}

fn check_default(names: &Names<'_>, field: &RecordField, place: &str) -> Result<(), SchemaError> {
    let Some(default) = &field.default else { return Ok(()) };
    if fits(names, &field.schema, default) {
        return Ok(());
    }
    let first = match &field.schema {
        Schema::Union(_) => {
            ": it has to be of the first branch, which is the only one that all readers take it for"
        }
        _ => "",
    };
    let told: String = default.to_string().chars().take(REASON_CHARS_MAX).collect();
    let (name, schema) = (&field.name, Told(&field.schema));
    Err(flaw(place, format!("the default {told} of {name} is no {schema}{first}")))
}

/// Whether a default is of its type, by the specification's table. The default of a union is of its first branch: that was
/// the rule up to 1.11, and since 1.12, which allows any, it is what old and new readers agree on.
fn fits(names: &Names<'_>, schema: &Schema, default: &Value) -> bool {
    match Underlying::of(schema) {
        Underlying::Null => default.is_null(),
        Underlying::Boolean => default.is_boolean(),
        Underlying::Int => default.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Underlying::Long => default.as_i64().is_some(),
        Underlying::Float | Underlying::Double => default.is_number(),
        Underlying::String => default.is_string(),
        Underlying::Bytes => default.as_str().is_some_and(is_bytes),
        Underlying::Fixed(fixed) => {
            default.as_str().is_some_and(|text| is_bytes(text) && text.chars().count() == fixed.size)
        }
        Underlying::Enum(symbols) => {
            default.as_str().is_some_and(|text| symbols.symbols.iter().any(|symbol| symbol == text))
        }
        Underlying::Array(items) => {
            default.as_array().is_some_and(|all| all.iter().all(|item| fits(names, items, item)))
        }
        Underlying::Map(values) => {
            default.as_object().is_some_and(|all| all.values().all(|value| fits(names, values, value)))
        }
        Underlying::Union(union) => union.variants().first().is_some_and(|first| fits(names, first, default)),
        Underlying::Record(record) => default.as_object().is_some_and(|all| {
            record.fields.iter().all(|field| match all.get(&field.name) {
                Some(value) => fits(names, &field.schema, value),
                None => field.default.is_some(),
            })
        }),
        Underlying::Ref(name) => names.find(name).is_some_and(|found| fits(names, found.schema, default)),
    }
}

/// Bytes are written as the characters of the same numbers.
fn is_bytes(text: &str) -> bool {
    text.chars().all(|byte| u32::from(byte) <= 0xff)
}
