//! A text that is no schema is refused with a sentence; never a panic.

use std::time::{Duration, Instant};

use apache_avro::Schema;
use proptest::prelude::*;
use schema::{
    catalogue::CATALOGUE,
    compatibility::{BRANCHES_MAX, DEFAULT_DEPTH_MAX, SCHEMA_BYTES_MAX, SchemaError, can_read, parse},
};

use super::holding;

fn field(rest: &str) -> String {
    format!(r#"{{"type":"record","name":"A","fields":[{{"name":"a",{rest}}}]}}"#)
}

#[track_caller]
fn assert_refused(text: &str, said: &str) {
    match parse(text) {
        Ok(schema) => panic!("{text} is taken for {schema:?}"),
        Err(error) => assert!(error.to_string().contains(said), "{text}: {error}"),
    }
}

#[test]
fn a_default_that_is_not_of_its_type_is_refused() {
    let symbols = r#"{"type":"enum","name":"E","symbols":["X","Y"]}"#;
    let record = r#"{"type":"record","name":"B","fields":[{"name":"b","type":"int"},{"name":"c","type":"int","default":1}]}"#;
    for (of, right, wrong) in [
        ("\"null\"", &["null"][..], &["0", "\"\"", "\"null\""][..]),
        ("\"boolean\"", &["true"], &["0", "\"true\"", "null"]),
        ("\"int\"", &["-2147483648"], &["\"x\"", "2147483648", "1.5", "1.0", "null"]),
        ("\"long\"", &["2147483648"], &["9223372036854775808", "\"1\"", "1e3"]),
        ("\"float\"", &["1", "1.5"], &["\"1\"", "\"NaN\"", "null"]),
        ("\"double\"", &["1", "-1e300"], &["\"x\"", "[]"]),
        ("\"string\"", &["\"\""], &["1", "null", "[\"a\"]"]),
        ("\"bytes\"", &["\"\\u00ff\""], &["\"\\u0100\"", "[1, 2]", "1"]),
        (
            r#"{"type":"fixed","name":"F","size":2}"#,
            &["\"ab\"", "\"\\u00ff\\u0000\""],
            &["\"a\"", "\"abc\"", "12"],
        ),
        (symbols, &["\"X\""], &["\"Z\"", "0", "null"]),
        (r#"{"type":"array","items":"int"}"#, &["[]", "[1]"], &["{}", "[\"x\"]", "1", "null"]),
        (r#"{"type":"map","values":"int"}"#, &["{}", r#"{"k":1}"#], &["[]", r#"{"k":"x"}"#, "null"]),
        (record, &[r#"{"b":1}"#, r#"{"b":1,"c":2}"#], &["{}", r#"{"b":"x"}"#, "[]", "null"]),
        (r#"["null","string"]"#, &["null"], &["\"x\"", "1"]),
        (r#"["string","null"]"#, &["\"x\""], &["null", "1"]),
        (r#"{"type":"long","logicalType":"timestamp-micros"}"#, &["0"], &["\"2026-01-01\""]),
    ] {
        for right in right {
            let parsed = parse(&field(&format!(r#""type":{of},"default":{right}"#)));
            assert!(parsed.is_ok(), "{of} of {right}: {parsed:?}");
        }
        for wrong in wrong {
            assert_refused(&field(&format!(r#""type":{of},"default":{wrong}"#)), "not Avro: ");
        }
    }
    let second = field(r#""type":["null","string"],"default":"x""#);
    let message = "the schema is not Avro: at /fields/0: the default \"x\" of a is no union of null and string: it has to be \
                   of the first branch, which is the only one that all readers take it for";
    assert_eq!(parse(&second).unwrap_err().to_string(), message);
}

/// What the library lets pass, which is why a text is not simply handed to it.
#[test]
fn what_the_library_lets_pass_is_refused() {
    let union_default = field(r#""type":["string","null"],"default":null"#);
    let empty_union = field(r#""type":[]"#);
    let twice = r#"[{"type":"fixed","name":"F","size":1},{"type":"array","items":{"type":"fixed","name":"F","size":2}}]"#;
    let taken = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","aliases":["a"]}]}"#;
    for (text, said) in [
        (union_default.as_str(), "at /fields/0: the default null of a is no union of string and null"),
        (&field(r#""type":"bytes","default":"\u0100""#), "at /fields/0: the default"),
        (
            &field(r#""type":{"type":"fixed","name":"F","size":2},"default":"abc""#),
            "at /fields/0: the default",
        ),
        (&field(r#""type":"float","default":"NaN""#), "at /fields/0: the default"),
        (
            &field(r#""type":{"type":"enum","name":"E","symbols":["X"],"default":"X"},"default":"Z""#),
            "at /fields/0: the default \"Z\" of a is no enum E",
        ),
        (&empty_union, "at /fields/0/type: a union has 1 to 200 branches, and this has 0"),
        (r#"{"type":"record","name":"A","fields":[1]}"#, "at /fields/0: a field is an object"),
        (twice, "at /1/items: F is defined twice"),
        (taken, "at /fields/1: a is another field's name or alias"),
        (&field(r#""type":"int","aliases":["1st"]"#), "at /fields/0: aliases are an array of names"),
        (&field(r#""type":"int","aliases":"b""#), "at /fields/0: aliases are an array of names"),
        (r#"{"type":"fixed","name":"F","size":1,"aliases":[1]}"#, "aliases are an array of names"),
        (r#"{"type":"fixed","name":"int","size":1}"#, "int is a primitive type"),
    ] {
        assert!(Schema::parse_str(text).is_ok(), "the library has become stricter: {text}");
        assert_refused(text, said);
    }
}

#[test]
fn what_the_library_refuses_is_refused() {
    let symbols = |rest: &str| format!(r#"{{"type":"enum","name":"E",{rest}}}"#);
    let two =
        r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#;
    for (text, said) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("nonsense", "not JSON"),
        ("\"int\" \"int\"", "not JSON"),
        ("null", "not Avro"),
        ("1", "not Avro"),
        ("{}", "not Avro"),
        ("\"bool\"", "boolean"),
        ("\"Nowhere\"", "Nowhere"),
        (&holding("\"Nowhere\""), "Nowhere"),
        (r#"{"type":"record"}"#, "array of fields"),
        (r#"{"type":"record","name":"A"}"#, "array of fields"),
        (r#"{"type":"record","name":"A","fields":{}}"#, "array of fields"),
        (r#"{"type":"record","name":"A","fields":[{"name":"a"}]}"#, "not Avro"),
        (r#"{"type":"record","name":"1st","fields":[]}"#, "1st"),
        (r#"{"type":"record","name":"A","namespace":"a..b","fields":[]}"#, "a..b"),
        (r#"{"type":"record","name":"A","aliases":["a b"],"fields":[]}"#, "aliases are an array of names"),
        (two, "uplicate"),
        (&field(r#""type":"int","default":"x""#), "not Avro"),
        (&symbols(r#""symbols":["X","X"]"#), "X"),
        (&symbols(r#""symbols":["X-Y"]"#), "X-Y"),
        (&symbols(r#""symbols":["X",1]"#), "not Avro"),
        (&symbols(r#""symbols":["X"],"default":"Z""#), "Z"),
        (&symbols(r#""symbols":["X"],"default":0"#), "not Avro"),
        (r#"["int","int"]"#, "not Avro"),
        (r#"["int",["string"]]"#, "not Avro"),
        (r#"{"type":"fixed","name":"F","size":-1}"#, "not Avro"),
        (r#"{"type":"array"}"#, "not Avro"),
        (r#"{"type":"map","values":7}"#, "not Avro"),
        (&field(r#""type":"int","default":[[[[[[[[[1]]]]]]]]]"#), "nests no deeper than 8"),
    ] {
        assert_refused(text, said);
    }
}

#[test]
fn a_type_that_no_value_can_be_of_is_let_in() {
    assert!(parse(r#"{"type":"record","name":"A","fields":[{"name":"a","type":"A"}]}"#).is_ok());
}

#[test]
fn a_text_is_read_up_to_its_limits() {
    let padded = |bytes: usize| format!("\"int\"{}", " ".repeat(bytes - "\"int\"".len()));
    assert!(parse(&padded(SCHEMA_BYTES_MAX)).is_ok());
    assert_eq!(parse(&padded(SCHEMA_BYTES_MAX + 1)), Err(SchemaError::TooLarge(SCHEMA_BYTES_MAX + 1)));
    assert_eq!(parse(&padded(1024 * 1024)), Err(SchemaError::TooLarge(1024 * 1024)));

    let nested =
        |depth: usize| format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(depth), "}".repeat(depth));
    let deepest = parse(&nested(127)).unwrap();
    assert_eq!(can_read(&deepest, &deepest), []);
    for depth in [128, 10_000] {
        assert!(matches!(parse(&nested(depth)), Err(SchemaError::NotJson(_))), "{depth}");
    }

    let union = |count: usize| {
        let branches = (0..count).map(|at| format!(r#"{{"type":"fixed","name":"F{at}","size":1}}"#));
        format!("[{}]", branches.collect::<Vec<_>>().join(","))
    };
    let widest = parse(&union(BRANCHES_MAX)).unwrap();
    assert_eq!(can_read(&widest, &widest), []);
    assert_refused(&union(BRANCHES_MAX + 1), "a union has 1 to 200 branches, and this has 201");
}

/// The library's time for a default doubles with each union in a union. Failure mode: one text keeps a server busy.
#[test]
fn a_default_within_unions_within_unions_takes_no_time() {
    let depth = DEFAULT_DEPTH_MAX;
    let opened = |at: usize| format!(r#"[{{"type":"record","name":"R{at}","fields":[{{"name":"f","type":"#);
    let opening = (0..depth).map(opened).collect::<Vec<_>>().concat();
    let of = format!("{opening}\"int\"{}", "}]}]".repeat(depth));
    let default = format!("{}1{}", r#"{"f":"#.repeat(depth), "}".repeat(depth));
    let started = Instant::now();
    assert!(parse(&field(&format!(r#""type":{of},"default":{default}"#))).is_ok());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

proptest! {
    /// A schema of ours with a piece cut out, doubled or replaced.
    #[test]
    fn a_text_with_a_changed_piece_is_read_or_refused(
        at in 0..CATALOGUE.len(),
        from in any::<prop::sample::Index>(),
        bytes in 0..40_usize,
        piece in prop_oneof![
            "[\\[\\]{}\",:a-z0-9. -]{0,20}",
            prop::sample::select(vec![
                "\"default\":{},", "\"aliases\":[\".\"],", "\"namespace\":\"..\",", "[]", "null", "\"size\":1e400,",
                "\"logicalType\":\"decimal\",\"precision\":-1,", "\"logicalType\":1,", "\"type\":\"fixed\",\"size\":18446744073709551615,",
            ]).prop_map(str::to_owned),
        ],
    ) {
        let text = CATALOGUE[at].avro;
        prop_assert!(text.is_ascii());
        let from = from.index(text.len());
        let to = text.len().min(from + bytes);
        let text = format!("{}{piece}{}", &text[..from], &text[to..]);
        if let Ok(schema) = parse(&text) {
            prop_assert_eq!(can_read(&schema, &schema), []);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }
}
