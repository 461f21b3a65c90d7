//! An event between its JSON and Avro, by a schema of either this program or a registry.
//!
//! The JSON of an event is derived from its schema: an object with the schema's fields in their order; text as it is, a
//! `uuid` as text, a `timestamp-micros` as RFC 3339 in UTC with six digits, an enum as its symbol, a null left out. That is
//! to the byte what the log holds, so a reader of Avro checks the chain of hashes, which is sealed over the JSON, without
//! asking the log. It is also why this is not left to a library: what libraries write as JSON is Avro's own JSON encoding,
//! and values in between would cost more than the whole. Tests compare the bytes with those of `apache-avro`.

use std::{borrow::Cow, fmt};

use apache_avro::{
    Schema,
    schema::{RecordSchema, UuidSchema},
};
use domain::time::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

/// Of one event; far above what any has.
const FIELDS_MAX: usize = 200;
const VARINT_BYTES_MAX: usize = 10;
/// A uuid as text.
const UUID_CHARS: usize = 36;

/// A schema, made ready for writing and reading.
#[derive(Debug)]
pub struct Codec {
    /// The record's name without its namespace: the event's type.
    name: String,
    pub(crate) fields: Vec<Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The numbers of the branches null and value, where it may be null.
    pub(crate) branches: Option<(i64, i64)>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Text,
    Uuid,
    Integer,
    Moment,
    Truth,
    Symbol(Vec<String>),
}

/// Why a schema cannot be an event's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("it is no Avro schema: {0}")]
    Unreadable(String),
    #[error("it is not a record")]
    NotARecord,
    #[error("it has more than {FIELDS_MAX} fields")]
    TooManyFields,
    #[error("its field {0} is of a type that events do not have")]
    ForeignType(String),
}

/// Why an event could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the JSON is not what the schema says: {0}")]
    Json(String),
    #[error("the body ends within the field {0}")]
    Truncated(String),
    #[error("the body has {0} bytes behind its last field")]
    Surplus(usize),
    #[error("the field {field} {what}")]
    Field { field: String, what: &'static str },
}

impl Codec {
    /// Of the text of a schema.
    pub fn parse(text: &str) -> Result<Self, CodecError> {
        let schema = Schema::parse_str(text).map_err(|error| CodecError::Unreadable(error.to_string()))?;
        Self::new(&schema)
    }

    pub fn new(schema: &Schema) -> Result<Self, CodecError> {
        let Schema::Record(RecordSchema { name, fields, .. }) = schema else {
            return Err(CodecError::NotARecord);
        };
        if fields.len() > FIELDS_MAX {
            return Err(CodecError::TooManyFields);
        }
        let fields = fields.iter().map(|field| {
            let foreign = || CodecError::ForeignType(field.name.clone());
            let (schema, branches) = match &field.schema {
                Schema::Union(union) => match union.variants() {
                    [Schema::Null, value] => (value, Some((0, 1))),
                    [value, Schema::Null] => (value, Some((1, 0))),
                    _ => return Err(foreign()),
                },
                schema => (schema, None),
            };
            let kind = kind_of(schema).ok_or_else(foreign)?;
            Ok(Field { name: field.name.clone(), kind, branches })
        });
        Ok(Self { name: name.name().to_owned(), fields: fields.collect::<Result<_, _>>()? })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends the Avro of an event's JSON. What is not the JSON that this schema gives is refused, and leaves what was
    /// appended before the flaw.
    pub fn write(&self, json: &str, into: &mut Vec<u8>) -> Result<(), BodyError> {
        let refused = |error: serde_json::Error| BodyError::Json(error.to_string());
        let mut reader = serde_json::Deserializer::from_str(json);
        reader.deserialize_map(Fields { codec: self, into }).map_err(refused)?;
        reader.end().map_err(refused)
    }

    /// The JSON of an event's Avro.
    pub fn read(&self, body: &[u8]) -> Result<String, BodyError> {
        // Field names are the larger part of it.
        let mut json = Vec::with_capacity(body.len() * 3 + 64);
        let mut rest = body;
        let mut opening = b'{';
        for field in &self.fields {
            if let Some((null, value)) = field.branches {
                let branch = integer(&mut rest).ok_or_else(|| field.truncated())?;
                if branch == null {
                    continue;
                }
                if branch != value {
                    return Err(field.flaw("has a branch that its union does not have"));
                }
            }
            json.push(opening);
            opening = b',';
            json.push(b'"');
            json.extend_from_slice(field.name.as_bytes());
            json.extend_from_slice(b"\":");
            field.read(&mut rest, &mut json)?;
        }
        if opening == b'{' {
            json.push(opening);
        }
        json.push(b'}');
        if !rest.is_empty() {
            return Err(BodyError::Surplus(rest.len()));
        }
        Ok(String::from_utf8(json).expect("it is made of texts"))
    }
}

fn kind_of(schema: &Schema) -> Option<Kind> {
    match schema {
        Schema::String => Some(Kind::Text),
        Schema::Uuid(UuidSchema::String) => Some(Kind::Uuid),
        Schema::Long => Some(Kind::Integer),
        Schema::TimestampMicros => Some(Kind::Moment),
        Schema::Boolean => Some(Kind::Truth),
        Schema::Enum(symbols) => Some(Kind::Symbol(symbols.symbols.clone())),
        _ => None,
    }
}

impl Field {
    fn truncated(&self) -> BodyError {
        BodyError::Truncated(self.name.clone())
    }

    fn flaw(&self, what: &'static str) -> BodyError {
        BodyError::Field { field: self.name.clone(), what }
    }

    fn read(&self, rest: &mut &[u8], json: &mut Vec<u8>) -> Result<(), BodyError> {
        match &self.kind {
            Kind::Text | Kind::Uuid => {
                let text = self.text(rest)?;
                if matches!(self.kind, Kind::Uuid) && !is_uuid(text) {
                    return Err(self.flaw("is not a uuid in lower case"));
                }
                quote(text, json);
            }
            Kind::Integer => {
                let number = integer(rest).ok_or_else(|| self.truncated())?;
                json.extend_from_slice(number.to_string().as_bytes());
            }
            Kind::Moment => {
                let micros = integer(rest).ok_or_else(|| self.truncated())?;
                let moment = Timestamp::from_micros(micros);
                if moment.as_micros() != micros {
                    return Err(self.flaw("is a time before 1970 or after 9999"));
                }
                json.push(b'"');
                json.extend_from_slice(moment.to_string().as_bytes());
                json.push(b'"');
            }
            Kind::Truth => {
                let (first, further) = rest.split_first().ok_or_else(|| self.truncated())?;
                *rest = further;
                let truth: &[u8] = match first {
                    0 => b"false",
                    1 => b"true",
                    _ => return Err(self.flaw("is neither true nor false")),
                };
                json.extend_from_slice(truth);
            }
            Kind::Symbol(symbols) => {
                let number = integer(rest).ok_or_else(|| self.truncated())?;
                let symbol = usize::try_from(number).ok().and_then(|number| symbols.get(number));
                quote(symbol.ok_or_else(|| self.flaw("has a symbol that its enum does not have"))?, json);
            }
        }
        Ok(())
    }

    fn text<'b>(&self, rest: &mut &'b [u8]) -> Result<&'b str, BodyError> {
        let length = integer(rest).ok_or_else(|| self.truncated())?;
        let length = usize::try_from(length).map_err(|_| self.flaw("has a length below zero"))?;
        let (bytes, further) = rest.split_at_checked(length).ok_or_else(|| self.truncated())?;
        *rest = further;
        str::from_utf8(bytes).map_err(|_| self.flaw("is not UTF-8"))
    }

    /// The branch of a value, where there is a choice.
    fn write_branch(&self, is_null: bool, into: &mut Vec<u8>) {
        if let Some((null, value)) = self.branches {
            push_integer(if is_null { null } else { value }, into);
        }
    }

    fn write_text<E: serde::de::Error>(&self, text: &str, into: &mut Vec<u8>) -> Result<(), E> {
        match &self.kind {
            Kind::Uuid if !is_uuid(text) => Err(self.refused("a uuid in lower case")),
            Kind::Text | Kind::Uuid => {
                push_integer(i64::try_from(text.len()).unwrap_or(i64::MAX), into);
                into.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Kind::Moment => {
                let moment = Timestamp::parse(text).ok_or_else(|| self.refused("a time in UTC"))?;
                push_integer(moment.as_micros(), into);
                Ok(())
            }
            Kind::Symbol(symbols) => {
                let number = symbols.iter().position(|symbol| symbol == text);
                let number = number.ok_or_else(|| self.refused("one of the enum's symbols"))?;
                push_integer(i64::try_from(number).unwrap_or(i64::MAX), into);
                Ok(())
            }
            Kind::Integer | Kind::Truth => Err(self.refused("no text")),
        }
    }

    fn refused<E: serde::de::Error>(&self, expected: &str) -> E {
        E::custom(format_args!("{} must be {expected}", self.name))
    }
}

/// An object with the fields of a schema, in their order.
struct Fields<'c, 'v> {
    codec: &'c Codec,
    into: &'v mut Vec<u8>,
}

impl<'de> Visitor<'de> for Fields<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", self.codec.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut fields = self.codec.fields.iter();
        while let Some(Name(name)) = map.next_key_seed(Name(Cow::Borrowed("")))? {
            let field = loop {
                let field = fields.next().ok_or_else(|| {
                    A::Error::custom(format_args!("{name} is no field of it, or stands in another place"))
                })?;
                if field.name == name {
                    break field;
                }
                left_out(field, self.into)?;
            };
            map.next_value_seed(Value { field, into: self.into })?;
        }
        fields.try_for_each(|field| left_out(field, self.into))
    }
}

fn left_out<E: serde::de::Error>(field: &Field, into: &mut Vec<u8>) -> Result<(), E> {
    if field.branches.is_none() {
        return Err(E::custom(format_args!("{} is missing, or stands in another place", field.name)));
    }
    field.write_branch(true, into);
    Ok(())
}

/// A key, borrowed where it has no escapes.
struct Name<'n>(Cow<'n, str>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Name<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name<'de>, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(text.to_owned())))
    }
}

/// The value of a field.
struct Value<'c, 'v> {
    field: &'c Field,
    into: &'v mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.field.write_branch(false, self.into);
        match self.field.kind {
            Kind::Integer => deserializer.deserialize_i64(self),
            Kind::Truth => deserializer.deserialize_bool(self),
            Kind::Text | Kind::Uuid | Kind::Moment | Kind::Symbol(_) => deserializer.deserialize_str(self),
        }
    }
}

impl Visitor<'_> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {}", self.field.name)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.field.write_text(text, self.into)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        match self.field.kind {
            Kind::Integer => {
                push_integer(number, self.into);
                Ok(())
            }
            _ => Err(self.field.refused("no number")),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        let number = i64::try_from(number).map_err(|_| self.field.refused("below 2^63"))?;
        self.visit_i64(number)
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<(), E> {
        self.into.push(u8::from(truth));
        Ok(())
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID_CHARS
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// As JSON writes a text.
fn quote(text: &str, json: &mut Vec<u8>) {
    serde_json::to_writer(json, text).expect("a vector takes what is written to it");
}

/// A `long`: zigzag, then seven bits a byte, the low ones first.
fn push_integer(number: i64, into: &mut Vec<u8>) {
    let mut rest = (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
    while rest >= 0x80 {
        into.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    into.push(rest.to_le_bytes()[0]);
}

fn integer(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for (at, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // Of the tenth byte one bit is left.
        if at == VARINT_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * at);
        if byte & 0x80 == 0 {
            *rest = &rest[at + 1..];
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}
