//! Schemas that are drawn: one reads itself, and what is called compatible is what the library reads.
//!
//! Left out of what is drawn, because the library does not follow the specification there: its reader does not look at
//! aliases, and reads no value of a logical type as one of the underlying type. In a union it takes a text for a symbol or a
//! fixed, and a map for a record, though there are branches of their own types.

use std::cell::Cell;

use apache_avro::{reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter};
use proptest::{prelude::*, test_runner::TestRunner};
use schema::compatibility::{Level, can_read, check};
use serde_json::{Value as Json, json};

use super::schema;

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
const SYMBOLS: [&str; 3] = ["X", "Y", "Z"];
const FIELDS: [&str; 4] = ["a", "b", "c", "d"];

/// A type as it is drawn, before it has names.
#[derive(Clone, Debug)]
enum Drawn {
    Primitive(&'static str),
    Enum { symbols: Vec<&'static str>, has_default: bool },
    Fixed(usize),
    Array(Box<Drawn>),
    Map(Box<Drawn>),
    Union(Vec<Drawn>),
    Record(Vec<Field>),
}

#[derive(Clone, Debug)]
struct Field {
    name: &'static str,
    of: Drawn,
    has_default: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> + Clone {
    let symbols = prop::sample::subsequence(SYMBOLS.to_vec(), 1..=3).prop_shuffle();
    let leaf = prop_oneof![
        4 => prop::sample::select(PRIMITIVES.to_vec()).prop_map(Drawn::Primitive),
        1 => (symbols, any::<bool>()).prop_map(|(symbols, has_default)| Drawn::Enum { symbols, has_default }),
        1 => (1..3_usize).prop_map(Drawn::Fixed),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|of| Drawn::Array(Box::new(of))),
            inner.clone().prop_map(|of| Drawn::Map(Box::new(of))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(union),
            fields(inner).prop_map(Drawn::Record),
        ]
    })
}

fn fields(of: impl Strategy<Value = Drawn> + Clone) -> impl Strategy<Value = Vec<Field>> {
    let names = prop::sample::subsequence(FIELDS.to_vec(), 0..=4).prop_shuffle();
    (names, prop::collection::vec((of, any::<bool>()), 4)).prop_map(|(names, parts)| {
        let fields = names.into_iter().zip(parts);
        fields.map(|(name, (of, has_default))| Field { name, of, has_default }).collect()
    })
}

/// Of each kind one branch, none that the library takes for another; and of unions the branches.
fn union(branches: Vec<Drawn>) -> Drawn {
    let is_taken_for = |one: &str, other: &str| {
        one == other || matches!((one, other), ("string" | "bytes", "enum" | "fixed") | ("map", "record"))
    };
    let mut kept: Vec<Drawn> = Vec::new();
    let flat = branches.into_iter().flat_map(|branch| match branch {
        Drawn::Union(inner) => inner,
        other => vec![other],
    });
    for branch in flat {
        let mut kinds = kept.iter().map(|other| (other.kind(), branch.kind()));
        if !kinds.any(|(one, other)| is_taken_for(one, other) || is_taken_for(other, one)) {
            kept.push(branch);
        }
    }
    Drawn::Union(kept)
}

impl Drawn {
    fn kind(&self) -> &'static str {
        match self {
            Self::Primitive(name) => name,
            Self::Enum { .. } => "enum",
            Self::Fixed(_) => "fixed",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Record(_) => "record",
        }
    }

    /// Named types have the names of where they are, the same in the reader and the writer.
    fn json(&self, path: &str) -> Json {
        match self {
            Self::Primitive(name) => json!(name),
            Self::Enum { symbols, has_default: false } => {
                json!({"type": "enum", "name": format!("E{path}"), "symbols": symbols})
            }
            Self::Enum { symbols, has_default: true } => {
                json!({"type": "enum", "name": format!("E{path}"), "symbols": symbols, "default": symbols[0]})
            }
            Self::Fixed(size) => json!({"type": "fixed", "name": format!("F{path}"), "size": size}),
            Self::Array(of) => json!({"type": "array", "items": of.json(&format!("{path}_i"))}),
            Self::Map(of) => json!({"type": "map", "values": of.json(&format!("{path}_v"))}),
            Self::Union(branches) => branches.iter().map(|branch| branch.json(path)).collect(),
            Self::Record(fields) => {
                let fields = fields.iter().map(|field| {
                    let of = field.of.json(&format!("{path}_{}", field.name));
                    let mut json = json!({"name": field.name, "type": of});
                    if field.has_default {
                        json["default"] = field.of.default();
                    }
                    json
                });
                json!({"type": "record", "name": format!("R{path}"), "fields": fields.collect::<Vec<_>>()})
            }
        }
    }

    fn default(&self) -> Json {
        match self {
            Self::Primitive("null") => Json::Null,
            Self::Primitive("boolean") => json!(true),
            Self::Primitive("bytes" | "string") => json!("d"),
            Self::Primitive(_) => json!(7),
            Self::Enum { symbols, .. } => json!(symbols[0]),
            Self::Fixed(size) => json!("f".repeat(*size)),
            Self::Array(_) => json!([]),
            Self::Map(_) => json!({}),
            Self::Union(branches) => branches[0].default(),
            Self::Record(fields) => {
                fields.iter().map(|field| (field.name.to_owned(), field.of.default())).collect()
            }
        }
    }

    fn value(&self, choices: &mut Choices) -> Value {
        match self {
            Self::Primitive("null") => Value::Null,
            Self::Primitive("boolean") => Value::Boolean(choices.below(2) == 1),
            Self::Primitive("int") => Value::Int([0, -1, i32::MAX, i32::MIN][choices.below(4)]),
            Self::Primitive("long") => Value::Long([0, -1, i64::MAX, i64::MIN][choices.below(4)]),
            Self::Primitive("float") => Value::Float([0.0, -1.5, f32::MAX, f32::MIN][choices.below(4)]),
            Self::Primitive("double") => Value::Double([0.0, -1.5, f64::MAX, f64::MIN][choices.below(4)]),
            // Bytes that are no UTF-8 are no string for the library, nor for Java.
            Self::Primitive("bytes") => Value::Bytes(["", "bytes"][choices.below(2)].into()),
            Self::Primitive(_) => Value::String(["", "text é"][choices.below(2)].to_owned()),
            Self::Enum { symbols, .. } => {
                let at = choices.below(symbols.len());
                Value::Enum(u32::try_from(at).unwrap(), symbols[at].to_owned())
            }
            Self::Fixed(size) => Value::Fixed(*size, vec![b'f'; *size]),
            Self::Array(of) => Value::Array((0..choices.below(3)).map(|_| of.value(choices)).collect()),
            Self::Map(of) => {
                Value::Map((0..choices.below(3)).map(|at| (format!("k{at}"), of.value(choices))).collect())
            }
            Self::Union(branches) => {
                let at = choices.below(branches.len());
                Value::Union(u32::try_from(at).unwrap(), Box::new(branches[at].value(choices)))
            }
            Self::Record(fields) => {
                let fields = fields.iter().map(|field| (field.name.to_owned(), field.of.value(choices)));
                Value::Record(fields.collect())
            }
        }
    }

    /// What somebody might make of it, for better or worse.
    fn evolved(&self, other: &Self, choices: &mut Choices) -> Self {
        match (choices.below(12), self) {
            (0, _) => other.clone(),
            (1, Self::Union(branches)) => union(branches.iter().chain([other]).cloned().collect()),
            (1, _) => union(vec![Self::Primitive("null"), self.clone()]),
            (2, Self::Union(branches)) => branches[choices.below(branches.len())].clone(),
            (2 | 3, Self::Primitive("int")) => Self::Primitive(["long", "float", "double"][choices.below(3)]),
            (2 | 3, Self::Primitive("long")) => Self::Primitive(["float", "double", "int"][choices.below(3)]),
            (2 | 3, Self::Primitive("string")) => Self::Primitive("bytes"),
            (2 | 3, Self::Primitive("bytes")) => Self::Primitive("string"),
            (2..=5, Self::Enum { .. }) => Self::Enum {
                symbols: SYMBOLS[choices.below(3)..].to_vec(),
                has_default: choices.below(2) == 0,
            },
            (_, Self::Array(of)) => Self::Array(Box::new(of.evolved(other, choices))),
            (_, Self::Map(of)) => Self::Map(Box::new(of.evolved(other, choices))),
            (_, Self::Union(branches)) => {
                let mut branches: Vec<_> =
                    branches.iter().map(|branch| branch.evolved(other, choices)).collect();
                let middle = choices.below(branches.len());
                branches.rotate_left(middle);
                union(branches)
            }
            (_, Self::Record(fields)) => {
                let mut evolved: Vec<Field> = Vec::new();
                for field in fields.iter().filter(|_| choices.below(8) > 0).collect::<Vec<_>>() {
                    evolved.push(Field { of: field.of.evolved(other, choices), ..field.clone() });
                }
                let name = FIELDS[choices.below(4)];
                if fields.iter().all(|field| field.name != name) {
                    let at = choices.below(evolved.len() + 1);
                    evolved.insert(at, Field { name, of: other.clone(), has_default: choices.below(4) > 0 });
                }
                Self::Record(evolved)
            }
            _ => self.clone(),
        }
    }
}

/// Numbers that were drawn, one after another, and then again.
#[derive(Debug)]
struct Choices {
    drawn: Vec<u8>,
    next: usize,
}

impl Choices {
    fn below(&mut self, end: usize) -> usize {
        self.next += 1;
        usize::from(self.drawn[self.next % self.drawn.len()]) % end
    }
}

fn choices() -> impl Strategy<Value = Choices> {
    prop::collection::vec(any::<u8>(), 16..64).prop_map(|drawn| Choices { drawn, next: 0 })
}

proptest! {
    #[test]
    fn a_schema_is_compatible_with_itself_at_every_level(drawn in drawn()) {
        let schema = schema(&drawn.json("").to_string());
        for level in Level::ALL {
            prop_assert_eq!(check(level, &schema, &[(1, &schema), (2, &schema)]), []);
        }
    }
}

/// Failure modes 76 and 108: a schema is let in, and then its events cannot be read.
#[test]
fn what_is_called_compatible_is_read() {
    const CASES: u32 = 2000;
    let (pairs, compatible) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let cases = (fields(drawn()), drawn(), choices());
    let read = runner.run(&cases, |(fields, other, mut choices)| {
        let written = Drawn::Record(fields);
        let evolved = written.evolved(&other, &mut choices);
        let [writer, reader] = [&written, &evolved].map(|drawn| schema(&drawn.json("").to_string()));
        pairs.set(pairs.get() + 1);
        if !can_read(&reader, &writer).is_empty() {
            return Ok(());
        }
        compatible.set(compatible.get() + 1);
        let writing = GenericDatumWriter::builder(&writer).build().unwrap();
        let reading = GenericDatumReader::builder(&writer).reader_schema(&reader).build().unwrap();
        for _ in 0..8 {
            let value = written.value(&mut choices);
            let datum = writing.write_value_to_vec(value.clone()).unwrap();
            let read = reading.read_value(&mut &datum[..]);
            let is_valid = read.as_ref().is_ok_and(|read| read.validate(&reader));
            prop_assert!(is_valid, "{value:?} as {evolved:?}: {read:?}");
        }
        Ok(())
    });
    read.unwrap();
    // It would say nothing of pairs that are all of one kind.
    let (pairs, compatible) = (pairs.get(), compatible.get());
    assert!(compatible * 5 > pairs && compatible * 5 < pairs * 4, "{compatible} of {pairs}");
}
