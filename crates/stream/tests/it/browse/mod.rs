//! Looking into a real Kafka: every message once whatever the page, what is hostile shown and not believed, limits told.

mod names;
mod pages;
mod tail;
mod topics;

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use registry::{Builtin, Codecs};
use store::Store;
use stream::kafka::{
    Settings,
    browse::{Browser, Cursor, Filter, Message, Order, Page, Wanted},
    values::Values,
};
use uuid::Uuid;

use crate::backend::{Backend, Database};

pub const PATIENCE: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 3;

/// Topics of one test on the broker that all tests share.
pub struct Kafka {
    pub servers: String,
    pub prefix: String,
    pub browser: Browser,
    pub store: Store,
    _database: Database,
}

impl Kafka {
    pub async fn new() -> Self {
        let servers = std::env::var("FINTECH_TEST_KAFKA")
            .expect("FINTECH_TEST_KAFKA is not set: run the tests by scripts/test");
        Self::at(servers).await
    }

    pub async fn at(servers: String) -> Self {
        let database = Backend::Sqlite.create().await;
        let store = database.open(4).await;
        let prefix = format!("browse-{}.", Uuid::now_v7().simple());
        let browser = Browser::new(settings(&servers, &prefix), values(&store));
        Self { servers, prefix, browser, store, _database: database }
    }

    pub fn values(&self) -> Values {
        values(&self.store)
    }

    pub fn topic(&self) -> String {
        format!("{}things", self.prefix)
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("message.max.bytes", "4000000");
        config
    }

    pub async fn make_topic(&self) -> String {
        let topic = self.topic();
        let client: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1))
            .set("retention.ms", "86400000")
            .set("max.message.bytes", "4000000")
            .set("message.timestamp.type", "LogAppendTime");
        client.create_topics(&[new], &options).await.unwrap()[0].as_ref().unwrap();
        topic
    }

    pub async fn page(&self, wanted: Wanted) -> Page {
        self.browser.page(wanted).await.unwrap()
    }

    /// All pages of a list.
    pub async fn all(&self, wanted: Wanted) -> Vec<Page> {
        let mut pages = vec![self.page(wanted.clone()).await];
        while let Some(next) = pages.last().and_then(|page| page.next.clone()) {
            // As it comes back in an address.
            let cursor: Cursor = next.to_string().parse().unwrap();
            pages.push(self.page(Wanted { cursor: Some(cursor), ..wanted.clone() }).await);
        }
        pages
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let config = self.client();
        let names = ["things", "payment-events", "withdrawal-events", "merchant-events", "dead-letter-queue"];
        let topics = names.map(|name| format!("{}{name}", self.prefix));
        let dropped = std::thread::spawn(move || {
            let client: AdminClient<DefaultClientContext> = config.create().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
            drop(runtime.block_on(client.delete_topics(&topics.each_ref().map(String::as_str), &options)));
        });
        drop(dropped.join());
    }
}

fn values(store: &Store) -> Values {
    Values::new(Codecs::new(Arc::new(Builtin::new(store.clone()))), false)
}

pub fn settings(servers: &str, prefix: &str) -> Settings {
    Settings {
        bootstrap_servers: servers.to_owned(),
        prefix: prefix.to_owned(),
        group_id: "fintechplatform-api".to_owned(),
        session_timeout: Duration::from_secs(6),
        compression: "snappy".to_owned(),
        send_retries: 3,
        message_bytes_max: 1_000_000,
        replication: None,
        min_insync_replicas: None,
        retention: None,
        security: Vec::new(),
    }
}

pub fn wanted(topic: &str, order: Order, messages_max: usize) -> Wanted {
    Wanted {
        topic: topic.to_owned(),
        partition: None,
        order,
        from_offset: None,
        since: None,
        until: None,
        filter: Filter::default(),
        messages_max,
        cursor: None,
    }
}

/// Sends records by hand: partition, key, value.
pub fn send(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    key: &str,
    value: &[u8],
    headers: OwnedHeaders,
) {
    let record = BaseRecord::to(topic).partition(partition).key(key).payload(value).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.poll(Duration::ZERO);
}

pub fn numbered(number: usize) -> OwnedHeaders {
    let (number, parity) = (number.to_string(), if number.is_multiple_of(2) { "even" } else { "odd" });
    OwnedHeaders::new()
        .insert(Header { key: "Number", value: Some(&number) })
        .insert(Header { key: "parity", value: Some(parity) })
}

/// Records in transactions of their own, so that markers lie between them; every fifth transaction is aborted.
pub fn publish(kafka: &Kafka, topic: &str, transactions: usize, each: usize) -> usize {
    let id = format!("{}publisher", kafka.prefix);
    let producer: BaseProducer = kafka.client().set("transactional.id", id).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    let mut published = 0;
    for transaction in 0..transactions {
        producer.begin_transaction().unwrap();
        let is_aborted = transaction % 5 == 4;
        for number in 0..each {
            let number = if is_aborted { usize::MAX } else { published + number };
            let partition = i32::try_from((transaction + number % each) % 3).unwrap();
            let value = format!("{{\"number\":{number}}}");
            send(&producer, topic, partition, &format!("key-{number}"), value.as_bytes(), numbered(number));
        }
        producer.flush(PATIENCE).unwrap();
        if is_aborted {
            producer.abort_transaction(PATIENCE).unwrap();
        } else {
            producer.commit_transaction(PATIENCE).unwrap();
            published += each;
        }
    }
    published
}

pub fn keys(messages: &[Message]) -> Vec<String> {
    let text = |message: &Message| String::from_utf8(message.key.clone().unwrap()).unwrap();
    messages.iter().map(text).collect()
}
