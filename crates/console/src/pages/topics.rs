//! `/topics` and `/topics/{name}`: what lies where, and who reads it, in the same row.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use stream::kafka::browse::{self, Group, Partition};

use super::Visit;
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    messages::source::{self, Source},
    show::span,
    state::Console,
};

const MICROS_A_MILLISECOND: i64 = 1000;

#[derive(Template)]
#[template(path = "topics.html")]
struct TopicsPage {
    frame: Frame,
    rows: Vec<TopicRow>,
    servers: String,
}

struct TopicRow {
    name: String,
    partitions: usize,
    offsets: i64,
    retention: String,
    without_leader: usize,
    groups: Vec<GroupRow>,
}

/// A group that reads a topic.
struct GroupRow {
    name: String,
    /// Of the consumer, where the group has one only.
    href: String,
    state: String,
    lag: i64,
}

#[derive(Template)]
#[template(path = "topic.html")]
struct TopicPage {
    frame: Frame,
    topic: TopicRow,
    groups: Vec<GroupRow>,
    members: Vec<MemberRow>,
    partitions: Vec<PartitionRow>,
    configuration: Vec<EntryRow>,
}

struct MemberRow {
    group: String,
    client: String,
    host: String,
    partitions: String,
}

struct PartitionRow {
    id: i32,
    leader: String,
    replicas: String,
    in_sync: String,
    is_behind: bool,
    watermarks: Option<(i64, i64)>,
    offsets: i64,
    /// Of each group in its order: what it has committed, and how far it is behind.
    groups: Vec<(String, i64)>,
}

struct EntryRow {
    name: String,
    value: String,
    is_default: bool,
}

/// `GET /topics`
pub async fn list(State(console): State<Console>, visit: Visit) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let topics = source::topics(&console).await?;
    render(&TopicsPage {
        rows: topics.iter().map(|topic| TopicRow::new(topic, &console)).collect(),
        servers: console.kafka().map(|settings| settings.bootstrap_servers.clone()).unwrap_or_default(),
        frame: visit.frame(Section::Topics, "Topics"),
    })
}

/// `GET /topics/{name}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let source = Source::of(&console, &name)?;
    let topic = source.topic(&console).await?;
    let members = topic.groups.iter().flat_map(|group| {
        group.members.iter().map(|member| MemberRow {
            group: group.name.clone(),
            client: member.client_id.clone(),
            host: member.host.clone(),
            partitions: numbers(&member.partitions),
        })
    });
    let entry = |entry: &browse::Entry| EntryRow {
        name: entry.name.clone(),
        value: entry.value.clone().unwrap_or_else(|| "masked".to_owned()),
        is_default: entry.is_default,
    };
    render(&TopicPage {
        members: members.collect(),
        groups: topic.groups.iter().map(|group| GroupRow::new(group, &console)).collect(),
        partitions: topic.partitions.iter().map(|of| PartitionRow::new(of, &topic.groups)).collect(),
        configuration: topic.configuration.iter().map(entry).collect(),
        topic: TopicRow::new(&topic, &console),
        frame: visit.frame(Section::Topics, format!("{} topic", topic.name)),
    })
}

impl TopicRow {
    fn new(topic: &browse::Topic, console: &Console) -> Self {
        Self {
            name: topic.name.clone(),
            partitions: topic.partitions.len(),
            offsets: topic.partitions.iter().map(Partition::offsets).sum(),
            retention: if console.kafka().is_some() { retention(topic) } else { "for ever".to_owned() },
            without_leader: topic.partitions.iter().filter(|of| of.watermarks.is_none()).count(),
            groups: topic.groups.iter().map(|group| GroupRow::new(group, console)).collect(),
        }
    }
}

fn retention(topic: &browse::Topic) -> String {
    let millis: Option<i64> = topic.setting("retention.ms").and_then(|text| text.parse().ok());
    match millis {
        None => "not told".to_owned(),
        Some(..0) => "for ever".to_owned(),
        Some(millis) => span(millis.saturating_mul(MICROS_A_MILLISECOND)),
    }
}

impl GroupRow {
    fn new(group: &Group, console: &Console) -> Self {
        let of_group = console.consumers().iter().filter(|consumer| match console.kafka() {
            Some(settings) => settings.group(consumer.group()) == group.name,
            None => consumer.name() == group.name,
        });
        let names: Vec<&str> = of_group.map(|consumer| consumer.name()).collect();
        let href = match names.as_slice() {
            [] => String::new(),
            [only] => format!("/consumers/{only}"),
            _ => "/consumers".to_owned(),
        };
        Self { name: group.name.clone(), href, state: group.state.clone(), lag: group.lag() }
    }
}

impl PartitionRow {
    fn new(partition: &Partition, groups: &[Group]) -> Self {
        let Partition { id, leader, replicas, in_sync, watermarks } = partition;
        let of_group = |group: &Group| {
            let found = group.partitions.iter().find(|found| found.partition == *id);
            let committed = found.and_then(|found| found.committed);
            (
                committed.map_or_else(|| "–".to_owned(), |offset| offset.to_string()),
                found.map_or(0, |found| found.lag),
            )
        };
        Self {
            id: *id,
            leader: leader.map_or_else(|| "–".to_owned(), |leader| leader.to_string()),
            replicas: numbers(replicas),
            in_sync: numbers(in_sync),
            is_behind: in_sync.len() < replicas.len(),
            watermarks: *watermarks,
            offsets: partition.offsets(),
            groups: groups.iter().map(of_group).collect(),
        }
    }
}

pub fn numbers(numbers: &[i32]) -> String {
    if numbers.is_empty() {
        return "–".to_owned();
    }
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
