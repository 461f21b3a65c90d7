//! Each rule of the specification's "Schema Resolution", and where this is stricter.

use std::time::{Duration, Instant};

use apache_avro::{Schema, schema::Name};
use schema::compatibility::{BRANCHES_MAX, DEPTH_MAX, Kind, can_read};

use super::{assert_told, holding, reads, schema, told};

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

#[test]
fn a_primitive_reads_itself_and_what_is_promoted_to_it_and_nothing_else() {
    let promotions = [
        ("long", "int"),
        ("float", "int"),
        ("double", "int"),
        ("float", "long"),
        ("double", "long"),
        ("double", "float"),
        ("bytes", "string"),
        ("string", "bytes"),
    ];
    for reader in PRIMITIVES {
        for writer in PRIMITIVES {
            let expected = reader == writer || promotions.contains(&(reader, writer));
            let quoted = [reader, writer].map(|name| format!("\"{name}\""));
            assert_eq!(reads(&quoted[0], &quoted[1]), expected, "{reader} reads {writer}");
            assert_eq!(
                reads(&holding(&quoted[0]), &holding(&quoted[1])),
                expected,
                "{reader} reads {writer}"
            );
        }
    }
    assert_told(&holding("\"int\""), &holding("\"long\""), &[(Kind::TypeMismatch, "/fields/0/type")]);
}

#[test]
fn arrays_and_maps_are_compared_by_what_they_hold() {
    let array = |of: &str| format!(r#"{{"type":"array","items":{of}}}"#);
    let map = |of: &str| format!(r#"{{"type":"map","values":{of}}}"#);
    assert!(reads(&array("\"long\""), &array("\"int\"")));
    assert!(reads(&map("\"long\""), &map("\"int\"")));
    assert_told(&array("\"int\""), &array("\"long\""), &[(Kind::TypeMismatch, "/items")]);
    assert_told(
        &map(&array("\"int\"")),
        &map(&array("\"string\"")),
        &[(Kind::TypeMismatch, "/values/items")],
    );
    assert_told(&array("\"int\""), &map("\"int\""), &[(Kind::TypeMismatch, "")]);
}

#[test]
fn named_types_match_by_their_unqualified_names_or_by_an_alias_of_the_reader() {
    let record = |name: &str, more: &str| format!(r#"{{"type":"record","name":"{name}",{more}"fields":[]}}"#);
    let writer = record("com.x.Old", "");
    assert!(reads(&record("org.y.Old", ""), &writer), "the namespace is not compared");
    assert!(reads(&record("New", r#""aliases":["com.x.Old"],"#), &writer));
    // An alias without a namespace is in the reader's.
    assert!(reads(&record("com.x.New", r#""aliases":["Old"],"#), &writer));
    let mismatch = [(Kind::NameMismatch, "/name")];
    assert_told(&record("org.y.New", r#""aliases":["Old"],"#), &writer, &mismatch);
    assert_told(&record("com.x.New", ""), &writer, &mismatch);
    // The writer's aliases do not count.
    assert_told(&record("New", ""), &record("Old", r#""aliases":["New"],"#), &mismatch);
    for (of, name) in [(r#""symbols":["X"]"#, "enum"), (r#""size":2"#, "fixed")] {
        let named = |name_: &str, more: &str| format!(r#"{{"type":"{name}","name":"{name_}",{more}{of}}}"#);
        assert!(reads(&named("New", r#""aliases":["Old"],"#), &named("Old", "")));
        assert_told(&named("New", ""), &named("Old", ""), &mismatch);
    }
}

#[test]
fn fields_are_matched_by_name_or_by_an_alias_of_the_reader_in_any_order() {
    let record = |fields: &str| format!(r#"{{"type":"record","name":"A","fields":[{fields}]}}"#);
    let (a, b) = (r#"{"name":"a","type":"long"}"#, r#"{"name":"b","type":"string"}"#);
    assert!(reads(&record(&format!("{a},{b}")), &record(&format!("{b},{a}"))));
    assert!(reads(&record(a), &record(&format!("{a},{b}"))), "what the reader does not know it passes over");
    let renamed = r#"{"name":"c","aliases":["b"],"type":"string"}"#;
    assert!(reads(&record(renamed), &record(b)));
    let missing = [(Kind::ReaderFieldMissingDefaultValue, "/fields/0")];
    // The writer's aliases do not count.
    assert_told(&record(b), &record(renamed), &missing);
    assert_told(&record(b), &record(a), &missing);
    assert!(reads(&record(r#"{"name":"b","type":"string","default":""}"#), &record(a)));
    assert!(reads(&record(r#"{"name":"b","type":["null","string"],"default":null}"#), &record(a)));
    // Java throws: which of the two is it?
    let both = format!(r#"{b},{{"name":"c","type":"string"}}"#);
    assert_told(&record(renamed), &record(&both), &[(Kind::NameMismatch, "/fields/0/aliases")]);
    // The default of an enum is for an unknown symbol, not for a missing field.
    let symbols = r#"{"name":"e","type":{"type":"enum","name":"E","symbols":["X"],"default":"X"}}"#;
    assert_told(&record(symbols), &record(a), &missing);
}

#[test]
fn an_enum_reads_the_symbols_that_it_has_and_others_by_its_default() {
    let symbols = |symbols: &str| format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]}}"#);
    let missing = [(Kind::MissingEnumSymbols, "/symbols")];
    assert!(reads(&symbols(r#""X","Y""#), &symbols(r#""Y""#)));
    assert_told(&symbols(r#""Y""#), &symbols(r#""X","Y","Z""#), &missing);
    let found = can_read(&schema(&symbols(r#""Y""#)), &schema(&symbols(r#""X","Y","Z""#)));
    assert!(found[0].message.contains("symbols X and Z."), "{}", found[0].message);
    let with_default = r#"{"type":"enum","name":"E","symbols":["Y"],"default":"Y"}"#;
    assert!(reads(with_default, &symbols(r#""X","Y","Z""#)));
    // Only the reader's default helps.
    assert_told(&symbols(r#""X""#), with_default, &missing);
    assert_told("\"string\"", with_default, &[(Kind::TypeMismatch, "")]);
}

#[test]
fn a_fixed_is_compared_by_its_size() {
    let fixed = |size: usize| format!(r#"{{"type":"fixed","name":"F","size":{size}}}"#);
    assert!(reads(&fixed(2), &fixed(2)));
    assert_told(&fixed(2), &fixed(3), &[(Kind::FixedSizeMismatch, "/size")]);
    assert_told("\"bytes\"", &fixed(3), &[(Kind::TypeMismatch, "")]);
}

#[test]
fn each_branch_that_a_writer_may_take_needs_one_that_reads_it() {
    let missing = [(Kind::MissingUnionBranch, "")];
    assert!(reads(r#"["null","long"]"#, "\"long\""));
    assert!(reads(r#"["null","long"]"#, "\"int\""), "promoted to a branch");
    assert!(reads(r#"["null","long","string"]"#, r#"["int","null"]"#));
    assert!(reads("\"double\"", r#"["int","float"]"#), "both branches are promoted");
    assert_told("\"long\"", r#"["null","long"]"#, &[(Kind::TypeMismatch, "")]);
    assert_told(r#"["null","long"]"#, "\"boolean\"", &missing);
    assert_told(r#"["null","long"]"#, r#"["null","string","boolean"]"#, &[missing[0], missing[0]]);
    let records = |fields: &str| format!(r#"["null",{{"type":"record","name":"B","fields":[{fields}]}}]"#);
    // The one branch of the type tells what is wrong within it.
    let inner = records(r#"{"name":"b","type":"int"}"#);
    assert_told(&inner, &records(""), &[(Kind::ReaderFieldMissingDefaultValue, "/1/fields/0")]);
    // Of two that have the name, one that reads it is enough.
    let two = r#"[{"type":"record","name":"x.B","fields":[{"name":"b","type":"int"}]},{"type":"record","name":"y.B","fields":[]}]"#;
    assert!(reads(two, r#"{"type":"record","name":"z.B","fields":[]}"#));
    assert_told(
        two.replace("[]", r#"[{"name":"c","type":"int"}]"#).as_str(),
        r#"{"type":"record","name":"z.B","fields":[]}"#,
        &missing,
    );
}

#[test]
fn a_type_is_the_same_where_it_is_defined_and_where_it_is_referred_to() {
    let money = r#"{"type":"record","name":"Money","fields":[{"name":"minor","type":"long"}]}"#;
    let both = |first: &str, second: &str| {
        format!(
            r#"{{"type":"record","name":"A","namespace":"com.x","fields":[{{"name":"a","type":{first}}},{{"name":"b","type":{second}}}]}}"#
        )
    };
    let writer = both(money, "\"Money\"");
    assert!(reads(&writer, &writer));
    assert!(reads(&writer, &both(money, "\"com.x.Money\"")));
    // The reader defines it where the writer refers to it.
    let later =
        r#"{"type":"record","name":"com.x.A","fields":[{"name":"b","type":MONEY}]}"#.replace("MONEY", money);
    assert!(reads(&later, &writer));
    let narrow = money.replace("long", "int");
    assert_told(
        &both(&narrow, "\"Money\""),
        &writer,
        // Once, and where it is defined, not also where it is referred to.
        &[(Kind::TypeMismatch, "/fields/0/type/fields/0/type")],
    );
    // Two namespaces have two types of one name.
    let inner =
        |of: &str| format!(r#"{{"type":"record","name":"org.y.B","fields":[{{"name":"m","type":{of}}}]}}"#);
    let own = inner(&money.replace("long", "string"));
    assert!(reads(&both(money, &own), &both(money, &own)));
    assert_told(
        &both(money, &own),
        &both(money, &inner(&money.replace("long", "boolean"))),
        &[(Kind::TypeMismatch, "/fields/1/type/fields/0/type/fields/0/type")],
    );
}

#[test]
fn recursive_types_are_compared_and_that_ends() {
    let list = |of: &str| {
        format!(
            r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":{of}}},{{"name":"next","type":["null","L"]}}]}}"#
        )
    };
    assert!(reads(&list("\"long\""), &list("\"int\"")));
    assert_told(&list("\"int\""), &list("\"long\""), &[(Kind::TypeMismatch, "/fields/0/type")]);
    // The specification does not forbid a type that no value can ever be of.
    let endless = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"A"}]}"#;
    assert!(reads(endless, endless));
}

/// An assumption that failed must not leave behind what was concluded from it: Java's checker, which keeps it, calls this
/// pair compatible.
#[test]
fn what_was_concluded_from_a_refuted_assumption_is_concluded_anew() {
    let writer = r#"{"type":"record","name":"W","fields":[
        {"name":"p","type":{"type":"record","name":"P","fields":[
            {"name":"q","type":{"type":"record","name":"Q","fields":[{"name":"p","type":["null","P"]}]}},
            {"name":"n","type":"string"}]}},
        {"name":"q","type":"Q"}]}"#;
    let reader = r#"{"type":"record","name":"W","fields":[
        {"name":"p","type":[
            {"type":"record","name":"x.P","fields":[
                {"name":"q","type":{"type":"record","name":"Q","fields":[{"name":"p","type":["null","x.P"]}]}},
                {"name":"n","type":"int"}]},
            {"type":"record","name":"y.P","fields":[]}]},
        {"name":"q","type":"x.Q"}]}"#;
    let place = "/fields/0/type/0/fields/1/type".to_owned();
    assert_eq!(told(reader, writer), [(Kind::TypeMismatch, place)]);
}

#[test]
fn a_logical_type_that_means_something_else_is_told() {
    let logical = |of: &str, name: &str| format!(r#"{{"type":"{of}","logicalType":"{name}"}}"#);
    let mismatch = [(Kind::LogicalTypeMismatch, "")];
    let times =
        ["time-micros", "timestamp-millis", "timestamp-micros", "timestamp-nanos", "local-timestamp-millis"];
    for reader in times {
        for writer in times {
            let expected: &[_] = if reader == writer { &[] } else { &mismatch };
            assert_told(&logical("long", reader), &logical("long", writer), expected);
        }
        assert!(reads("\"long\"", &logical("long", reader)), "the underlying type is read");
        assert!(reads(&logical("long", reader), "\"long\""));
        assert_told(&logical("long", reader), &logical("int", "date"), &mismatch);
        assert!(reads("\"double\"", &logical("long", reader)));
    }
    assert_told(&logical("int", "date"), &logical("int", "time-millis"), &mismatch);
    assert_told(&logical("long", "time-micros"), &logical("int", "time-millis"), &mismatch);
    assert_told(&logical("int", "date"), &logical("long", "timestamp-micros"), &[(Kind::TypeMismatch, "")]);
    // An unknown one is passed over.
    assert!(reads(&logical("long", "fortnight"), &logical("long", "timestamp-micros")));
    // Of a union the branch of the same type is the one that readers take, whatever else would do.
    let union = format!(r#"[{},"double"]"#, logical("long", "timestamp-micros"));
    assert_told(&union, &logical("long", "timestamp-millis"), &[(Kind::LogicalTypeMismatch, "/0")]);
}

#[test]
fn a_decimal_reads_one_of_its_precision_and_scale_alone() {
    let decimal = |precision: u32, scale: u32| {
        format!(r#"{{"type":"bytes","logicalType":"decimal","precision":{precision},"scale":{scale}}}"#)
    };
    let mismatch = [(Kind::LogicalTypeMismatch, "")];
    assert!(reads(&decimal(10, 2), &decimal(10, 2)));
    assert_told(&decimal(10, 2), &decimal(10, 4), &mismatch);
    assert_told(&decimal(12, 2), &decimal(10, 2), &mismatch);
    assert_told("\"bytes\"", &decimal(10, 2), &mismatch);
    assert_told(&decimal(10, 2), "\"bytes\"", &mismatch);
    assert_told("\"string\"", &decimal(10, 2), &mismatch);
    let big = r#"{"type":"bytes","logicalType":"big-decimal"}"#;
    assert!(reads(big, big));
    assert_told(big, &decimal(10, 2), &mismatch);
    let fixed = r#"{"type":"fixed","name":"D","size":8,"logicalType":"decimal","precision":10,"scale":2}"#;
    assert!(reads(fixed, fixed));
    assert_told(fixed, &fixed.replace("\"scale\":2", "\"scale\":3"), &mismatch);
    assert_told(fixed, &decimal(10, 2), &[(Kind::TypeMismatch, "")]);
    // One that is invalid is none, as the specification has it.
    assert!(reads("\"bytes\"", &decimal(2, 10)));
}

#[test]
fn a_uuid_as_text_is_a_string_and_no_fixed() {
    let text = r#"{"type":"string","logicalType":"uuid"}"#;
    let fixed = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
    let bytes = r#"{"type":"bytes","logicalType":"uuid"}"#;
    assert!(reads(text, "\"string\"") && reads("\"string\"", text));
    assert!(reads(fixed, r#"{"type":"fixed","name":"U","size":16}"#));
    assert_told(text, fixed, &[(Kind::TypeMismatch, "")]);
    assert_told(fixed, text, &[(Kind::TypeMismatch, "")]);
    assert_told(text, bytes, &[(Kind::LogicalTypeMismatch, "")]);
}

/// A text cannot nest like that; a schema that is put together can.
#[test]
fn what_nests_too_deep_is_told_and_does_not_overflow_the_stack() {
    let nested = |depth: usize| (0..depth).fold(Schema::Int, |inner, _| Schema::array(inner).build());
    let deep = nested(DEPTH_MAX);
    assert_eq!(can_read(&deep, &deep), []);
    let deeper = nested(10_000);
    let found = can_read(&deeper, &deeper);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].kind, found[0].kind.code()), (Kind::TooComplex, "TOO_COMPLEX"));
    // Taken apart by a loop: a schema is dropped by recursion.
    let mut rest = deeper;
    while let Schema::Array(array) = rest {
        rest = *array.items;
    }
}

/// All branches have one name, so each of the writer's is compared with each of the reader's, and none is read. Failure
/// mode: two texts keep a server busy.
#[test]
fn what_needs_too_many_comparisons_is_told_and_takes_no_time() {
    let union = |prefix: &str| {
        let branches = (0..BRANCHES_MAX).map(|at| {
            let fields = (0..60).map(|field| format!(r#"{{"name":"{prefix}{field}","type":"int"}}"#));
            let fields = fields.collect::<Vec<_>>().join(",");
            format!(r#"{{"type":"record","name":"n{at}.R","fields":[{fields}]}}"#)
        });
        format!("[{}]", branches.collect::<Vec<_>>().join(","))
    };
    let (reader, writer) = (union("r"), union("w"));
    let (reader, writer) = (schema(&reader), schema(&writer));
    let started = Instant::now();
    let found = can_read(&reader, &writer);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(found.iter().map(|what| what.kind).collect::<Vec<_>>(), [Kind::TooComplex]);
    assert_eq!(can_read(&reader, &reader), []);
}

#[test]
fn a_name_that_a_schema_does_not_define_is_told() {
    let stray = Schema::Ref { name: Name::new("com.x.Nowhere").unwrap() };
    let found = can_read(&stray, &Schema::Int);
    assert_eq!((found.len(), found[0].kind), (1, Kind::NameMismatch));
    assert!(found[0].message.contains("com.x.Nowhere"), "{}", found[0].message);
    assert_eq!(can_read(&Schema::Int, &stray).len(), 1);
}

#[test]
fn no_more_is_told_than_the_limit() {
    let fields: Vec<_> = (0..300).map(|at| format!(r#"{{"name":"f{at}","type":"int"}}"#)).collect();
    let wide = format!(r#"{{"type":"record","name":"A","fields":[{}]}}"#, fields.join(","));
    let none = r#"{"type":"record","name":"A","fields":[]}"#;
    assert_eq!(told(&wide, none).len(), schema::compatibility::INCOMPATIBILITIES_MAX);
}
