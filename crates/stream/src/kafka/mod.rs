//! Apache Kafka, through librdkafka: what is configured, and how each client is made from it.

mod broker;
pub mod browse;
pub mod ends;
pub mod everything;
pub mod group;
mod headers;
pub mod lag;
mod member;
pub mod presence;
mod producer;
pub mod publisher;
mod reader;
pub mod record;
pub mod session;
pub mod slot;
pub mod topics;
pub mod values;
mod walk;
mod watchdog;

use std::time::Duration;

use domain::event::Stream;
use rdkafka::{
    ClientConfig, ClientContext, config::RDKafkaLogLevel, consumer::ConsumerContext, error::KafkaError,
};

use self::record::Topic;
use crate::consumer::Group;

pub const DEAD_LETTER_TOPIC: &str = "dead-letter-queue";

/// How soon a member of a group sees that a topic was made, or made anew. librdkafka looks every five minutes unless
/// it is told otherwise, and joins without a topic that is not there at that moment.
const MEMBER_METADATA_REFRESH: Duration = Duration::from_secs(3);
/// How long a request for metadata, offsets or an admin operation may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const POLL_INTERVAL_MAX: Duration = Duration::from_mins(5);
/// What librdkafka reads ahead for one client, before it asks for more. It takes about twice as much again, for what is
/// on its way and for its own notes on each record.
const READ_AHEAD_KIB: u32 = 4 * 1024;
/// One answer to a fetch, and the part of a partition in it, both compressed. A larger record comes alone.
const FETCH_BYTES_MAX: usize = 2 * 1024 * 1024;
const FETCH_PARTITION_BYTES_MAX: usize = 128 * 1024;
/// A transaction of a relay that vanished is aborted by the broker after this long.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Records of one request for a partition; also a bound for what one record may take.
const BATCH_BYTES_MAX: usize = 1_000_000;

#[derive(Clone)]
pub struct Settings {
    pub bootstrap_servers: String,
    /// Stands before the names of topics, groups and transactional ids: for several platforms on one cluster.
    pub prefix: String,
    /// The group of the event loggers.
    pub group_id: String,
    /// A member that is not heard of for this long loses its partitions.
    pub session_timeout: Duration,
    pub compression: String,
    pub send_retries: u64,
    /// A larger event is not published as it is.
    pub message_bytes_max: usize,
    /// `None`: three, or as many as there are brokers.
    pub replication: Option<i32>,
    /// `None`: one less than the replicas.
    pub min_insync_replicas: Option<i32>,
    /// `None`: for ever.
    pub retention: Option<Duration>,
    /// Configuration of librdkafka for TLS and SASL; holds secrets.
    pub security: Vec<(&'static str, String)>,
}

impl Settings {
    pub fn topic(&self, stream: Stream) -> String {
        format!("{}{}", self.prefix, stream.name())
    }

    pub fn dead_letter_topic(&self) -> String {
        format!("{}{DEAD_LETTER_TOPIC}", self.prefix)
    }

    pub fn group(&self, group: Group) -> String {
        match group {
            Group::Platform => format!("{}{}", self.prefix, self.group_id),
            Group::Named(name) => format!("{}{name}", self.prefix),
        }
    }

    pub fn transactional_id(&self) -> String {
        format!("{}fintechplatform-relay", self.prefix)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", "fintech")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            // What a client says about itself at its end, and about lost connections, we say ourselves.
            .set("log.connection.close", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        for (key, value) in &self.security {
            config.set(*key, value);
        }
        config
    }

    /// For administration, metadata and looking up offsets.
    pub(crate) fn admin_client(&self) -> ClientConfig {
        self.client()
    }

    pub fn name(&self, topic: Topic) -> String {
        match topic {
            Topic::Stream(stream) => self.topic(stream),
            Topic::DeadLetters => self.dead_letter_topic(),
        }
    }

    /// The relay's producer: idempotent and transactional, acknowledged by all replicas in sync.
    pub(crate) fn transactions(&self) -> producer::Config {
        producer::Config {
            servers: self.bootstrap_servers.clone(),
            security: producer::Security::new(&self.security),
            transactional_id: self.transactional_id(),
            transaction_timeout: TRANSACTION_TIMEOUT,
            compression: producer::Compression::parse(&self.compression)
                .unwrap_or(producer::Compression::Snappy),
            batch_bytes_max: BATCH_BYTES_MAX.min(self.message_bytes_max),
            retries: self.send_retries,
            topics: Topic::ALL.iter().map(|topic| self.name(*topic)).collect(),
        }
    }

    /// A reader without a group, from where it is told to the end, for looking at what was really published.
    pub(crate) fn reader(&self) -> ClientConfig {
        let mut config = self.client();
        config
            // Needed by librdkafka; nothing is ever committed under it.
            .set("group.id", format!("{}fintechplatform-relay-ends", self.prefix))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "10")
            .set("enable.metrics.push", "false");
        read_ahead(&mut config);
        config
    }

    /// A member of a consumer group.
    pub(crate) fn member(&self, group: Group) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", self.group(group))
            // The newer protocol loses commits in this version of librdkafka (node-rdkafka#1146).
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", self.session_timeout.as_millis().to_string())
            .set("max.poll.interval.ms", POLL_INTERVAL_MAX.as_millis().to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100")
            .set("topic.metadata.refresh.interval.ms", MEMBER_METADATA_REFRESH.as_millis().to_string())
            .set("enable.metrics.push", "false");
        read_ahead(&mut config);
        config
    }
}

fn read_ahead(config: &mut ClientConfig) {
    config
        .set("queued.max.messages.kbytes", READ_AHEAD_KIB.to_string())
        // Unless told otherwise, librdkafka looks again a second after it had read ahead enough.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
        .set("fetch.message.max.bytes", FETCH_PARTITION_BYTES_MAX.to_string());
}

/// Sends what librdkafka says to our log. Lost connections are its daily bread, so only what stays wrong is told
/// loudly, by whoever waits for the broker.
pub struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "librdkafka: {message}");
            }
            _ => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "librdkafka: {reason}");
    }
}

impl ConsumerContext for Context {}
