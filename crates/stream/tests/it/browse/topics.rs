//! Topics, who reads them, and a cluster that is away.

use std::time::{Duration, Instant};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    message::OwnedHeaders,
    producer::{BaseProducer, Producer as _},
};
use registry::Codecs;
use stream::kafka::{
    browse::{BrowseError, Browser, Filter, Order, Wanted},
    values::Values,
};

use super::{Kafka, PATIENCE, send, settings, wanted};

/// Topics with all that people look for, and those of others are not shown.
#[tokio::test(flavor = "multi_thread")]
async fn topics_are_shown_with_who_reads_them() {
    let (kafka, other) = (Kafka::new().await, Kafka::new().await);
    let (topic, others) = (kafka.make_topic().await, other.make_topic().await);
    let producer: BaseProducer = kafka.client().create().unwrap();
    for number in 0..10 {
        send(&producer, &topic, number % 2, "key", b"value", OwnedHeaders::new());
    }
    producer.flush(PATIENCE).unwrap();
    let group = format!("{}readers", kafka.prefix);
    let reader: BaseConsumer = kafka.client().set("group.id", &group).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&topic, 0, Offset::Offset(3)).unwrap();
    reader.commit(&offsets, CommitMode::Sync).unwrap();
    let topics = kafka.browser.topics().await.unwrap();
    assert_eq!(topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), [topic.as_str()]);
    let found = kafka.browser.topic(&topic).await.unwrap();
    assert_eq!(topics, std::slice::from_ref(&found));
    let watermarks: Vec<_> = found.partitions.iter().map(|partition| partition.watermarks).collect();
    assert_eq!(watermarks, [Some((0, 5)), Some((0, 5)), Some((0, 0))]);
    for partition in &found.partitions {
        let leader = partition.leader.unwrap();
        assert_eq!(
            (partition.replicas.as_slice(), partition.in_sync.as_slice()),
            (&[leader][..], &[leader][..])
        );
    }
    assert_eq!(found.setting("retention.ms"), Some("86400000"));
    assert_eq!(found.setting("cleanup.policy"), Some("delete"));
    let [readers] = found.groups.as_slice() else { panic!("{:?}", found.groups) };
    assert_eq!((readers.name.as_str(), readers.state.as_str()), (group.as_str(), "Empty"));
    let of: Vec<_> = readers.partitions.iter().map(|of| (of.partition, of.committed, of.lag)).collect();
    assert_eq!(of, [(0, Some(3), 2), (1, None, 5), (2, None, 0)]);
    assert_eq!((readers.lag(), readers.members.len()), (7, 0));
    let unknown = kafka.browser.topic(&others).await;
    assert!(matches!(&unknown, Err(BrowseError::UnknownTopic(name)) if *name == others), "{unknown:?}");
    let unknown = kafka.browser.page(wanted(&others, Order::Newest, 5)).await;
    assert!(matches!(unknown, Err(BrowseError::UnknownTopic(_))), "{unknown:?}");
    let unknown = kafka.browser.topic(&format!("{}nothing", kafka.prefix)).await;
    assert!(matches!(unknown, Err(BrowseError::UnknownTopic(_))), "{unknown:?}");
    let unknown = kafka.browser.page(Wanted { partition: Some(3), ..wanted(&topic, Order::Newest, 5) }).await;
    assert!(matches!(unknown, Err(BrowseError::UnknownPartition { partition: 3, .. })), "{unknown:?}");
    let first = kafka.page(wanted(&topic, Order::Newest, 5)).await;
    let turned = kafka.browser.page(Wanted { cursor: first.next, ..wanted(&topic, Order::Oldest, 5) }).await;
    assert!(matches!(turned, Err(BrowseError::OtherOrder)), "{turned:?}");
}

/// A group whose members are there is shown with what each of them reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_shown_with_its_partitions() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    let group = format!("{}members", kafka.prefix);
    let config = kafka.client().set("group.id", &group).set("client.id", "a reader").clone();
    let member: BaseConsumer = config.create().unwrap();
    member.subscribe(&[&topic]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while member.assignment().unwrap().count() == 0 {
        assert!(Instant::now() < deadline, "the group did not settle");
        drop(member.poll(Duration::from_millis(50)));
    }
    let found = kafka.browser.topic(&topic).await.unwrap();
    let [group] = found.groups.as_slice() else { panic!("{:?}", found.groups) };
    let [reader] = group.members.as_slice() else { panic!("{:?}", group.members) };
    assert_eq!((reader.client_id.as_str(), reader.partitions.as_slice()), ("a reader", &[0, 1, 2][..]));
    assert_eq!(group.state, "Stable");
}

/// A cluster that is away is told within seconds, whatever is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_that_is_away_is_told_soon() {
    // Taken and given back: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let values = Values::new(Codecs::new(std::sync::Arc::new(Nothing)), false);
    let browser = Browser::new(settings(&free.to_string(), ""), values);
    let begun_at = Instant::now();
    let (topics, page, tail) = tokio::join!(
        browser.topics(),
        browser.page(wanted("payment-events", Order::Newest, 5)),
        browser.tail("payment-events", None, Filter::default()),
    );
    let told = [topics.err(), page.err(), tail.err()];
    assert!(begun_at.elapsed() < Duration::from_secs(6), "{:?}", begun_at.elapsed());
    for error in told {
        let told = error.unwrap().to_string();
        assert!(
            told.starts_with(&format!("Kafka at {free} does not answer: no broker could be reached")),
            "{told}"
        );
    }
}

/// A registry that is not asked.
struct Nothing;

impl registry::Source for Nothing {
    fn schema(&self, _: schema::frame::SchemaId) -> registry::Asking<'_, Option<String>> {
        unreachable!("no value was read")
    }

    fn id<'a>(&'a self, _: &'a str, _: &'a str) -> registry::Asking<'a, Option<schema::frame::SchemaId>> {
        unreachable!("nothing is written")
    }

    fn check<'a>(&'a self, _: &'a str, _: &'a str) -> registry::Asking<'a, Vec<String>> {
        unreachable!("nothing is registered")
    }

    fn register<'a>(&'a self, _: &'a str, _: &'a str) -> registry::Asking<'a, schema::frame::SchemaId> {
        unreachable!("nothing is registered")
    }

    fn set_level<'a>(&'a self, _: &'a str, _: registry::Level) -> registry::Asking<'a, ()> {
        unreachable!("nothing is registered")
    }
}
