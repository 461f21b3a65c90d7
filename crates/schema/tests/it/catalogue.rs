use std::{collections::BTreeSet, fs, path::Path};

use apache_avro::Schema;
use domain::event::EVENT_TYPES;
use schema::{catalogue::CATALOGUE, codec::Codec};

/// What lies in `schemas/` is in the catalogue and the other way round.
#[test]
fn every_file_is_a_version_of_an_event_and_every_version_has_its_file() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas"));
    let mut files = BTreeSet::new();
    let folders = fs::read_dir(folder).unwrap().map(Result::unwrap);
    for stream in folders.filter(|entry| entry.file_type().unwrap().is_dir()) {
        for file in fs::read_dir(stream.path()).unwrap() {
            let path = file.unwrap().path();
            // The others are derived from these, or examples.
            if path.extension().is_some_and(|extension| extension == "avsc") {
                let name = path.file_name().unwrap().to_str().unwrap();
                files.insert(format!("{}/{name}", stream.file_name().to_str().unwrap()));
            }
        }
    }
    let entries: BTreeSet<String> = CATALOGUE
        .iter()
        .map(|entry| format!("{}/{}.v{}.avsc", entry.stream.name(), entry.event_type, entry.version))
        .collect();
    assert_eq!(files, entries);
}

/// Each event has all versions from 1 to the one that is written.
#[test]
fn the_versions_of_an_event_are_counted_without_gaps_up_to_the_one_that_is_written() {
    for (stream, name, version) in EVENT_TYPES {
        let of = CATALOGUE.iter().filter(|entry| entry.event_type == *name);
        let versions: Vec<u16> = of.clone().map(|entry| entry.version).collect();
        assert_eq!(versions, (1..=*version).collect::<Vec<_>>(), "{name}");
        assert!(of.clone().all(|entry| entry.stream == *stream), "{name}");
    }
    let known: BTreeSet<&str> = EVENT_TYPES.iter().map(|(_, name, _)| *name).collect();
    assert!(CATALOGUE.iter().all(|entry| known.contains(entry.event_type)));
}

#[test]
fn every_schema_is_avro_of_the_name_of_its_event() {
    for entry in CATALOGUE {
        let schema = Schema::parse_str(entry.avro).unwrap();
        let name = schema.name().unwrap().to_string();
        assert_eq!(name, format!("com.fintechplatform.{}", entry.event_type));
        assert_eq!(Codec::new(&schema).unwrap().name(), entry.event_type);
    }
}

/// A version may add fields that may be absent, and change nothing else. Failure modes 76, 77 and 80.
#[test]
fn a_version_adds_fields_that_may_be_absent_and_changes_nothing_else() {
    for entry in CATALOGUE.iter().filter(|entry| entry.version > 1) {
        let before = schema::catalogue::find(entry.event_type, entry.version - 1).unwrap();
        let fields = |avro: &str| -> Vec<serde_json::Value> {
            let schema: serde_json::Value = serde_json::from_str(avro).unwrap();
            schema["fields"].as_array().unwrap().clone()
        };
        let (old, new) = (fields(before.avro), fields(entry.avro));
        assert_eq!(new[..old.len()], old[..], "{} {}", entry.event_type, entry.version);
        assert!(new.len() > old.len());
        for field in &new[old.len()..] {
            assert_eq!(field["type"][0], "null", "{field}");
            assert!(field["default"].is_null() && field.get("default").is_some(), "{field}");
        }
    }
}
