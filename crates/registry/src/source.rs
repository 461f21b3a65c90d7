//! What the platform itself asks a registry for, whichever it is.

use futures_util::future::BoxFuture;
use schema::{catalogue::Entry, compatibility::Level, frame::SchemaId};

use crate::RegistryError;

/// A registry, as far as events are written and read with it.
pub trait Source: Send + Sync {
    /// The text of a schema, if there is one with this id.
    fn schema(&self, id: SchemaId) -> BoxFuture<'_, Result<Option<String>, RegistryError>>;

    /// The id of a schema in a subject, if it is registered there.
    fn id<'a>(
        &'a self,
        subject: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Option<SchemaId>, RegistryError>>;

    /// What would be incompatible about a schema in a subject, a sentence each.
    fn check<'a>(
        &'a self,
        subject: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, RegistryError>>;

    /// Registers a schema, unless it is registered already.
    fn register<'a>(
        &'a self,
        subject: &'a str,
        text: &'a str,
    ) -> BoxFuture<'a, Result<SchemaId, RegistryError>>;

    /// Sets what versions of a subject must be to each other.
    fn set_level<'a>(&'a self, subject: &'a str, level: Level) -> BoxFuture<'a, Result<(), RegistryError>>;
}

/// The subject of an event on its topic, by the `TopicRecordNameStrategy`: a topic has several kinds of records.
pub fn subject(topic: &str, entry: &Entry) -> String {
    format!("{topic}-{}.{}", schema::catalogue::NAMESPACE, entry.event_type)
}
