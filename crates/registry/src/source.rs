//! What the platform itself asks a registry for, whichever it is.

use futures_util::future::BoxFuture;
use schema::{catalogue::Entry, compatibility::Level, frame::SchemaId};

use crate::RegistryError;

/// What a registry will answer.
pub type Asking<'a, T> = BoxFuture<'a, Result<T, RegistryError>>;

/// A registry, as far as events are written and read with it.
pub trait Source: Send + Sync {
    /// The text of a schema, if there is one with this id.
    fn schema(&self, id: SchemaId) -> Asking<'_, Option<String>>;

    /// The id of a schema in a subject, if it is registered there.
    fn id<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, Option<SchemaId>>;

    /// What would be incompatible about a schema in a subject, a sentence each.
    fn check<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, Vec<String>>;

    /// Registers a schema, unless it is registered already.
    fn register<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, SchemaId>;

    /// Sets what versions of a subject must be to each other.
    fn set_level<'a>(&'a self, subject: &'a str, level: Level) -> Asking<'a, ()>;
}

/// The subject of an event on its topic, by the `TopicRecordNameStrategy`: a topic has several kinds of records.
pub fn subject(topic: &str, entry: &Entry) -> String {
    format!("{topic}-{}.{}", schema::catalogue::NAMESPACE, entry.event_type)
}
