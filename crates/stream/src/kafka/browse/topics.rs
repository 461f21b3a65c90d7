//! The topics, with who reads them and how far behind each group is.

use std::{collections::BTreeMap, thread};

use bytes::Bytes;
use kafka_protocol::{messages::ConsumerProtocolAssignment, protocol::Decodable as _};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    consumer::{BaseConsumer, Consumer as _},
};

use super::{ANSWER_PATIENCE, BrowseError, Browser, Client, is_shown, unavailable};
use crate::kafka::{Context, Settings, topics::drop_in_background};

/// Topics that are shown, the first by name.
const TOPICS_MAX: usize = 500;
/// Groups that are looked at, the first by name: each takes a client of its own.
const GROUPS_MAX: usize = 50;
const GROUPS_AT_ONCE: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub partitions: Vec<Partition>,
    /// By name; empty where the platform's user may not see it.
    pub configuration: Vec<Entry>,
    /// Those that have committed an offset of it, or of which a member reads it.
    pub groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub id: i32,
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
    /// The first offset that is there, and the one behind the last that is committed; `None` while it has no leader.
    pub watermarks: Option<(i64, i64)>,
}

impl Partition {
    /// Offsets that are there: records, and markers of transactions.
    pub fn offsets(&self) -> i64 {
        self.watermarks.map_or(0, |(low, high)| high - low)
    }
}

/// An entry of a topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// `None` where it is a secret.
    pub value: Option<String>,
    pub is_default: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// As Kafka calls it: `Stable`, `Empty` …
    pub state: String,
    /// Those that read this topic.
    pub members: Vec<Member>,
    pub partitions: Vec<GroupPartition>,
}

impl Group {
    /// The sum over all partitions of the topic.
    pub fn lag(&self) -> i64 {
        self.partitions.iter().map(|partition| partition.lag).sum()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub client_id: String,
    pub host: String,
    pub partitions: Vec<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPartition {
    pub partition: i32,
    /// The next offset that the group reads; `None` when it has committed none.
    pub committed: Option<i64>,
    /// In records and markers of transactions, as `kafka-consumer-groups` counts; all that is there when nothing is
    /// committed.
    pub lag: i64,
}

impl Topic {
    /// The value of an entry of its configuration.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.configuration.iter().find(|entry| entry.name == name)?.value.as_deref()
    }
}

impl Browser {
    /// All topics of the platform, by name.
    pub async fn topics(&self) -> Result<Vec<Topic>, BrowseError> {
        self.describe(None).await
    }

    pub async fn topic(&self, name: &str) -> Result<Topic, BrowseError> {
        let found = self.describe(Some(name.to_owned())).await?;
        found.into_iter().next().ok_or_else(|| BrowseError::UnknownTopic(name.to_owned()))
    }

    async fn describe(&self, name: Option<String>) -> Result<Vec<Topic>, BrowseError> {
        let mut topics = self.look(move |settings| describe(settings, name.as_deref())).await?;
        // Who may not see the configuration is shown the rest.
        let mut configurations = self.configurations(&topics).await.unwrap_or_default();
        for topic in &mut topics {
            topic.configuration = configurations.remove(&topic.name).unwrap_or_default();
        }
        Ok(topics)
    }

    async fn configurations(&self, topics: &[Topic]) -> Option<BTreeMap<String, Vec<Entry>>> {
        let client: AdminClient<Context> = self.settings.admin_client().create_with_context(Context).ok()?;
        let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        let options = AdminOptions::new().request_timeout(Some(ANSWER_PATIENCE));
        let described = client.describe_configs(&asked, &options).await;
        drop_in_background(client);
        let found = topics.iter().zip(described.ok()?).filter_map(|(topic, resource)| {
            let mut entries: Vec<Entry> = resource.ok()?.entries.into_iter().map(entry).collect();
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Some((topic.name.clone(), entries))
        });
        Some(found.collect())
    }
}

fn entry(found: rdkafka::admin::ConfigEntry) -> Entry {
    let value = found.value.filter(|_| !found.is_sensitive);
    Entry { name: found.name, value, is_default: found.is_default }
}

fn describe(settings: &Settings, name: Option<&str>) -> Result<Vec<Topic>, BrowseError> {
    let client = Client::new(settings, &[])?;
    if let Some(name) = name {
        client.partitions(settings, name)?;
    }
    let metadata = client.get().fetch_metadata(name, ANSWER_PATIENCE);
    let metadata = metadata.map_err(|error| unavailable(settings, &error))?;
    let shown = metadata.topics().iter().filter(|topic| is_shown(settings, topic.name()));
    let mut topics: Vec<Topic> = shown
        .map(|topic| Topic {
            name: topic.name().to_owned(),
            partitions: topic.partitions().iter().map(partition).collect(),
            configuration: Vec::new(),
            groups: Vec::new(),
        })
        .collect();
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    topics.truncate(TOPICS_MAX);
    for topic in &mut topics {
        topic.partitions.sort_unstable_by_key(|partition| partition.id);
    }
    set_watermarks(&client, &mut topics);
    let groups = groups(settings, &client, &topics)?;
    for topic in &mut topics {
        topic.groups = groups.iter().filter_map(|group| group.on(topic)).collect();
    }
    Ok(topics)
}

fn partition(found: &rdkafka::metadata::MetadataPartition) -> Partition {
    Partition {
        id: found.id(),
        leader: Some(found.leader()).filter(|leader| *leader >= 0),
        replicas: found.replicas().to_vec(),
        in_sync: found.isr().to_vec(),
        watermarks: None,
    }
}

/// Of all partitions with two questions. A broker that is away keeps those of its partitions.
fn set_watermarks(client: &Client, topics: &mut [Topic]) {
    let places: Vec<(&str, i32)> = topics.iter().flat_map(Topic::places).collect();
    if places.is_empty() {
        return;
    }
    let offsets = |at| client.offsets(&places, at).unwrap_or_else(|_| vec![None; places.len()]);
    let (lows, highs) = (offsets(Offset::Beginning), offsets(Offset::End));
    let mut watermarks = lows.into_iter().zip(highs);
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.watermarks = watermarks.next().and_then(|(low, high)| low.zip(high));
    }
}

impl Topic {
    fn places(&self) -> impl Iterator<Item = (&str, i32)> {
        self.partitions.iter().map(|partition| (self.name.as_str(), partition.id))
    }
}

/// A group with all that it reads.
struct Found {
    name: String,
    state: String,
    /// Each with what it reads.
    members: Vec<(Member, BTreeMap<String, Vec<i32>>)>,
    committed: BTreeMap<(String, i32), i64>,
}

fn groups(settings: &Settings, client: &Client, topics: &[Topic]) -> Result<Vec<Found>, BrowseError> {
    let list = client.get().client().fetch_group_list(None, ANSWER_PATIENCE);
    let list = list.map_err(|error| unavailable(settings, &error))?;
    let mut groups: Vec<Found> = list
        .groups()
        .iter()
        .filter(|group| group.name().starts_with(&settings.prefix))
        .map(|group| Found {
            name: group.name().to_owned(),
            state: group.state().to_owned(),
            members: group.members().iter().map(member).collect(),
            committed: BTreeMap::new(),
        })
        .collect();
    groups.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    groups.truncate(GROUPS_MAX);
    let mut all = TopicPartitionList::new();
    for (topic, partition) in topics.iter().flat_map(Topic::places) {
        all.add_partition(topic, partition);
    }
    let runtime = tokio::runtime::Handle::current();
    for some in groups.chunks_mut(GROUPS_AT_ONCE) {
        thread::scope(|scope| {
            for group in some {
                let (all, runtime) = (all.clone(), runtime.clone());
                scope.spawn(move || {
                    let _in_runtime = runtime.enter();
                    group.committed = committed(settings, &group.name, all);
                });
            }
        });
    }
    Ok(groups)
}

/// What a group has committed. A coordinator that is away gives nothing.
fn committed(settings: &Settings, group: &str, all: TopicPartitionList) -> BTreeMap<(String, i32), i64> {
    let created = settings.admin_client().set("group.id", group).create_with_context(Context);
    let Ok(client): Result<BaseConsumer<Context>, _> = created else { return BTreeMap::new() };
    let found = client.committed_offsets(all, ANSWER_PATIENCE);
    drop_in_background(client);
    let Ok(found) = found else { return BTreeMap::new() };
    let offsets = found.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(offset) => Some(((element.topic().to_owned(), element.partition()), offset)),
        _ => None,
    });
    offsets.collect()
}

fn member(found: &rdkafka::groups::GroupMemberInfo) -> (Member, BTreeMap<String, Vec<i32>>) {
    let member = Member {
        client_id: found.client_id().to_owned(),
        host: found.client_host().trim_start_matches('/').to_owned(),
        partitions: Vec::new(),
    };
    (member, found.assignment().and_then(assignment).unwrap_or_default())
}

/// What a member was assigned, by the protocol of consumers; none where its group speaks another one.
fn assignment(bytes: &[u8]) -> Option<BTreeMap<String, Vec<i32>>> {
    let (version, body) = bytes.split_at_checked(size_of::<i16>())?;
    let version = i16::from_be_bytes(version.try_into().ok()?);
    let decoded = ConsumerProtocolAssignment::decode(&mut Bytes::copy_from_slice(body), version).ok()?;
    let topics = decoded.assigned_partitions.into_iter();
    Some(topics.map(|found| (found.topic.to_string(), found.partitions)).collect())
}

impl Found {
    /// As it reads a topic; `None` when it does not.
    fn on(&self, topic: &Topic) -> Option<Group> {
        let mut members = Vec::new();
        for (member, reads) in &self.members {
            if let Some(partitions) = reads.get(&topic.name) {
                members.push(Member { partitions: partitions.clone(), ..member.clone() });
            }
        }
        let partitions: Vec<GroupPartition> = topic
            .partitions
            .iter()
            .map(|partition| {
                let committed = self.committed.get(&(topic.name.clone(), partition.id)).copied();
                let lag = partition.watermarks.map_or(0, |(low, high)| high - committed.unwrap_or(low));
                GroupPartition { partition: partition.id, committed, lag: lag.max(0) }
            })
            .collect();
        let reads_it =
            !members.is_empty() || partitions.iter().any(|partition| partition.committed.is_some());
        reads_it.then(|| Group { name: self.name.clone(), state: self.state.clone(), members, partitions })
    }
}
