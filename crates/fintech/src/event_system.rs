//! Wires the event system: the relay and the consumers, on the transport that the settings name.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::event::Stream;
use registry::{Builtin, Codecs, Source};
use store::Store;
use stream::{
    consumer::{Consumer, Group},
    kafka::{
        self,
        topics::{self, TopicError},
        values::Values,
    },
    relay,
};
use telemetry::tasks::{Task, watched};
use tokio::{sync::watch, task::JoinSet};

use crate::settings::{Format, Settings};

/// How long a start waits for Kafka before it goes on without: the log keeps what cannot be published yet.
const KAFKA_PATIENCE_AT_START: Duration = Duration::from_secs(3);

/// The topic of a stream, as it is called or would be.
pub fn topic(settings: &Settings, stream: Stream) -> String {
    settings.kafka.as_ref().map_or_else(|| stream.name().to_owned(), |kafka| kafka.topic(stream))
}

/// How values are written and read.
pub fn values(store: &Store, settings: &Settings) -> Values {
    let source: Arc<dyn Source> = match &settings.schemas.remote {
        Some(remote) => remote.clone(),
        None => Arc::new(Builtin::new(store.clone())),
    };
    Values::new(Codecs::new(source), settings.schemas.format == Format::Avro)
}

/// Has the built-in registry know the schemas of this program, as it comes with it. In another one they are registered by a
/// step of the deployment.
pub async fn register_schemas(store: &Store, settings: &Settings) {
    if settings.schemas.remote.is_some() {
        return;
    }
    match Builtin::new(store.clone()).register_catalogue(|stream| topic(settings, stream)).await {
        Ok(0) => {}
        Ok(new) => tracing::info!(new, "schemas of events were registered"),
        // Somebody has registered others under these names. The relay says what it lacks; nobody else needs them.
        Err(error) => tracing::error!(%error, "the schemas of the events could not be registered"),
    }
}

/// Registers the schemas; makes and checks the topics. A topic that cannot be published to stops the start; a Kafka that is away does not.
pub async fn prepare(store: &Store, settings: &Settings) -> anyhow::Result<()> {
    register_schemas(store, settings).await;
    let Some(kafka) = &settings.kafka else { return Ok(()) };
    match topics::ensure_within(kafka, store.lanes(), KAFKA_PATIENCE_AT_START).await {
        Ok(checked) => {
            for warning in checked.warnings {
                tracing::warn!("{warning}");
            }
            Ok(())
        }
        Err(error @ TopicError::Unavailable { .. }) => {
            tracing::warn!(%error, "starting without Kafka: events wait in the log until it answers");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Each part as a task that ends at a batch's end.
pub fn start(store: &Store, settings: &Settings, stopping: &watch::Receiver<bool>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let values = values(store, settings);
    if let (true, Some(kafka)) = (settings.roles.relay, &settings.kafka) {
        let groups = groups(kafka);
        let relay = relay::run(
            store.clone(),
            kafka.clone(),
            values.clone(),
            settings.relay.clone(),
            groups,
            stopping.clone(),
        );
        tasks.spawn(watched(Task::Relay, relay));
    }
    if !settings.roles.consumers {
        return tasks;
    }
    match &settings.kafka {
        Some(kafka) => {
            let mut members: BTreeMap<Group, Vec<Arc<dyn Consumer>>> = BTreeMap::new();
            for consumer in consumers::all() {
                members.entry(consumer.group()).or_default().push(consumer);
            }
            for (group, consumers) in members {
                tasks.spawn(kafka::group::run(
                    store.clone(),
                    kafka.clone(),
                    group,
                    consumers,
                    values.clone(),
                    settings.consumers,
                    stopping.clone(),
                ));
            }
        }
        None => {
            for consumer in consumers::all() {
                let run = stream::runtime::run(store.clone(), consumer, settings.consumers, stopping.clone());
                // Why one stopped is in the log already.
                tasks.spawn(watched(Task::Consumer, async move { drop(run.await) }));
            }
        }
    }
    tasks
}

/// The names of the consumers' groups.
pub fn groups(kafka: &kafka::Settings) -> relay::dead_letters::Groups {
    consumers::all().iter().map(|consumer| (consumer.name(), kafka.group(consumer.group()))).collect()
}
