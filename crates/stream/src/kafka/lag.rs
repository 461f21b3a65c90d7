//! How far behind its partitions a consumer's group is, measured from the broker.

use domain::{lane::Lane, time::Timestamp};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use store::{log, sql::Reads};

use super::{Context, REQUEST_TIMEOUT, Settings};
use crate::{consumer::Consumer, position};

#[derive(Clone, Debug)]
pub struct PartitionLag {
    pub group: String,
    pub topic: String,
    pub partition: i32,
    /// The next offset that the group reads; `None` when it has committed none.
    pub committed: Option<i64>,
    pub end: i64,
    /// The age of the oldest event that is not handled.
    pub micros: i64,
}

impl PartitionLag {
    /// In records and markers of transactions, as `kafka-consumer-groups` counts.
    pub fn lag(&self) -> i64 {
        (self.end - self.committed.unwrap_or(0)).max(0)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LagError {
    #[error("Kafka does not answer: {0}")]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Database(#[from] store::error::ReadError),
    #[error("the look at Kafka was cut off: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

pub async fn partitions(
    settings: &Settings,
    consumer: &dyn Consumer,
    db: &dyn Reads,
    lanes: u16,
    now: Timestamp,
) -> Result<Vec<PartitionLag>, LagError> {
    let positions = position::load(db, consumer.name()).await?;
    let group = settings.group(consumer.group());
    let mut lags = Vec::new();
    for stream in consumer.streams() {
        let topic = settings.topic(*stream);
        let (config, asked, of) = (settings.admin_client(), topic.clone(), group.clone());
        let offsets = tokio::task::spawn_blocking(move || offsets(config, &of, &asked, lanes)).await??;
        for (lane, (committed, end)) in (0..lanes).zip(offsets) {
            let behind = positions.get(&(*stream, Lane(lane))).map_or(0, |mark| mark.position);
            let oldest = log::behind(db, *stream, Lane(lane), behind, 1).await?;
            let micros = oldest.first().map_or(0, |event| now.as_micros() - event.occurred_at.as_micros());
            lags.push(PartitionLag {
                group: group.clone(),
                topic: topic.clone(),
                partition: i32::from(lane),
                committed,
                end,
                micros,
            });
        }
    }
    Ok(lags)
}

/// What the group has committed in each partition, and where it ends.
fn offsets(
    mut config: rdkafka::ClientConfig,
    group: &str,
    topic: &str,
    lanes: u16,
) -> Result<Vec<(Option<i64>, i64)>, KafkaError> {
    let client: BaseConsumer<Context> = config.set("group.id", group).create_with_context(Context)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, i32::from(lanes) - 1);
    let committed = client.committed_offsets(list, REQUEST_TIMEOUT)?;
    let mut offsets = Vec::with_capacity(usize::from(lanes));
    for partition in 0..i32::from(lanes) {
        let (_, end) = client.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
        let committed = match committed.find_partition(topic, partition).map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => Some(offset),
            _ => None,
        };
        offsets.push((committed, end));
    }
    Ok(offsets)
}
