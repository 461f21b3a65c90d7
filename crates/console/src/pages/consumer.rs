//! `/consumers/{name}`: one consumer, lane by lane; pausing it, letting it go on, and where it is to begin again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::event::Stream;
use store::error::ReadError;
use stream::{
    consumer::{Consumer, Replay},
    control::{self, ControlError},
    kafka::browse::Topic,
    lag::{self, PlaceLag},
};

use super::{Visit, consumers::ConsumerRow, topics::numbers};
use crate::{
    change::{Form, capitalised, done},
    fault::{Fault, render},
    layout::{Frame, Section},
    messages::kafka,
    show::{When, span},
    state::Console,
};

/// How long the page waits for what Kafka says.
const KAFKA_PATIENCE: Duration = Duration::from_secs(4);

#[derive(Template)]
#[template(path = "consumer.html")]
struct ConsumerPage {
    frame: Frame,
    row: ConsumerRow,
    is_paused: bool,
    changed: Option<(String, When)>,
    places: Vec<PlaceRow>,
    streams: Vec<&'static str>,
    lanes: u16,
    /// A restart may begin anywhere, and not at the beginning only.
    may_begin_anywhere: bool,
    may_control: bool,
    members: Vec<MemberRow>,
    /// Why nothing of Kafka is shown.
    kafka_trouble: String,
}

struct PlaceRow {
    stream: &'static str,
    lane: u16,
    position: String,
    head: i64,
    lag: i64,
    age: String,
    /// What the group has committed, and where the partition ends.
    committed: String,
    end: String,
}

struct MemberRow {
    client: String,
    host: String,
    topic: String,
    partitions: String,
}

/// What Kafka says of a consumer's group.
#[derive(Default)]
struct OnKafka {
    /// By topic and partition: what the group has committed, and where the partition ends.
    offsets: BTreeMap<(String, i32), (Option<i64>, Option<i64>)>,
    members: Vec<MemberRow>,
    trouble: String,
}

/// `GET /consumers/{name}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let pulse = console.read(console.pulses().now()).await?;
    let lag = pulse.lags.iter().find(|lag| lag.consumer == name);
    let consumer = console.consumer(&name);
    if lag.is_none() && consumer.is_none() {
        return Err(unknown(&console, &name));
    }
    let streams = consumer.map_or(&Stream::ALL[..], |consumer| consumer.streams());
    let places = console.read(lag::places(console.db(), &name, streams, console.now())).await?;
    let states = console.read(control::states(console.db())).await?;
    let state = states.into_iter().find(|state| state.consumer == name);
    let on_kafka = match consumer {
        Some(consumer) => on_kafka(&console, consumer).await,
        None => OnKafka::default(),
    };
    let clock = visit.clock;
    render(&ConsumerPage {
        row: ConsumerRow::new(&console, &name, lag),
        is_paused: state.as_ref().is_some_and(|state| state.is_paused),
        changed: state.map(|state| (state.changed_by, clock.when(state.changed_at))),
        places: places.iter().map(|place| PlaceRow::new(&console, place, &on_kafka)).collect(),
        streams: streams.iter().map(|stream| stream.name()).collect(),
        lanes: console.store().lanes(),
        may_begin_anywhere: consumer.is_some_and(|consumer| consumer.replay() != Replay::Rebuilds),
        may_control: consumer.is_some() && visit.viewer.may(Permission::ControlConsumers),
        members: on_kafka.members,
        kafka_trouble: on_kafka.trouble,
        frame: visit.frame(Section::Consumers, format!("{name} consumer")),
    })
}

impl PlaceRow {
    fn new(console: &Console, place: &PlaceLag, on_kafka: &OnKafka) -> Self {
        let (stream, lane) = place.place;
        let topic = console.kafka().map(|settings| settings.topic(stream)).unwrap_or_default();
        let offsets = on_kafka.offsets.get(&(topic, i32::from(lane.0)));
        let or_none =
            |number: Option<i64>| number.map_or_else(|| "–".to_owned(), |number| number.to_string());
        Self {
            stream: stream.name(),
            lane: lane.0,
            position: or_none(place.position),
            head: place.head,
            lag: place.events(),
            age: if place.events() > 0 { span(place.micros) } else { "–".to_owned() },
            committed: or_none(offsets.and_then(|(committed, _)| *committed)),
            end: or_none(offsets.and_then(|(_, end)| *end)),
        }
    }
}

/// The page is shown without what Kafka does not say in time.
async fn on_kafka(console: &Console, consumer: &Arc<dyn Consumer>) -> OnKafka {
    let Some((settings, browser)) = console.kafka().zip(console.browser()) else { return OnKafka::default() };
    let trouble = |trouble: String| OnKafka { trouble, ..OnKafka::default() };
    match tokio::time::timeout(KAFKA_PATIENCE, browser.topics()).await {
        Ok(Ok(topics)) => OnKafka::new(&topics, &settings.group(consumer.group())),
        Ok(Err(error)) => trouble(kafka::fault(error).detail.into_owned()),
        Err(_) => trouble("Kafka does not answer.".to_owned()),
    }
}

impl OnKafka {
    fn new(topics: &[Topic], name: &str) -> Self {
        let mut on_kafka = Self::default();
        for topic in topics {
            let group = topic.groups.iter().find(|group| group.name == name);
            for partition in &topic.partitions {
                let of_group = group
                    .and_then(|group| group.partitions.iter().find(|found| found.partition == partition.id));
                let committed = of_group.and_then(|found| found.committed);
                let end = partition.watermarks.map(|(_, end)| end);
                on_kafka.offsets.insert((topic.name.clone(), partition.id), (committed, end));
            }
            let members = group.into_iter().flat_map(|group| &group.members);
            on_kafka.members.extend(members.map(|member| MemberRow {
                client: member.client_id.clone(),
                host: member.host.clone(),
                topic: topic.name.clone(),
                partitions: numbers(&member.partitions),
            }));
        }
        on_kafka
    }
}

/// `POST /consumers/{name}/pause`
pub async fn pause(
    State(console): State<Console>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ControlConsumers)?;
    let (consumer, actor) = (find(&console, &name)?, form.actor()?);
    console.read(control::pause(console.store(), consumer.name(), &actor)).await?;
    Ok(done(&format!("/consumers/{name}"), "paused"))
}

/// `POST /consumers/{name}/resume`
pub async fn resume(
    State(console): State<Console>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ControlConsumers)?;
    let (consumer, actor) = (find(&console, &name)?, form.actor()?);
    console.read(control::resume(console.store(), consumer.name(), &actor)).await?;
    Ok(done(&format!("/consumers/{name}"), "resumed"))
}

pub fn find<'a>(console: &'a Console, name: &str) -> Result<&'a Arc<dyn Consumer>, Fault> {
    console.consumer(name).ok_or_else(|| unknown(console, name))
}

fn unknown(console: &Console, name: &str) -> Fault {
    let known: Vec<&str> = console.consumers().iter().map(|consumer| consumer.name()).collect();
    Fault::not_found(format!("There is no consumer {name}; there are {}.", known.join(", ")))
}

/// What a change of a consumer was refused for.
pub fn refused(error: ControlError) -> Fault {
    match error {
        ControlError::Database(error @ (ReadError::Unavailable(_) | ReadError::Invalid(_))) => {
            Fault::read(error)
        }
        other => Fault::new(
            axum::http::StatusCode::CONFLICT,
            "Refused",
            format!("{}. Nothing was changed.", capitalised(&other.to_string())),
        ),
    }
}
