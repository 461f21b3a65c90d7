//! The topics: made explicitly, with as many partitions as the log has lanes, and checked when they are there.

use std::time::Duration;

use domain::event::Stream;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{Context, REQUEST_TIMEOUT, Settings};

const REPLICATION_MAX_BY_DEFAULT: i32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// Worth trying again.
    #[error("Kafka at {servers} does not answer: {reason}")]
    Unavailable { servers: String, reason: String },
    #[error(
        "the topic {topic} has {found} partitions and the log has {wanted} lanes: events would lie in other \
         partitions than their keys say. Delete the topic and run `fintech topics rebuild`, or choose other names \
         with Kafka:Prefix"
    )]
    Partitions { topic: String, found: usize, wanted: u16 },
    #[error("the topic {topic} could not be made: {reason}")]
    NotMade { topic: String, reason: String },
}

/// What is worth knowing about the topics beyond that they are there.
#[derive(Debug, Default)]
pub struct Checked {
    pub made: Vec<String>,
    /// A sentence each.
    pub warnings: Vec<String>,
    /// The smallest limit that a topic sets to a batch of records, where it is smaller than ours.
    pub message_bytes_max: Option<usize>,
}

/// Makes the topics that are missing and checks the others.
pub async fn ensure(settings: &Settings, lanes: u16) -> Result<Checked, TopicError> {
    ensure_within(settings, lanes, REQUEST_TIMEOUT).await
}

/// The same, when Kafka answers the first question within `patience`.
pub async fn ensure_within(
    settings: &Settings,
    lanes: u16,
    patience: Duration,
) -> Result<Checked, TopicError> {
    let unavailable = |error: KafkaError| TopicError::Unavailable {
        servers: settings.bootstrap_servers.clone(),
        reason: error.to_string(),
    };
    let config = settings.admin_client();
    let client: AdminClient<Context> = config.create_with_context(Context).map_err(unavailable)?;
    let mut names: Vec<String> = Stream::ALL.iter().map(|stream| settings.topic(*stream)).collect();
    names.push(settings.dead_letter_topic());
    let options =
        AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));

    let (client, metadata) = blocking(client, move |client| {
        client.inner().fetch_metadata(None, patience).map(|metadata| {
            let topics = metadata.topics().iter().filter(|topic| topic.error().is_none());
            let topics: Vec<(String, usize)> =
                topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect();
            (metadata.brokers().len(), topics)
        })
    })
    .await;
    let (brokers, existing) = metadata.map_err(unavailable)?;
    let mut checked = Checked::default();
    for name in &names {
        match existing.iter().find(|(existing, _)| existing == name) {
            Some((_, found)) if *found != usize::from(lanes) => {
                return Err(TopicError::Partitions { topic: name.clone(), found: *found, wanted: lanes });
            }
            Some(_) => {}
            None => checked.made.push(name.clone()),
        }
    }
    if !checked.made.is_empty() {
        let brokers = i32::try_from(brokers).unwrap_or(i32::MAX);
        make(&client, settings, lanes, brokers, &checked.made, &options).await?;
    }
    let described = client
        .describe_configs(
            names.iter().map(|name| ResourceSpecifier::Topic(name)).collect::<Vec<_>>().iter(),
            &options,
        )
        .await
        .map_err(unavailable)?;
    for (name, config) in names.iter().zip(described) {
        // Who may not describe a topic is told less; publishing does not depend on it.
        let Ok(config) = config else { continue };
        let value = |key: &str| config.get(key).and_then(|entry| entry.value.clone());
        if value("unclean.leader.election.enable").as_deref() == Some("true") {
            checked.warnings.push(format!(
                "the topic {name} has unclean.leader.election.enable=true: acknowledged events can be lost"
            ));
        }
        if value("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
            checked.warnings.push(format!(
                "the topic {name} is compacted: older events of a merchant will vanish from it; set cleanup.policy=delete"
            ));
        }
        let bytes = value("max.message.bytes").and_then(|bytes| bytes.parse().ok());
        checked.message_bytes_max = checked.message_bytes_max.into_iter().chain(bytes).min();
    }
    drop_in_background(client);
    Ok(checked)
}

async fn make(
    client: &AdminClient<Context>,
    settings: &Settings,
    lanes: u16,
    brokers: i32,
    names: &[String],
    options: &AdminOptions,
) -> Result<(), TopicError> {
    let replication = settings.replication.unwrap_or_else(|| brokers.clamp(1, REPLICATION_MAX_BY_DEFAULT));
    let min_insync = settings.min_insync_replicas.unwrap_or_else(|| (replication - 1).max(1)).to_string();
    let retention_ms =
        settings.retention.map_or_else(|| "-1".to_owned(), |retention| retention.as_millis().to_string());
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| {
            NewTopic::new(name, i32::from(lanes), TopicReplication::Fixed(replication))
                .set("min.insync.replicas", &min_insync)
                .set("retention.ms", &retention_ms)
                .set("cleanup.policy", "delete")
                .set("unclean.leader.election.enable", "false")
                // The producer's, so that the broker need not compress again.
                .set("compression.type", "producer")
                // An event that is published late, or again, is not older than its retention at once.
                .set("message.timestamp.type", "LogAppendTime")
        })
        .collect();
    let results = client.create_topics(&topics, options).await.map_err(|error| TopicError::Unavailable {
        servers: settings.bootstrap_servers.clone(),
        reason: error.to_string(),
    })?;
    for result in results {
        match result {
            // Another node was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(TopicError::NotMade { topic, reason: code.to_string() }),
        }
    }
    Ok(())
}

/// Runs what blocks on a thread that may block, and gives the client back.
async fn blocking<C: Send + 'static, T: Send + 'static>(
    client: C,
    work: impl FnOnce(&C) -> T + Send + 'static,
) -> (C, T) {
    let task = tokio::task::spawn_blocking(move || {
        let result = work(&client);
        (client, result)
    });
    task.await.expect("a look at metadata does not panic")
}

/// Dropping a client may wait for its broker.
pub(crate) fn drop_in_background<T: Send + 'static>(client: T) {
    drop(tokio::task::spawn_blocking(move || drop(client)));
}
