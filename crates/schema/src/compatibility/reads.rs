//! A reader's schema against a writer's, type by type.

use std::{
    collections::{HashMap, HashSet},
    ptr,
};

use apache_avro::{
    Schema,
    schema::{Alias, EnumSchema, FixedSchema, Name, RecordField, RecordSchema, UnionSchema},
};

use super::{
    COMPARISONS_MAX, DEPTH_MAX, INCOMPATIBILITIES_MAX, Incompatibility, Kind,
    names::{Names, Placed},
    underlying::{Listed, Logical, Told, Underlying, name_matches},
};

/// A reader's record and a writer's, by where they are in memory.
type Pair = (*const Schema, *const Schema);

type Found = Vec<Incompatibility>;

/// Whether `reader` reads everything that `writer` wrote: what is in the way, nothing if it does. Both as
/// [`super::parse`] gives them, with every name in full.
pub fn can_read(reader: &Schema, writer: &Schema) -> Vec<Incompatibility> {
    let mut comparison = Comparison {
        reader: Names::of(reader),
        writer: Names::of(writer),
        assumed: HashSet::new(),
        in_order: Vec::new(),
        refuted: HashMap::new(),
        comparisons: 0,
        gave_up: false,
    };
    let found = comparison.compare(Placed::root(reader), writer, 0);
    // Whatever else was found may have been found only for that.
    if comparison.gave_up && !found.is_empty() { vec![too_complex()] } else { found }
}

/// Types may be recursive: two records are taken for compatible while their fields are compared, and what is concluded
/// from that stands until it is refuted.
struct Comparison<'s> {
    reader: Names<'s>,
    writer: Names<'s>,
    assumed: HashSet<Pair>,
    /// Those of `assumed`, the oldest first.
    in_order: Vec<Pair>,
    refuted: HashMap<Pair, Found>,
    comparisons: usize,
    /// At a limit.
    gave_up: bool,
}

impl<'s> Comparison<'s> {
    fn compare(&mut self, reader: Placed<'s>, writer: &'s Schema, depth: usize) -> Found {
        self.comparisons += 1;
        if depth > DEPTH_MAX || self.comparisons > COMPARISONS_MAX {
            self.gave_up = true;
            return vec![too_complex()];
        }
        let reader = match self.reader.resolve(reader) {
            Ok(reader) => reader,
            Err(name) => return undefined(name, "reader"),
        };
        let writer = match self.writer.resolve(Placed::root(writer)) {
            Ok(writer) => writer.schema,
            Err(name) => return undefined(name, "writer"),
        };
        match (Underlying::of(reader.schema), Underlying::of(writer)) {
            (Underlying::Union(union), Underlying::Union(written)) => {
                let branches = written.variants().iter();
                merged(branches.map(|branch| self.compare_union(&reader, union, branch, depth + 1)))
            }
            (Underlying::Union(union), _) => self.compare_union(&reader, union, writer, depth + 1),
            (_, Underlying::Union(written)) => {
                let branches = written.variants().iter();
                merged(branches.map(|branch| self.compare(reader.clone(), branch, depth + 1)))
            }
            (Underlying::Array(_), Underlying::Array(written))
            | (Underlying::Map(_), Underlying::Map(written)) => {
                let parts = reader.parts().into_iter();
                merged(parts.map(|part| self.compare(part, written, depth + 1)))
            }
            (Underlying::Record(record), Underlying::Record(written)) => {
                let pair = (ptr::from_ref(reader.schema), ptr::from_ref(writer));
                self.compare_once(pair, |this| this.compare_records(&reader, record, written, depth))
            }
            (Underlying::Enum(symbols), Underlying::Enum(written)) => {
                compare_enums(&reader.place, symbols, written)
            }
            (Underlying::Fixed(fixed), Underlying::Fixed(written)) => {
                let mut found = compare_fixed(&reader.place, fixed, written);
                found.extend(compare_meaning(&reader, writer));
                found
            }
            (read, written) if read.reads_primitive(written) => {
                compare_meaning(&reader, writer).into_iter().collect()
            }
            _ => vec![type_mismatch(&reader, writer)],
        }
    }

    /// A union with something that is none.
    fn compare_union(
        &mut self,
        reader: &Placed<'s>,
        union: &UnionSchema,
        writer: &'s Schema,
        depth: usize,
    ) -> Found {
        let written = match self.writer.resolve(Placed::root(writer)) {
            Ok(writer) => Underlying::of(writer.schema),
            Err(name) => return undefined(name, "writer"),
        };
        self.comparisons += union.variants().len();
        let (mut same, mut others) = (Vec::new(), Vec::new());
        for branch in reader.parts() {
            match self.reader.resolve(branch.clone()) {
                Ok(found) if Underlying::of(found.schema).is_same_type(written) => same.push(branch),
                Ok(_) => others.push(branch),
                Err(name) => return undefined(name, "reader"),
            }
        }
        let is_one = same.len() == 1;
        let mut why = Found::new();
        for branch in if same.is_empty() { others } else { same } {
            why = self.compare(branch, writer, depth);
            if why.is_empty() {
                return why;
            }
        }
        if is_one { why } else { vec![missing_branch(reader, writer)] }
    }

    fn compare_once(&mut self, pair: Pair, compare: impl FnOnce(&mut Self) -> Found) -> Found {
        if let Some(found) = self.refuted.get(&pair) {
            return found.clone();
        }
        if !self.assumed.insert(pair) {
            return Found::new();
        }
        let before = self.in_order.len();
        self.in_order.push(pair);
        let found = compare(self);
        if !found.is_empty() {
            for pair in self.in_order.drain(before..) {
                self.assumed.remove(&pair);
            }
            self.refuted.insert(pair, found.clone());
        }
        found
    }

    fn compare_records(
        &mut self,
        reader: &Placed<'s>,
        record: &'s RecordSchema,
        written: &'s RecordSchema,
        depth: usize,
    ) -> Found {
        self.comparisons += record.fields.len();
        let by_name: HashMap<&str, &RecordField> =
            written.fields.iter().map(|field| (field.name.as_str(), field)).collect();
        let name =
            compare_names(&reader.place, "record", &record.name, record.aliases.as_deref(), &written.name);
        let fields = record.fields.iter().zip(reader.parts()).enumerate().map(|(at, (field, part))| {
            let place = || format!("{}/fields/{at}", reader.place);
            let names = std::iter::once(&field.name).chain(&field.aliases);
            let mut matching = names.filter_map(|name| by_name.get(name.as_str()));
            match (matching.next(), matching.next()) {
                (Some(one), Some(other)) if one.name != other.name => {
                    vec![ambiguous(place(), field, [&one.name, &other.name])]
                }
                (Some(written), _) => self.compare(part, &written.schema, depth + 1),
                (None, _) if field.default.is_some() => Found::new(),
                (None, _) => vec![missing_default(place(), field)],
            }
        });
        let fields = merged(fields);
        merged([Vec::from_iter(name), fields])
    }
}

/// Each once, and no more than [`INCOMPATIBILITIES_MAX`].
fn merged(parts: impl IntoIterator<Item = Found>) -> Found {
    let mut all = Found::new();
    for part in parts {
        for what in part {
            if all.len() < INCOMPATIBILITIES_MAX && !all.contains(&what) {
                all.push(what);
            }
        }
    }
    all
}

fn compare_names(
    place: &str,
    what: &str,
    reader: &Name,
    aliases: Option<&[Alias]>,
    writer: &Name,
) -> Option<Incompatibility> {
    if name_matches(reader, aliases, writer) {
        return None;
    }
    Some(Incompatibility {
        kind: Kind::NameMismatch,
        place: format!("{place}/name"),
        message: format!(
            "The reader's {what} is {reader} and the writer's is {writer}. Keep the name, or list the writer's among the \
             reader's aliases."
        ),
    })
}

fn compare_enums(place: &str, reader: &EnumSchema, writer: &EnumSchema) -> Found {
    let name = compare_names(place, "enum", &reader.name, reader.aliases.as_deref(), &writer.name);
    let mut found = Vec::from_iter(name);
    let known: HashSet<&String> = reader.symbols.iter().collect();
    let unknown: Vec<&String> = writer.symbols.iter().filter(|symbol| !known.contains(symbol)).collect();
    let has_default = reader.default.as_ref().is_some_and(|default| known.contains(default));
    if !unknown.is_empty() && !has_default {
        let symbols = if unknown.len() == 1 { "symbol" } else { "symbols" };
        found.push(Incompatibility {
            kind: Kind::MissingEnumSymbols,
            place: format!("{place}/symbols"),
            message: format!(
                "The reader's enum {} does not have the writer's {symbols} {}. Keep what was there, and give the enum a \
                 default before symbols are added.",
                reader.name,
                Listed(&unknown)
            ),
        });
    }
    found
}

fn compare_fixed(place: &str, reader: &FixedSchema, writer: &FixedSchema) -> Found {
    let name = compare_names(place, "fixed", &reader.name, reader.aliases.as_deref(), &writer.name);
    let mut found = Vec::from_iter(name);
    if reader.size != writer.size {
        found.push(Incompatibility {
            kind: Kind::FixedSizeMismatch,
            place: format!("{place}/size"),
            message: format!(
                "The reader's fixed {} has {} bytes and the writer's has {}. Keep the size, or leave the field and add \
                 another with a default.",
                reader.name, reader.size, writer.size
            ),
        });
    }
    found
}

fn compare_meaning(reader: &Placed<'_>, writer: &Schema) -> Option<Incompatibility> {
    if Logical::of(reader.schema).agrees(Logical::of(writer)) {
        return None;
    }
    Some(Incompatibility {
        kind: Kind::LogicalTypeMismatch,
        place: reader.place.clone(),
        message: format!(
            "The reader would take the writer's {} for {}, and get other values. Keep the logical type, or leave the \
             field and add another with a default.",
            Told(writer),
            Told(reader.schema)
        ),
    })
}

fn type_mismatch(reader: &Placed<'_>, writer: &Schema) -> Incompatibility {
    Incompatibility {
        kind: Kind::TypeMismatch,
        place: reader.place.clone(),
        message: format!(
            "The reader's {} cannot read the writer's {}. Keep the type, or leave the field and add another with a default.",
            Told(reader.schema),
            Told(writer)
        ),
    }
}

fn missing_branch(reader: &Placed<'_>, writer: &Schema) -> Incompatibility {
    Incompatibility {
        kind: Kind::MissingUnionBranch,
        place: reader.place.clone(),
        message: format!(
            "The reader's {} has no branch that reads the writer's {}. Keep the branch, or leave the field and add another \
             with a default.",
            Told(reader.schema),
            Told(writer)
        ),
    }
}

fn missing_default(place: String, field: &RecordField) -> Incompatibility {
    Incompatibility {
        kind: Kind::ReaderFieldMissingDefaultValue,
        place,
        message: format!(
            "The reader's field {} has no default, and the writer has no such field. Give it a default when it is added, \
             such as null first in a union, and remove no field that has none.",
            field.name
        ),
    }
}

fn ambiguous(place: String, field: &RecordField, [one, other]: [&String; 2]) -> Incompatibility {
    Incompatibility {
        kind: Kind::NameMismatch,
        place: format!("{place}/aliases"),
        message: format!(
            "The reader's field {} matches both {one} and {other} of the writer. Keep one of the names.",
            field.name
        ),
    }
}

fn undefined(name: &Name, whose: &str) -> Found {
    vec![Incompatibility {
        kind: Kind::NameMismatch,
        place: String::new(),
        message: format!(
            "The {whose}'s schema does not define {name}, which it refers to. Define it where it is first used."
        ),
    }]
}

fn too_complex() -> Incompatibility {
    Incompatibility {
        kind: Kind::TooComplex,
        place: String::new(),
        message: format!(
            "The schemas nest deeper than {DEPTH_MAX} types, or need more than {COMPARISONS_MAX} comparisons. \
             Make the schema simpler."
        ),
    }
}
