//! What a level asks of a new version, and of which versions before it.

use schema::{
    catalogue::CATALOGUE,
    compatibility::{Kind, Level, check},
};

use super::{holding, schema};

const RECORD: &str = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"long"}MORE]}"#;

fn with(more: &str) -> String {
    RECORD.replace("MORE", more)
}

#[track_caller]
fn assert_levels(old: &str, new: &str, is_backward: bool, is_forward: bool) {
    let (old, new) = (schema(old), schema(new));
    for level in Level::ALL {
        let expected = match level {
            Level::None => true,
            Level::Backward | Level::BackwardTransitive => is_backward,
            Level::Forward | Level::ForwardTransitive => is_forward,
            Level::Full | Level::FullTransitive => is_backward && is_forward,
        };
        let found = check(level, &new, &[(1, &old)]);
        assert_eq!(found.is_empty(), expected, "{}: {found:?}", level.name());
    }
}

#[test]
fn a_level_has_the_name_that_registries_give_it() {
    for (level, name) in Level::ALL.into_iter().zip(Level::NAMES) {
        assert_eq!((level.name(), Level::parse(name)), (name, Some(level)));
        assert_eq!(level.is_transitive(), name.ends_with("_TRANSITIVE"));
    }
    for name in ["", "backward", "BACKWARD ", "FULL-TRANSITIVE"] {
        assert_eq!(Level::parse(name), None, "{name}");
    }
}

#[test]
fn a_field_comes_and_goes_freely_only_with_a_default() {
    let required = with(r#",{"name":"b","type":"string"}"#);
    let optional = with(r#",{"name":"b","type":["null","string"],"default":null}"#);
    assert_levels(&with(""), &optional, true, true);
    assert_levels(&optional, &with(""), true, true);
    assert_levels(&with(""), &required, false, true);
    assert_levels(&required, &with(""), true, false);
}

#[test]
fn what_gets_wider_is_backward_compatible_and_what_gets_narrower_forward() {
    let symbols = |symbols: &str| holding(&format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]}}"#));
    for (narrow, wide) in [
        (holding("\"long\""), holding(r#"["null","long"]"#)),
        (holding("\"int\""), holding("\"long\"")),
        (symbols(r#""X""#), symbols(r#""X","Y""#)),
    ] {
        assert_levels(&narrow, &wide, true, false);
        assert_levels(&wide, &narrow, false, true);
    }
    assert_levels(&holding("\"bytes\""), &holding("\"string\""), true, true);
    assert_levels(&holding("\"long\""), &holding("\"string\""), false, false);
}

#[test]
fn only_a_transitive_level_looks_behind_the_last_version() {
    let [first, second, third] = [
        with(r#",{"name":"b","type":"string"}"#),
        with(""),
        with(r#",{"name":"b","type":"long","default":0}"#),
    ];
    let [first, second, third] = [first, second, third].map(|text| schema(&text));
    let earlier = [(1, &first), (2, &second)];
    for level in [Level::Backward, Level::Forward, Level::Full] {
        assert_eq!(check(level, &third, &earlier), [], "{}", level.name());
    }
    let found = check(Level::FullTransitive, &third, &earlier);
    let messages: Vec<_> = found.iter().map(|what| what.message.as_str()).collect();
    assert_eq!(messages.len(), 2);
    assert!(
        messages[0].starts_with("The new schema cannot read version 1: The reader's long"),
        "{}",
        messages[0]
    );
    assert!(
        messages[1].starts_with("Version 1 cannot read the new schema: The reader's string"),
        "{}",
        messages[1]
    );
    assert!(
        found.iter().all(|what| (what.kind, what.place.as_str()) == (Kind::TypeMismatch, "/fields/1/type"))
    );
    assert!(found[0].to_string().starts_with("TYPE_MISMATCH at /fields/1/type: The new"), "{}", found[0]);
    assert_eq!(check(Level::FullTransitive, &third, &[]), []);
}

/// Failure modes 76 and 108: events stay readable whichever of the two sides is updated first.
#[test]
fn every_version_of_our_events_reads_and_is_read_by_all_before_it() {
    for entry in CATALOGUE {
        let before = CATALOGUE.iter();
        let before =
            before.filter(|other| other.event_type == entry.event_type && other.version < entry.version);
        let before: Vec<_> = before.map(|other| (i64::from(other.version), schema(other.avro))).collect();
        let before: Vec<_> = before.iter().map(|(version, schema)| (*version, schema)).collect();
        let new = schema(entry.avro);
        assert_eq!(check(Level::FullTransitive, &new, &before), [], "{}", entry.event_type);
        assert_eq!(check(Level::FullTransitive, &new, &[(0, &new)]), [], "{}", entry.event_type);
    }
}
