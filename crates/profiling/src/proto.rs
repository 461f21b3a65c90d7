//! pprof's format (`profile.proto` of github.com/google/pprof), as far as it is written here, and reading it back.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use prost::{Message, bytes::Bytes};

#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// The first one is empty; all other texts are places in it.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    #[prost(int64, tag = "7")]
    pub drop_frames: i64,
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub period: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ValueType {
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// The innermost first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    #[prost(int64, tag = "1")]
    pub key: i64,
    #[prost(int64, tag = "2")]
    pub str: i64,
}

// The format has them.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mapping {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    #[prost(int64, tag = "5")]
    pub filename: i64,
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct Location {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// What was inlined there first, then what it was inlined into.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Line {
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    #[prost(int64, tag = "2")]
    pub line: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Function {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(int64, tag = "2")]
    pub name: i64,
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    #[prost(int64, tag = "4")]
    pub filename: i64,
}

impl Profile {
    pub(crate) fn write(&self) -> io::Result<Vec<u8>> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&self.encode_to_vec())?;
        gzip.finish()
    }

    /// Reads what an endpoint answered.
    pub fn read(gzipped: &[u8]) -> io::Result<Self> {
        let mut plain = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut plain)?;
        Self::decode(Bytes::from(plain)).map_err(io::Error::other)
    }

    /// The sum of a value, such as `cpu`, over all samples whose stack has a function with this in its name; `None`: the
    /// profile has no such value.
    pub fn value_in(&self, function: &str, value: &str) -> Option<i64> {
        let value = self.sample_type.iter().position(|of| self.text(of.r#type) == value)?;
        let named = |id: &u64| {
            let function = self.function.iter().find(|known| known.id == *id);
            function.map_or("", |known| self.text(known.name))
        };
        let is_in = |location: &Location| {
            location.line.iter().any(|line| named(&line.function_id).contains(function))
        };
        let is_there: HashMap<u64, bool> =
            self.location.iter().map(|location| (location.id, is_in(location))).collect();
        let samples = self.sample.iter().filter(|sample| {
            sample.location_id.iter().any(|id| is_there.get(id).copied().unwrap_or_default())
        });
        Some(samples.filter_map(|sample| sample.value.get(value)).sum())
    }

    /// The names of the threads that samples are of.
    pub fn threads(&self) -> impl Iterator<Item = &str> {
        let labels = self.sample.iter().flat_map(|sample| &sample.label);
        labels.filter(|label| self.text(label.key) == "thread").map(|label| self.text(label.str))
    }

    fn text(&self, place: i64) -> &str {
        let text = usize::try_from(place).ok().and_then(|place| self.string_table.get(place));
        text.map_or("", String::as_str)
    }
}
