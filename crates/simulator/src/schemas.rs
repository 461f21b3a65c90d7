//! The registry of the simulation: it knows the schemas of the program, and is away when Kafka is.

use registry::{Asking, Level, RegistryError, Source};
use schema::{catalogue::CATALOGUE, frame::SchemaId};

use crate::client::Connection;

/// A process's own connection to it.
pub struct Schemas(pub Connection);

impl Schemas {
    async fn reach(&self) -> Result<(), RegistryError> {
        self.0.reach().await.map_err(RegistryError::Unavailable)
    }
}

impl Source for Schemas {
    fn schema(&self, id: SchemaId) -> Asking<'_, Option<String>> {
        Box::pin(async move {
            self.reach().await?;
            let entry = usize::try_from(id).ok().and_then(|id| CATALOGUE.get(id));
            Ok(entry.map(|entry| entry.avro.to_owned()))
        })
    }

    fn id<'a>(&'a self, _: &'a str, text: &'a str) -> Asking<'a, Option<SchemaId>> {
        Box::pin(async move {
            self.reach().await?;
            let place = CATALOGUE.iter().position(|entry| entry.avro == text);
            Ok(place.and_then(|place| SchemaId::try_from(place).ok()))
        })
    }

    fn check<'a>(&'a self, _: &'a str, _: &'a str) -> Asking<'a, Vec<String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn register<'a>(&'a self, subject: &'a str, _: &'a str) -> Asking<'a, SchemaId> {
        Box::pin(
            async move { Err(RegistryError::Broken(format!("nobody registers {subject} while it runs"))) },
        )
    }

    fn set_level<'a>(&'a self, _: &'a str, _: Level) -> Asking<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
