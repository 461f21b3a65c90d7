//! Transactions of the relay's that the coordinator has forgotten.
//!
//! A coordinator that is to end a transaction passes over partitions that have no leader at that moment: it takes them for
//! deleted. A broker that is killed under load and comes back is enough: then its partitions hold a transaction that nobody
//! will ever end, and readers of what is committed stand still at it (KIP-664 calls it hanging). When a producer has been
//! admitted, every transaction of its id is over as far as the coordinator knows; so what is still open under an older
//! epoch of the id is forgotten, and may be ended by whoever owns the id.

use std::collections::BTreeMap;

use kafka_protocol::{
    error::ParseResponseErrorCode as _,
    messages::{
        DescribeProducersRequest, ProducerId as WireId, TopicName, WriteTxnMarkersRequest,
        describe_producers_request::TopicRequest,
        write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic},
    },
    protocol::StrBytes,
};

use super::{Place, ProduceError, batch::ProducerId, cluster::Cluster};
use crate::kafka::record::Topic;

const DESCRIBE_VERSION_MAX: i16 = 0;
const MARKERS_VERSION_MAX: i16 = 1;

/// A transaction that is open in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Forgotten {
    place: Place,
    epoch: i16,
    coordinator_epoch: i32,
}

/// Ends what older epochs of `id` have left open. What cannot be looked at or ended stays: whoever reads the ends of the
/// topics waits for it, and says so.
pub(super) fn end(cluster: &mut Cluster, id: ProducerId) {
    for (broker, partitions) in led(cluster) {
        let ended = open(cluster, broker, &partitions, id).and_then(|forgotten| {
            if forgotten.is_empty() {
                return Ok(());
            }
            abort(cluster, broker, id, &forgotten)?;
            for Forgotten { place: (topic, partition), epoch, .. } in forgotten {
                let topic = cluster.topic(topic.number());
                tracing::warn!(
                    topic,
                    partition,
                    epoch,
                    "a transaction of this relay's that the coordinator had forgotten was ended"
                );
            }
            Ok(())
        });
        if let Err(error) = ended {
            tracing::warn!(broker, %error, "whether transactions were forgotten was not found out");
        }
    }
}

/// The partitions by the broker that leads them.
fn led(cluster: &Cluster) -> BTreeMap<i32, Vec<Place>> {
    let mut brokers: BTreeMap<i32, Vec<Place>> = BTreeMap::new();
    for topic in Topic::ALL {
        for (partition, broker) in cluster.leaders(topic.number()) {
            brokers.entry(broker).or_default().push((topic, partition));
        }
    }
    brokers
}

fn open(
    cluster: &mut Cluster,
    broker: i32,
    partitions: &[Place],
    id: ProducerId,
) -> Result<Vec<Forgotten>, ProduceError> {
    let topics = by_topic(cluster, partitions.iter().copied());
    let topics = topics
        .into_iter()
        .map(|(name, indexes)| TopicRequest::default().with_name(name).with_partition_indexes(indexes));
    let request = DescribeProducersRequest::default().with_topics(topics.collect());
    let answer = cluster.broker(broker)?.call(&request, DESCRIBE_VERSION_MAX)?;
    let mut forgotten = Vec::new();
    for topic in answer.topics {
        let Some(number) = cluster.number(topic.name.0.as_str(), uuid::Uuid::nil()) else { continue };
        let Some(known) = Topic::ALL.into_iter().find(|known| known.number() == number) else { continue };
        for partition in topic.partitions {
            if let Some(error) = partition.error_code.err() {
                return Err(ProduceError::from_code(error, "the producers of a partition were not told"));
            }
            let of_ours = partition.active_producers.iter().filter(|active| {
                active.producer_id.0 == id.id
                    && active.producer_epoch < i32::from(id.epoch)
                    && active.current_txn_start_offset >= 0
            });
            forgotten.extend(of_ours.filter_map(|active| {
                let epoch = i16::try_from(active.producer_epoch).ok()?;
                let place = (known, partition.partition_index);
                Some(Forgotten { place, epoch, coordinator_epoch: active.coordinator_epoch })
            }));
        }
    }
    Ok(forgotten)
}

fn abort(
    cluster: &mut Cluster,
    broker: i32,
    id: ProducerId,
    forgotten: &[Forgotten],
) -> Result<(), ProduceError> {
    let markers = forgotten.iter().map(|one| {
        let topics = by_topic(cluster, std::iter::once(one.place)).into_iter().map(|(name, indexes)| {
            WritableTxnMarkerTopic::default().with_name(name).with_partition_indexes(indexes)
        });
        WritableTxnMarker::default()
            .with_producer_id(WireId(id.id))
            .with_producer_epoch(one.epoch)
            .with_coordinator_epoch(one.coordinator_epoch)
            .with_transaction_result(false)
            .with_topics(topics.collect())
    });
    let request = WriteTxnMarkersRequest::default().with_markers(markers.collect());
    let answer = cluster.broker(broker)?.call(&request, MARKERS_VERSION_MAX)?;
    let topics = answer.markers.iter().flat_map(|marker| &marker.topics);
    let mut codes = topics.flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    match codes.find_map(|code| code.err()) {
        Some(error) => Err(ProduceError::from_code(error, "a transaction was not ended")),
        None => Ok(()),
    }
}

fn by_topic(cluster: &Cluster, partitions: impl Iterator<Item = Place>) -> BTreeMap<TopicName, Vec<i32>> {
    let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        let name = TopicName(StrBytes::from_string(cluster.topic(topic.number()).to_owned()));
        topics.entry(name).or_default().push(partition);
    }
    topics
}
