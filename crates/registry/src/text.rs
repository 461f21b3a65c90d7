//! A schema as somebody wrote it, and when two of them are one.

use apache_avro::Schema;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::RegistryError;

/// A schema that was checked.
#[derive(Clone, Debug)]
pub struct Text {
    /// As it was written, without the white space.
    pub json: String,
    pub schema: Schema,
    /// The same for texts that differ in white space, the order of attributes, and `{"type": "string"}` for `"string"`.
    /// Anything else makes another schema of it, even a word in a `doc`: whoever registers a text is to find it.
    pub fingerprint: [u8; 32],
}

/// Above it a text is looked at on a thread that may be kept busy: the longest take seconds.
const QUICK_BYTES_MAX: usize = 16 * 1024;

impl Text {
    pub async fn parse(text: &str) -> Result<Self, RegistryError> {
        if text.len() <= QUICK_BYTES_MAX {
            return Self::parse_now(text);
        }
        let text = text.to_owned();
        let parsed = tokio::task::spawn_blocking(move || Self::parse_now(&text)).await;
        parsed.map_err(|error| RegistryError::Broken(error.to_string()))?
    }

    fn parse_now(text: &str) -> Result<Self, RegistryError> {
        let refused = |reason: &dyn ToString| RegistryError::InvalidSchema(reason.to_string());
        let schema = schema::compatibility::parse(text).map_err(|error| refused(&error))?;
        let value: Value = serde_json::from_str(text).map_err(|error| refused(&error))?;
        let fingerprint = Sha256::digest(canonical(&value).to_string()).into();
        Ok(Self { json: value.to_string(), schema, fingerprint })
    }
}

fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        Value::Object(attributes) => match attributes.get("type") {
            Some(Value::String(name)) if attributes.len() == 1 => Value::String(name.clone()),
            _ => {
                let mut sorted: Vec<_> = attributes.iter().collect();
                sorted.sort_by_key(|(name, _)| *name);
                let sorted = sorted.into_iter().map(|(name, value)| (name.clone(), canonical(value)));
                Value::Object(sorted.collect::<Map<_, _>>())
            }
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(text: &str) -> [u8; 32] {
        Text::parse_now(text).unwrap().fingerprint
    }

    #[test]
    fn what_only_looks_different_is_one_schema() {
        let plain = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"string"}]}"#;
        for same in [
            r#"{ "type": "record", "name": "A", "fields": [{"name": "a", "type": "string"}] }"#,
            r#"{"name":"A","fields":[{"type":"string","name":"a"}],"type":"record"}"#,
            r#"{"type":"record","name":"A","fields":[{"name":"a","type":{"type":"string"}}]}"#,
        ] {
            assert_eq!(fingerprint(same), fingerprint(plain), "{same}");
        }
        for other in [
            r#"{"type":"record","name":"A","doc":"","fields":[{"name":"a","type":"string"}]}"#,
            r#"{"type":"record","name":"A","fields":[{"name":"a","type":"string","default":""}]}"#,
            r#"{"type":"record","name":"A","fields":[{"name":"a","type":"bytes"}]}"#,
        ] {
            assert_ne!(fingerprint(other), fingerprint(plain), "{other}");
        }
    }
}
