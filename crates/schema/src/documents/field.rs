//! The fields of an event as a document tells them.

use apache_avro::{Schema, schema::RecordSchema};

use crate::{
    catalogue::{CATALOGUE, Entry},
    codec::{Codec, Kind},
};

pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub is_optional: bool,
    pub meaning: String,
}

pub struct Fields {
    /// Of the event as a whole.
    pub meaning: String,
    pub all: Vec<Field>,
}

impl Fields {
    pub fn of(entry: &Entry) -> Self {
        let schema = Schema::parse_str(entry.avro).expect("a schema of the catalogue is one");
        let codec = Codec::new(&schema).expect("a schema of the catalogue is an event's");
        let Schema::Record(RecordSchema { doc, fields, .. }) = schema else {
            unreachable!("an event's schema is a record");
        };
        let all = codec.fields.into_iter().zip(fields).map(|(field, told)| Field {
            name: field.name,
            kind: field.kind,
            is_optional: field.branches.is_some(),
            meaning: told.doc.unwrap_or_default(),
        });
        Self { meaning: doc.unwrap_or_default(), all: all.collect() }
    }
}

/// The first version of the event that has the field.
pub fn since(entry: &Entry, field: &str) -> u16 {
    let versions = CATALOGUE.iter().filter(|other| other.event_type == entry.event_type);
    let having = versions.filter(|other| Fields::of(other).all.iter().any(|other| other.name == field));
    having.map(|other| other.version).min().unwrap_or(entry.version)
}
