//! What is written about the events, held together with the files, the examples and the types.

use std::{collections::BTreeSet, env, fs, path::Path};

use domain::{
    chain::{GENESIS, Hash, Link, seal},
    event::Event,
    id::{CommandId, EventId, MerchantId},
    lane::{LANES_DEFAULT, lane_of},
    time::Timestamp,
};
use jsonschema::Validator;
use proptest::prelude::*;
use schema::{
    catalogue::{CATALOGUE, Entry},
    codec::Codec,
    documents::{CLAIM_CHECK, DEAD_LETTER, Example, files, json_schema, occasion},
    headers::{self, DEAD_LETTER_HEADERS, EVENT_HEADERS, Header},
};
use serde_json::{Map, Value, json};

use crate::types::{drawn, events};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Set, it makes the test write the files instead.
const UPDATE: &str = "UPDATE_DOCUMENTS";

#[test]
fn the_files_are_what_is_derived_from_the_schemas() {
    let files = files();
    for (path, text) in &files {
        let file = Path::new(ROOT).join(path);
        if env::var_os(UPDATE).is_some() {
            fs::write(&file, text).unwrap();
        }
        // Not compared as texts by `assert_eq`: what it printed would be as long as both.
        assert!(
            fs::read_to_string(&file).is_ok_and(|found| found == *text),
            "{path} is not what the schemas say: write it by {UPDATE}=1 cargo test -p schema --test it documents"
        );
    }
    let derived: BTreeSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    for path in schema_files() {
        assert!(!path.ends_with(".schema.json") || derived.contains(path.as_str()), "{path} is no event's");
    }
}

/// The files in the folders of `schemas/`, by their path from the root.
fn schema_files() -> Vec<String> {
    let mut found = Vec::new();
    let folders = fs::read_dir(Path::new(ROOT).join("schemas")).unwrap().map(Result::unwrap);
    for folder in folders.filter(|entry| entry.file_type().unwrap().is_dir()) {
        for file in fs::read_dir(folder.path()).unwrap() {
            let (folder, file) = (folder.file_name(), file.unwrap().file_name());
            found.push(format!("schemas/{}/{}", folder.to_str().unwrap(), file.to_str().unwrap()));
        }
    }
    found
}

#[test]
fn every_example_is_of_the_catalogue_and_every_event_has_its_occasion() {
    let mut names: BTreeSet<String> = CATALOGUE.iter().map(Entry::name).collect();
    names.extend(["ClaimCheck".to_owned(), "DeadLetter".to_owned()]);
    let expected: BTreeSet<String> =
        names.iter().map(|name| format!("schemas/examples/{name}.json")).collect();
    let found: BTreeSet<String> =
        schema_files().into_iter().filter(|path| path.starts_with("schemas/examples/")).collect();
    assert_eq!(found, expected);
    assert!(CATALOGUE.iter().all(|entry| occasion(entry.event_type).is_some()));
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(schema).unwrap()
}

fn refuses(schema: &Validator, event: &Map<String, Value>) -> bool {
    !schema.is_valid(&Value::from(event.clone()))
}

#[test]
fn an_example_is_an_event_as_the_domain_writes_it() {
    for (entry, example) in examples() {
        let json = example.json();
        let event = event(entry, &example);
        assert_eq!(event.to_json(), json);
        assert_eq!(event.id.to_string(), example.header("ce_id"));
        assert_eq!(event.merchant_id().to_string(), example.key);
        let codec = Codec::parse(entry.avro).unwrap();
        let mut avro = Vec::new();
        codec.write(&json, &mut avro).unwrap();
        assert_eq!(codec.read(&avro).unwrap(), json);
    }
}

fn examples() -> impl Iterator<Item = (&'static Entry, Example)> {
    CATALOGUE.iter().map(|entry| (entry, Example::parse(entry.example)))
}

fn event(entry: &Entry, example: &Example) -> Event {
    let id = |text: &str| uuid::Uuid::parse_str(text).unwrap();
    Event::parse(
        EventId(id(example.value["eventId"].as_str().unwrap())),
        CommandId(id(example.header("command-id"))),
        Timestamp::parse(example.value["occurredAt"].as_str().unwrap()).unwrap(),
        entry.event_type,
        &example.json(),
    )
    .unwrap()
}

/// They were taken from a run and not made up: where the event before one is an example too, or there is none before it,
/// its hash is over both.
#[test]
fn the_examples_hold_the_chain() {
    let mut proven = 0;
    for (entry, example) in examples() {
        let position: i64 = example.header("position").parse().unwrap();
        let before = examples().find(|(other, before)| {
            other.stream == entry.stream
                && before.key == example.key
                && before.header("position") == (position - 1).to_string()
        });
        let previous = match before {
            Some((_, before)) => hash(&before),
            None if position == 1 => GENESIS,
            None => continue,
        };
        let json = example.json();
        // That of version 1 is of another run, which had four lanes.
        let lanes = if entry.name() == "PaymentCreated.v1" { 4 } else { LANES_DEFAULT };
        let link = Link {
            stream: entry.stream,
            lane: lane_of(example.key.parse::<MerchantId>().unwrap(), lanes),
            position,
            sequence: example.header("sequence").parse().unwrap(),
            event_type: entry.event_type,
            version: entry.version,
            occurred_at: Timestamp::parse(example.header("occurred-at")).unwrap(),
            payload: json.as_bytes(),
        };
        assert_eq!(hash(&example), seal(&previous, &link), "{}", entry.name());
        proven += 1;
    }
    assert!(proven >= 8, "{proven}");
}

fn hash(example: &Example) -> Hash {
    let text = example.header("chain-hash");
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

/// Each header is there, in its place, and looks as it is said to look.
#[test]
fn the_headers_of_the_examples_are_those_that_are_listed() {
    let check = |example: &Example, listed: &[Header], is_claim_check: bool| {
        let always = listed.iter().filter(|header| is_claim_check || !header.is_optional);
        let names: Vec<&str> = always.map(|header| header.name).collect();
        assert_eq!(example.headers.keys().collect::<Vec<_>>(), names);
        let schema = validator(&headers::json_schema(listed));
        assert!(schema.is_valid(&example.headers.clone().into()), "{:?}", example.headers);
    };
    for (entry, example) in examples() {
        check(&example, EVENT_HEADERS, false);
        assert_eq!(example.header("event-type"), entry.event_type);
        assert_eq!(example.header("event-version"), entry.version.to_string());
        assert_eq!(example.header("ce_type"), format!("com.fintechplatform.{}", entry.name()));
        assert_eq!(example.header("ce_dataschema"), entry.urn());
        assert_eq!(example.header("ce_subject"), event(entry, &example).body.subject().to_string());
    }
    check(&Example::parse(CLAIM_CHECK), EVENT_HEADERS, true);
    check(&Example::parse(DEAD_LETTER), DEAD_LETTER_HEADERS, false);
    for header in EVENT_HEADERS.iter().chain(DEAD_LETTER_HEADERS) {
        let schema = validator(&json!({ "pattern": header.pattern }));
        assert!(schema.is_valid(&header.example.into()), "{}", header.name);
    }
}

/// In both directions: old readers check new events, and new readers old ones. Failure mode 108.
#[test]
fn an_example_is_valid_by_every_version_of_its_schema() {
    for (entry, example) in examples() {
        for other in CATALOGUE.iter().filter(|other| other.event_type == entry.event_type) {
            let schema = json_schema(other);
            assert_eq!(schema["$id"], other.urn());
            let result =
                validator(&schema).validate(&example.value.clone().into()).map_err(|e| e.to_string());
            assert_eq!(result, Ok(()), "{} by {}", entry.name(), other.name());
        }
        let mut later = example.value;
        later.insert("channel".to_owned(), "web".into());
        assert!(!refuses(&validator(&json_schema(entry)), &later));
    }
}

/// A JSON Schema says no more and no less than its Avro.
#[test]
fn a_json_schema_refuses_what_avro_cannot_say() {
    for (entry, example) in examples() {
        let (schema, codec) = (validator(&json_schema(entry)), Codec::parse(entry.avro).unwrap());
        for field in example.value.keys() {
            let with = |value: Value| {
                let mut event = example.value.clone();
                event.insert(field.clone(), value);
                event
            };
            let mut without = example.value.clone();
            without.shift_remove(field);
            let other_id = "01A216AA-d77a-7611-9894-7ac326f68bf9";
            let changed = [
                without,
                with(Value::Null),
                with(json!({})),
                with(json!(1)),
                with(json!(1.5)),
                with(json!("1")),
                with(json!(true)),
                with(json!(i64::MIN)),
                with(json!(other_id)),
                with(json!(other_id.to_lowercase())),
                with(json!("2026-11-26T07:03:44.763135Z")),
            ];
            for event in changed {
                let is_avro = codec.write(&Value::from(event.clone()).to_string(), &mut Vec::new()).is_ok();
                assert_eq!(!refuses(&schema, &event), is_avro, "{field} of {event:?}");
            }
        }
        // What a reader in JavaScript would take for it is told apart by the bound alone.
        if example.value.contains_key("amountInMinorUnits") {
            let mut above = example.value.clone();
            above.insert("amountInMinorUnits".to_owned(), json!(u64::MAX));
            assert!(refuses(&schema, &above));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the domain writes is valid.
    #[test]
    fn what_the_domain_writes_is_valid_by_its_json_schema(drawn in drawn()) {
        for event in events(&drawn) {
            let entry = schema::catalogue::find(event.body.event_type(), event.body.version()).unwrap();
            let value: Value = serde_json::from_str(&event.to_json()).unwrap();
            let result = validator(&json_schema(entry)).validate(&value).map_err(|error| error.to_string());
            prop_assert_eq!(result, Ok(()));
        }
    }
}
