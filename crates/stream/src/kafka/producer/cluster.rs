//! The brokers of a cluster: where they are, which of them leads a partition, which coordinates a transactional id.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use kafka_protocol::{
    error::{ParseResponseErrorCode as _, ResponseError},
    messages::{FindCoordinatorRequest, MetadataRequest, TopicName, metadata_request::MetadataRequestTopic},
    protocol::StrBytes,
};
use uuid::Uuid;

use super::{
    ProduceError,
    connection::{Connection, Security},
};

const METADATA_VERSION_MAX: i16 = 12;
const FIND_COORDINATOR_VERSION_MAX: i16 = 4;
const TRANSACTION_COORDINATOR: i8 = 1;
/// From this version on several coordinators are asked for at once.
const COORDINATORS_VERSION: i16 = 4;
/// Between two looks for a leader that is being elected.
const ELECTION_PAUSE: Duration = Duration::from_millis(50);

pub struct Cluster {
    bootstrap: Vec<String>,
    security: Security,
    topics: Vec<String>,
    addresses: BTreeMap<i32, String>,
    connections: BTreeMap<i32, Connection>,
    /// Ids of the topics as first seen: a topic that is made anew gets another one.
    ids: HashMap<String, Uuid>,
    leaders: HashMap<(usize, i32), i32>,
    /// A topic that was there, and is not.
    gone: Option<String>,
}

impl Cluster {
    pub fn new(servers: &str, security: Security, topics: Vec<String>) -> Self {
        Self {
            bootstrap: servers.split(',').map(|server| server.trim().to_owned()).collect(),
            security,
            topics,
            addresses: BTreeMap::new(),
            connections: BTreeMap::new(),
            ids: HashMap::new(),
            leaders: HashMap::new(),
            gone: None,
        }
    }

    /// A topic by its number.
    pub fn topic(&self, topic: usize) -> &str {
        &self.topics[topic]
    }

    /// The id of a topic, by its number; nil where the cluster has none.
    pub fn id(&self, topic: usize) -> Uuid {
        self.ids.get(self.topic(topic)).copied().unwrap_or_default()
    }

    pub fn number(&self, name: &str, id: Uuid) -> Option<usize> {
        (0..self.topics.len())
            .find(|number| self.topics[*number] == name || (!id.is_nil() && self.id(*number) == id))
    }

    /// The broker that leads a partition; waited for until `deadline` when there is none.
    pub fn leader(&mut self, topic: usize, partition: i32, deadline: Instant) -> Result<i32, ProduceError> {
        loop {
            if let Some(leader) = self.leaders.get(&(topic, partition)) {
                return Ok(*leader);
            }
            self.refresh()?;
            if !self.leaders.contains_key(&(topic, partition)) {
                if Instant::now() > deadline {
                    let topic = self.topic(topic);
                    return Err(ProduceError::Failed(format!("{topic} partition {partition} has no leader")));
                }
                std::thread::sleep(ELECTION_PAUSE);
            }
        }
    }

    /// The partitions of a topic that have a leader, with it.
    pub fn leaders(&self, topic: usize) -> impl Iterator<Item = (i32, i32)> {
        let leaders = self.leaders.iter();
        leaders.filter(move |((of, _), _)| *of == topic).map(|((_, partition), broker)| (*partition, *broker))
    }

    pub fn forget_leaders(&mut self) {
        self.leaders.clear();
    }

    /// Reads who is there and who leads what.
    pub fn refresh(&mut self) -> Result<(), ProduceError> {
        let topics = self.topics.iter().map(|name| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
        });
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false);
        let answer = self.any()?.call(&request, METADATA_VERSION_MAX)?;
        self.addresses =
            answer.brokers.iter().map(|broker| (broker.node_id.0, at(&broker.host, broker.port))).collect();
        let addresses = &self.addresses;
        self.connections.retain(|broker, _| addresses.contains_key(broker));
        self.leaders.clear();
        for topic in &answer.topics {
            let Some(name) = topic.name.as_ref().map(|name| name.0.as_str()) else { continue };
            let Some(number) = self.number(name, topic.topic_id) else { continue };
            if topic.error_code != 0 {
                let is_gone = topic.error_code.err() == Some(ResponseError::UnknownTopicOrPartition);
                if is_gone && self.ids.contains_key(name) {
                    self.gone = Some(name.to_owned());
                }
                continue;
            }
            let id = *self.ids.entry(name.to_owned()).or_insert(topic.topic_id);
            if id != topic.topic_id {
                return Err(ProduceError::TopicMadeAnew(name.to_owned()));
            }
            for partition in &topic.partitions {
                if partition.leader_id.0 >= 0 && self.addresses.contains_key(&partition.leader_id.0) {
                    self.leaders.insert((number, partition.partition_index), partition.leader_id.0);
                }
            }
        }
        Ok(())
    }

    /// Whether the topics are still there, and the same.
    pub fn check_topics(&mut self) -> Result<(), ProduceError> {
        self.gone = None;
        self.refresh()?;
        self.gone.take().map_or(Ok(()), |topic| Err(ProduceError::TopicMadeAnew(topic)))
    }

    /// The broker that coordinates a transactional id.
    pub fn coordinator(&mut self, transactional_id: &str) -> Result<i32, ProduceError> {
        let key = StrBytes::from_string(transactional_id.to_owned());
        let connection = self.any()?;
        let version = connection.version::<FindCoordinatorRequest>(FIND_COORDINATOR_VERSION_MAX)?;
        let request = FindCoordinatorRequest::default().with_key_type(TRANSACTION_COORDINATOR);
        let request = if version < COORDINATORS_VERSION {
            request.with_key(key)
        } else {
            request.with_coordinator_keys(vec![key])
        };
        connection.send(&request, version)?;
        let answer = connection.receive::<FindCoordinatorRequest>(version)?;
        let (code, node, host, port) = match answer.coordinators.first() {
            Some(found) => (found.error_code, found.node_id, &found.host, found.port),
            None => (answer.error_code, answer.node_id, &answer.host, answer.port),
        };
        if let Some(error) = code.err() {
            return Err(ProduceError::from_code(error, "the coordinator of transactions was not found"));
        }
        self.addresses.insert(node.0, at(host, port));
        Ok(node.0)
    }

    /// The connection to a broker, made when there is none.
    pub fn broker(&mut self, broker: i32) -> Result<&mut Connection, ProduceError> {
        if !self.connections.contains_key(&broker) {
            let Some(address) = self.addresses.get(&broker) else {
                return Err(ProduceError::Failed(format!("broker {broker} is not there")));
            };
            self.connections.insert(broker, Connection::open(address, &self.security)?);
        }
        self.connections
            .get_mut(&broker)
            .ok_or_else(|| ProduceError::Failed(format!("broker {broker} is not there")))
    }

    /// Any broker that answers: one that is connected, or the first that can be.
    fn any(&mut self) -> Result<&mut Connection, ProduceError> {
        if let Some(broker) = self.connections.keys().next().copied() {
            return self.broker(broker);
        }
        let known = self.addresses.values().chain(&self.bootstrap);
        let mut failure = None;
        for address in known {
            match Connection::open(address, &self.security) {
                Ok(connection) => {
                    // Under no broker's number: which one it is, the metadata do not say.
                    self.connections.insert(BOOTSTRAP, connection);
                    break;
                }
                Err(error) => failure = Some(error),
            }
        }
        match (self.connections.get_mut(&BOOTSTRAP), failure) {
            (Some(connection), _) => Ok(connection),
            (None, Some(error)) => Err(error.into()),
            (None, None) => Err(ProduceError::Failed("no broker is configured".to_owned())),
        }
    }
}

/// The number under which the connection lies that was made before any broker was known.
const BOOTSTRAP: i32 = -1;

fn at(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
