//! Where the named types of a schema are defined.

use std::collections::HashMap;

use apache_avro::{Schema, schema::Name};

use super::{DEPTH_MAX, underlying::Underlying};

/// A schema with its place in the text that it stands in.
#[derive(Clone, Debug)]
pub(super) struct Placed<'s> {
    pub(super) schema: &'s Schema,
    /// A JSON pointer.
    pub(super) place: String,
}

impl<'s> Placed<'s> {
    pub(super) const fn root(schema: &'s Schema) -> Self {
        Self { schema, place: String::new() }
    }

    /// What it is made of.
    pub(super) fn parts(&self) -> Vec<Self> {
        let part = |schema, below: &str| Self { schema, place: format!("{}/{below}", self.place) };
        match Underlying::of(self.schema) {
            Underlying::Array(items) => vec![part(items, "items")],
            Underlying::Map(values) => vec![part(values, "values")],
            Underlying::Union(union) => {
                let branches = union.variants().iter().enumerate();
                branches.map(|(at, branch)| part(branch, &at.to_string())).collect()
            }
            Underlying::Record(record) => {
                let fields = record.fields.iter().enumerate();
                fields.map(|(at, field)| part(&field.schema, &format!("fields/{at}/type"))).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// All parts of a schema down to [`DEPTH_MAX`], itself first, in the order of the text. References are not followed.
pub(super) fn all_parts(schema: &Schema) -> Vec<Placed<'_>> {
    let mut waiting = vec![(Placed::root(schema), 0)];
    let mut all = Vec::new();
    while let Some((placed, depth)) = waiting.pop() {
        if depth < DEPTH_MAX {
            waiting.extend(placed.parts().into_iter().rev().map(|part| (part, depth + 1)));
        }
        all.push(placed);
    }
    all
}

/// The definitions of a schema by their full names.
#[derive(Debug)]
pub(super) struct Names<'s>(HashMap<&'s Name, Placed<'s>>);

impl<'s> Names<'s> {
    pub(super) fn of(schema: &'s Schema) -> Self {
        let mut names = HashMap::new();
        for placed in all_parts(schema) {
            if let Some(name) = definition(placed.schema) {
                names.entry(name).or_insert(placed);
            }
        }
        Self(names)
    }

    /// The schema itself, or the definition that it refers to, in its own place; the name, if there is none.
    pub(super) fn resolve(&self, placed: Placed<'s>) -> Result<Placed<'s>, &'s Name> {
        match placed.schema {
            Schema::Ref { name } => self.0.get(name).cloned().ok_or(name),
            _ => Ok(placed),
        }
    }

    pub(super) fn find(&self, name: &Name) -> Option<&Placed<'s>> {
        self.0.get(name)
    }
}

/// The name that a schema defines.
pub(super) fn definition(schema: &Schema) -> Option<&Name> {
    match schema {
        Schema::Ref { .. } => None,
        schema => schema.name(),
    }
}
