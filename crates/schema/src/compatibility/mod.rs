//! Whether one Avro schema reads what another wrote, and if not, what is in the way, where, and how to do it instead.
//!
//! It follows "Schema Resolution" of the Avro specification 1.12 and its reference, `SchemaCompatibility` of Avro for Java.
//! It departs from that reference, always towards the stricter, in this:
//! - Two logical types that give the same bytes another meaning are incompatible: times of different units or kinds,
//!   decimals of different precision or scale, a decimal and what is none, a uuid as text and one as bytes. Java compares
//!   the underlying types alone, and a moment in milliseconds would be read as one in microseconds.
//! - Of a reader's union the branch of the writer's own type is taken, as readers do, before any that it could be promoted
//!   to. When just one is of that type, what is wrong within it is told, and not merely that a branch is missing.
//! - An assumption about a recursive type that turns out wrong takes back what was concluded from it.
//! - A field that matches two of the writer's is told (Java throws), and so is a missing field whose type is an enum with a
//!   default: that default is for unknown symbols, not for a missing field.
//! - A place within a type that is referred to by its name is where the type is defined.
//!
//! Its work is bounded: see [`DEPTH_MAX`], [`COMPARISONS_MAX`] and [`INCOMPATIBILITIES_MAX`].

mod names;
mod reads;
mod text;
mod underlying;

use std::fmt;

use apache_avro::Schema;

pub use reads::can_read;
pub use text::{BRANCHES_MAX, DEFAULT_DEPTH_MAX, SCHEMA_BYTES_MAX, SchemaError, parse};

/// Types within types, references followed. A text nests no deeper than the JSON in it may, which is 127.
pub const DEPTH_MAX: usize = 200;
/// Types, branches and fields looked at for one pair of schemas.
pub const COMPARISONS_MAX: usize = 200_000;
/// Of what is told at once.
pub const INCOMPATIBILITIES_MAX: usize = 100;

/// What a reader could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatibility {
    pub kind: Kind,
    /// A JSON pointer into the reader's schema, such as `/fields/3/type/1`; empty for the whole of it. A type in needless
    /// braces, `{"type": {"type": "array", …}}`, counts as without them.
    pub place: String,
    /// One sentence that says what is incompatible, and one that says how to do it instead.
    pub message: String,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.place.is_empty() { "the root" } else { &self.place };
        write!(f, "{} at {place}: {}", self.kind.code(), self.message)
    }
}

/// The kinds of Java's `SchemaIncompatibilityType`, and two more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    NameMismatch,
    FixedSizeMismatch,
    MissingEnumSymbols,
    ReaderFieldMissingDefaultValue,
    TypeMismatch,
    MissingUnionBranch,
    /// The bytes could be read, and would mean something else.
    LogicalTypeMismatch,
    /// A limit was reached, so nobody knows.
    TooComplex,
}

impl Kind {
    pub const fn code(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
            Self::LogicalTypeMismatch => "LOGICAL_TYPE_MISMATCH",
            Self::TooComplex => "TOO_COMPLEX",
        }
    }
}

/// What a new schema owes to the earlier ones of its subject. A level that is not transitive looks at the last alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    None,
    /// The new schema reads what was written: readers go first.
    Backward,
    BackwardTransitive,
    /// The earlier schema reads what will be written: writers go first.
    Forward,
    ForwardTransitive,
    /// Both.
    Full,
    FullTransitive,
}

impl Level {
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];
    /// In the order of [`Level::ALL`].
    pub const NAMES: [&str; 7] = [
        "NONE",
        "BACKWARD",
        "BACKWARD_TRANSITIVE",
        "FORWARD",
        "FORWARD_TRANSITIVE",
        "FULL",
        "FULL_TRANSITIVE",
    ];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    pub const fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    const fn is_backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    const fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }
}

/// What keeps a new schema from the level that its subject asks for; nothing if it may come. `earlier` has the versions in
/// their order. The message says who reads whom, and so in which schema the place is: in the reader's.
pub fn check(level: Level, new: &Schema, earlier: &[(i64, &Schema)]) -> Vec<Incompatibility> {
    let from = if level.is_transitive() { 0 } else { earlier.len().saturating_sub(1) };
    let mut found = Vec::new();
    for (version, earlier) in &earlier[from..] {
        if level.is_backward() {
            let so = format!("The new schema cannot read version {version}");
            found.extend(can_read(new, earlier).into_iter().map(|what| what.told_as(&so)));
        }
        if level.is_forward() {
            let so = format!("Version {version} cannot read the new schema");
            found.extend(can_read(earlier, new).into_iter().map(|what| what.told_as(&so)));
        }
        if found.len() >= INCOMPATIBILITIES_MAX {
            found.truncate(INCOMPATIBILITIES_MAX);
            break;
        }
    }
    found
}

impl Incompatibility {
    fn told_as(self, so: &str) -> Self {
        Self { message: format!("{so}: {}", self.message), ..self }
    }
}
