//! What lies under a schema's logical type, and how the two are told in a sentence.

use std::fmt;

use apache_avro::{
    Schema,
    schema::{
        Alias, DecimalSchema, EnumSchema, FixedSchema, InnerDecimalSchema, Name, RecordSchema, UnionSchema,
        UuidSchema,
    },
};

/// Names told in one message; of the others the number.
const NAMES_TOLD_MAX: usize = 10;

/// The type that a value is written as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Underlying<'s> {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(&'s Schema),
    Map(&'s Schema),
    Union(&'s UnionSchema),
    Record(&'s RecordSchema),
    Enum(&'s EnumSchema),
    Fixed(&'s FixedSchema),
    /// A name, to be looked up.
    Ref(&'s Name),
}

/// What the value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logical {
    None,
    /// A date, a time of day or a moment, each with its unit.
    Time(&'static str),
    Decimal {
        precision: usize,
        scale: usize,
    },
    BigDecimal,
    UuidText,
    UuidBytes,
    Duration,
}

impl<'s> Underlying<'s> {
    pub(super) fn of(schema: &'s Schema) -> Self {
        match schema {
            Schema::Null => Self::Null,
            Schema::Boolean => Self::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Self::Int,
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Self::Long,
            Schema::Float => Self::Float,
            Schema::Double => Self::Double,
            Schema::Bytes
            | Schema::BigDecimal
            | Schema::Uuid(UuidSchema::Bytes)
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Bytes, .. }) => Self::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Self::String,
            Schema::Array(array) => Self::Array(&array.items),
            Schema::Map(map) => Self::Map(&map.types),
            Schema::Union(union) => Self::Union(union),
            Schema::Record(record) => Self::Record(record),
            Schema::Enum(symbols) => Self::Enum(symbols),
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed))
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
                Self::Fixed(fixed)
            }
            Schema::Ref { name } => Self::Ref(name),
        }
    }

    /// Whether a reader of this type reads what a writer of another wrote, where both are primitive.
    pub(super) const fn reads_primitive(self, writer: Underlying<'_>) -> bool {
        use Underlying::{Boolean, Bytes, Double, Float, Int, Long, Null, String};
        matches!(
            (self, writer),
            (Null, Null)
                | (Boolean, Boolean)
                | (Int, Int)
                | (Long, Int | Long)
                | (Float, Int | Long | Float)
                | (Double, Int | Long | Float | Double)
                | (Bytes | String, Bytes | String)
        )
    }

    /// Whether it is the same type, named types having the same name. What they hold is not looked at.
    pub(super) fn is_same_type(self, writer: Underlying<'_>) -> bool {
        match (self, writer) {
            (Self::Record(reader), Underlying::Record(writer)) => {
                name_matches(&reader.name, reader.aliases.as_deref(), &writer.name)
            }
            (Self::Enum(reader), Underlying::Enum(writer)) => {
                name_matches(&reader.name, reader.aliases.as_deref(), &writer.name)
            }
            (Self::Fixed(reader), Underlying::Fixed(writer)) => {
                name_matches(&reader.name, reader.aliases.as_deref(), &writer.name)
            }
            (Self::Null, Underlying::Null)
            | (Self::Boolean, Underlying::Boolean)
            | (Self::Int, Underlying::Int)
            | (Self::Long, Underlying::Long)
            | (Self::Float, Underlying::Float)
            | (Self::Double, Underlying::Double)
            | (Self::Bytes, Underlying::Bytes)
            | (Self::String, Underlying::String)
            | (Self::Array(_), Underlying::Array(_))
            | (Self::Map(_), Underlying::Map(_)) => true,
            _ => false,
        }
    }
}

/// The specification matches unqualified names. An alias is a full name, and only the reader's count.
pub(super) fn name_matches(reader: &Name, aliases: Option<&[Alias]>, writer: &Name) -> bool {
    let is_alias = |alias: &Alias| alias.fully_qualified_name(reader.namespace()).as_ref() == writer;
    reader.name() == writer.name() || aliases.is_some_and(|aliases| aliases.iter().any(is_alias))
}

impl Logical {
    pub(super) const fn of(schema: &Schema) -> Self {
        match schema {
            Schema::Date => Self::Time("date"),
            Schema::TimeMillis => Self::Time("time-millis"),
            Schema::TimeMicros => Self::Time("time-micros"),
            Schema::TimestampMillis => Self::Time("timestamp-millis"),
            Schema::TimestampMicros => Self::Time("timestamp-micros"),
            Schema::TimestampNanos => Self::Time("timestamp-nanos"),
            Schema::LocalTimestampMillis => Self::Time("local-timestamp-millis"),
            Schema::LocalTimestampMicros => Self::Time("local-timestamp-micros"),
            Schema::LocalTimestampNanos => Self::Time("local-timestamp-nanos"),
            Schema::Decimal(DecimalSchema { precision, scale, .. }) => {
                Self::Decimal { precision: *precision, scale: *scale }
            }
            Schema::BigDecimal => Self::BigDecimal,
            Schema::Uuid(UuidSchema::String) => Self::UuidText,
            Schema::Uuid(UuidSchema::Bytes | UuidSchema::Fixed(_)) => Self::UuidBytes,
            Schema::Duration(_) => Self::Duration,
            _ => Self::None,
        }
    }

    /// Whether the same bytes mean the same. Where one side knows of no logical type, both take the underlying one, as the
    /// specification has it; a decimal though is nothing without its scale.
    pub(super) fn agrees(self, writer: Self) -> bool {
        match (self, writer) {
            (Self::Decimal { .. } | Self::BigDecimal, _) | (_, Self::Decimal { .. } | Self::BigDecimal) => {
                self == writer
            }
            (Self::Time(_), Self::Time(_)) => self == writer,
            (Self::UuidText, Self::UuidBytes) | (Self::UuidBytes, Self::UuidText) => false,
            _ => true,
        }
    }
}

/// A schema in a word or two.
pub(super) struct Told<'s>(pub(super) &'s Schema);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Logical::of(self.0) {
            Logical::None => match Underlying::of(self.0) {
                Underlying::Null => f.write_str("null"),
                Underlying::Boolean => f.write_str("boolean"),
                Underlying::Int => f.write_str("int"),
                Underlying::Long => f.write_str("long"),
                Underlying::Float => f.write_str("float"),
                Underlying::Double => f.write_str("double"),
                Underlying::Bytes => f.write_str("bytes"),
                Underlying::String => f.write_str("string"),
                Underlying::Array(_) => f.write_str("array"),
                Underlying::Map(_) => f.write_str("map"),
                Underlying::Union(union) => {
                    let branches: Vec<_> = union.variants().iter().map(Told).collect();
                    write!(f, "union of {}", Listed(&branches))
                }
                Underlying::Record(record) => write!(f, "record {}", record.name),
                Underlying::Enum(symbols) => write!(f, "enum {}", symbols.name),
                Underlying::Fixed(fixed) => write!(f, "fixed {}", fixed.name),
                Underlying::Ref(name) => write!(f, "{name}"),
            },
            Logical::Time(unit) => f.write_str(unit),
            Logical::Decimal { precision, scale } => write!(f, "decimal({precision}, {scale})"),
            Logical::BigDecimal => f.write_str("big-decimal"),
            Logical::UuidText => f.write_str("uuid as string"),
            Logical::UuidBytes => f.write_str("uuid as bytes"),
            Logical::Duration => f.write_str("duration"),
        }
    }
}

/// Some of many, as a sentence lists them.
pub(super) struct Listed<'l, T>(pub(super) &'l [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.0.len().min(NAMES_TOLD_MAX);
        let untold = self.0.len() - told;
        for (at, item) in self.0[..told].iter().enumerate() {
            let before = match at {
                0 => "",
                _ if at + 1 == told && untold == 0 => " and ",
                _ => ", ",
            };
            write!(f, "{before}{item}")?;
        }
        if untold > 0 { write!(f, " and {untold} more") } else { Ok(()) }
    }
}
