//! A real Kafka for one test: topics and groups of its own on a broker that all tests share, or a cluster that
//! the test may break.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::{Header, Headers as _, Message as _, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    PATIENCE,
    backend::{Database, Folder, Kind},
    eventually,
    server::Server,
    services::{services, try_services},
};

/// Few, so that a test's topics are made quickly and its lanes are busy.
pub const LANES: i32 = 4;
pub const STREAMS: [&str; 3] = ["payment-events", "withdrawal-events", "merchant-events"];
const REQUEST: Duration = Duration::from_secs(20);

pub struct Kafka {
    pub servers: String,
    pub prefix: String,
    /// Where the services of a cluster of the test's own are noted.
    own: Option<Folder>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub headers: BTreeMap<String, String>,
    /// The names of the headers as they lie there.
    pub order: Vec<String>,
    pub value: String,
    pub bytes: Vec<u8>,
}

impl Kafka {
    /// On the broker that all tests share.
    pub fn new() -> Self {
        let servers = std::env::var("FINTECH_TEST_KAFKA").unwrap_or_else(|_| {
            panic!("tests on Kafka need a broker: run scripts/test, or eval \"$(scripts/services up)\" && cargo test")
        });
        Self { servers, prefix: new_prefix(), own: None }
    }

    /// A cluster of the test's own, which it may stop and start.
    pub fn cluster(nodes: u32) -> Self {
        Self::cluster_with(nodes, "")
    }

    /// The same, with features as another version of Kafka has them.
    pub fn cluster_with(nodes: u32, features: &str) -> Self {
        let own = Folder::new();
        let arguments = ["up", "--only", "kafka", "--kafka-nodes", &nodes.to_string()];
        let up = services(own.path(), &arguments, &[("FINTECH_KAFKA_FEATURES", features)]);
        let servers = up.lines().find_map(|line| line.strip_prefix("export Kafka__BootstrapServers="));
        Self { servers: servers.unwrap().to_owned(), prefix: new_prefix(), own: Some(own) }
    }

    /// Stops a node of the test's own cluster as an outage does, or starts it again.
    pub fn node(&self, action: &str, number: u32) {
        self.try_node(action, number).unwrap();
    }

    pub fn try_node(&self, action: &str, number: u32) -> Result<(), String> {
        let own = self.own.as_ref().expect("the broker that all tests share is not stopped");
        try_services(own.path(), &[action, &format!("kafka-{number}")], &[]).map(drop)
    }

    /// The real program on these topics.
    pub fn server(&self, kind: Kind, further: &[(&str, &str)]) -> Server {
        self.server_on(Database::new(kind), Folder::new(), further)
    }

    /// The same, on data that is there already.
    pub fn server_on(&self, database: Database, folder: Folder, further: &[(&str, &str)]) -> Server {
        let lanes = LANES.to_string();
        let mut variables = vec![
            ("Kafka__BootstrapServers", self.servers.as_str()),
            ("Kafka__Prefix", self.prefix.as_str()),
            ("Ledger__Lanes", lanes.as_str()),
            ("Relay__LeaseMilliseconds", "1000"),
            ("Kafka__SessionTimeoutMilliseconds", "6000"),
            ("Consumers__BackoffInitialMilliseconds", "10"),
            ("Consumers__BackoffMaxMilliseconds", "50"),
        ];
        variables.retain(|(name, _)| further.iter().all(|(other, _)| other != name));
        variables.extend(further);
        Server::start_on(database, folder, &variables)
    }

    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn group(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// All committed records of a topic that are there now, by partition and offset.
    pub fn records(&self, name: &str) -> Vec<Record> {
        let topic = self.topic(name);
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", format!("{}looker", self.prefix))
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        let mut open = Vec::new();
        let metadata = consumer.fetch_metadata(Some(&topic), REQUEST).unwrap();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(&topic, partition.id(), Offset::Beginning).unwrap();
            open.push(partition.id());
        }
        consumer.assign(&list).unwrap();
        let mut records = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !open.is_empty() {
            assert!(Instant::now() < deadline, "{topic} could not be read to its end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(record(&message.detach())),
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                    open.retain(|known| *known != partition);
                }
                _ => {}
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// Sends a record by hand, as somebody might.
    pub fn produce(
        &self,
        name: &str,
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) {
        let producer: BaseProducer = self.client().create().unwrap();
        let topic = self.topic(name);
        let mut owned = OwnedHeaders::new();
        for (key, value) in headers {
            owned = owned.insert(Header { key, value: Some(*value) });
        }
        let mut record = BaseRecord::to(&topic).partition(partition).key(key).headers(owned);
        if let Some(value) = value {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(REQUEST).unwrap();
    }

    /// Makes a topic anew with these records, which keeps them for ever.
    pub fn refill(&self, name: &str, records: &[Record]) {
        self.refill_with(name, records, "-1");
    }

    pub fn refill_with(&self, name: &str, records: &[Record], retention_ms: &str) {
        self.delete_topic(name);
        self.make_topic(name, LANES, &[("retention.ms", retention_ms)]);
        let producer: BaseProducer = self.client().create().unwrap();
        let topic = self.topic(name);
        for Record { partition, key, headers, order, bytes, .. } in records {
            let mut owned = OwnedHeaders::new();
            for key in order {
                owned = owned.insert(Header { key, value: Some(&headers[key]) });
            }
            let record = BaseRecord::to(&topic).partition(*partition).key(key).headers(owned).payload(bytes);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(REQUEST).unwrap();
    }

    /// The offsets that a group has committed, by topic and partition; without those that it has not.
    pub fn committed(&self, group: &str, topics: &[&str]) -> BTreeMap<(String, i32), i64> {
        let consumer: BaseConsumer = self.client().set("group.id", self.group(group)).create().unwrap();
        let mut list = TopicPartitionList::new();
        for topic in topics {
            list.add_partition_range(&self.topic(topic), 0, LANES - 1);
        }
        let committed = consumer.committed_offsets(list, REQUEST).unwrap();
        let elements = committed.elements();
        let offsets = elements.iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some(((element.topic().to_owned(), element.partition()), offset)),
            _ => None,
        });
        offsets.collect()
    }

    /// The sum of what a group has not read yet, as `kafka-consumer-groups` computes it.
    pub fn lag(&self, group: &str, topics: &[&str]) -> i64 {
        let committed = self.committed(group, topics);
        let consumer: BaseConsumer = self.client().create().unwrap();
        let mut lag = 0;
        for topic in topics.iter().map(|topic| self.topic(topic)) {
            for partition in 0..LANES {
                let (_, end) = consumer.fetch_watermarks(&topic, partition, REQUEST).unwrap();
                lag += end - committed.get(&(topic.clone(), partition)).copied().unwrap_or(-1);
            }
        }
        lag
    }

    pub fn admin<T>(
        &self,
        work: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T,
    ) -> T {
        let client: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work(&client, &options))
    }

    pub fn delete_topic(&self, name: &str) {
        let topic = self.topic(name);
        self.admin(async |client, options| {
            client.delete_topics(&[&topic], options).await.unwrap()[0].as_ref().unwrap();
        });
        let consumer: BaseConsumer = self.client().create().unwrap();
        eventually("the end of a topic", || {
            let metadata = consumer.fetch_metadata(None, REQUEST).unwrap();
            metadata.topics().iter().all(|known| known.name() != topic).then_some(())
        });
    }

    pub fn make_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = self.topic(name);
        self.admin(async |client, options| {
            let mut new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
            for (key, value) in settings {
                new = new.set(key, value);
            }
            client.create_topics(&[new], options).await.unwrap()[0].as_ref().unwrap();
        });
    }

    /// Makes the broker forget all records of a topic, as retention does.
    pub fn expire(&self, name: &str) {
        self.expire_before(name, &(0..LANES).map(|partition| (partition, Offset::End)).collect::<Vec<_>>());
    }

    /// The same, up to an offset of each partition.
    pub fn expire_before(&self, name: &str, offsets: &[(i32, Offset)]) {
        let topic = self.topic(name);
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&topic, *partition, *offset).unwrap();
        }
        self.admin(async |client, options| {
            client.delete_records(&list, options).await.unwrap();
        });
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    /// Waits until the topics hold as many records as the log, then compares: exactly the log's events, once, in
    /// order, with the hashes of the chain (invariants 3 and 4).
    #[track_caller]
    pub fn hold_the_log(&self, server: &Server) {
        let log = log(server);
        let ids = |records: &[Record]| records.iter().map(|r| r.headers["ce_id"].clone()).collect::<Vec<_>>();
        for stream in STREAMS {
            let wanted: Vec<&Value> = log.iter().filter(|event| event["stream"] == stream).collect();
            let found = eventually("the topic to hold the log", || {
                let found = self.records(stream);
                (found.len() >= wanted.len()).then_some(found)
            });
            let mut by_lane = found.clone();
            by_lane.sort_by_key(|record| (record.partition, record.offset));
            assert_eq!(found.len(), wanted.len(), "{stream}: {:?}", ids(&by_lane));
            for (record, event) in by_lane.iter().zip(wanted) {
                assert_eq!(i64::from(record.partition), event["lane"].as_i64().unwrap(), "{stream}");
                assert_eq!(record.headers["position"], event["position"].to_string(), "{stream} {record:?}");
                assert_eq!(record.headers["chain-hash"], event["hash"].as_str().unwrap());
                if !record.headers.contains_key("claim-check") {
                    assert_eq!(record.value, event["event"].to_string());
                }
                assert_eq!(record.key, event["event"]["merchantId"].as_str().unwrap());
            }
        }
    }
}

/// All events of the log, by lane and position within each stream.
pub fn log(server: &Server) -> Vec<Value> {
    let tail = server.run(&["events", "tail", "--all"]);
    assert_eq!(tail.code, Some(0), "{}", tail.stderr);
    let mut log: Vec<Value> = tail.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    log.sort_by_key(|event| (event["lane"].as_i64(), event["position"].as_i64()));
    log
}

fn record(message: &rdkafka::message::OwnedMessage) -> Record {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().map(|headers| {
        headers.iter().map(|h| (h.key.to_owned(), h.value.map(text).unwrap_or_default())).collect()
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(text).unwrap_or_default(),
        order: message
            .headers()
            .map(|headers| headers.iter().map(|h| h.key.to_owned()).collect())
            .unwrap_or_default(),
        headers: headers.unwrap_or_default(),
        value: message.payload().map(text).unwrap_or_default(),
        bytes: message.payload().map(<[u8]>::to_vec).unwrap_or_default(),
    }
}

fn new_prefix() -> String {
    format!("it-{}.", Uuid::new_v4().simple())
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            services(own.path(), &["down"], &[]);
            return;
        }
        let names: Vec<String> =
            STREAMS.iter().chain(&["dead-letter-queue"]).map(|name| self.topic(name)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.admin(async |client, options| drop(client.delete_topics(&names, options).await));
    }
}
