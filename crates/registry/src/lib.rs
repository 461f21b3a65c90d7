//! Schema registries: the built-in one, which keeps its schemas in the platform's database, and a client for any other
//! one that speaks the HTTP API of Confluent Schema Registry. The built-in one speaks it, too: see `api::schema_registry`.

mod builtin;
mod codecs;
mod error;
mod remote;
mod rows;
mod source;
mod text;

pub use builtin::{Among, Builtin, Registered, Version};
pub use codecs::{Codecs, Read, ReadError, Writers};
pub use error::RegistryError;
pub use remote::{Credentials, Remote};
pub use schema::compatibility::{Incompatibility, Level};
pub use source::{Asking, Source, subject};

/// Of what registries send and are sent.
pub const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
pub const SUBJECTS_MAX: i64 = 10_000;
pub const VERSIONS_A_SUBJECT_MAX: i64 = 200;
/// Ever: an id and its schema are kept for good.
pub const SCHEMAS_MAX: i64 = 20_000;
pub const SUBJECT_CHARS_MAX: usize = 512;
