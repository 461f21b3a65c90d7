//! Where the messages of a topic are: on Kafka, or, without it, in the log.

use domain::{event::Stream, lane::Lane};
use store::log;
use stream::{
    consumer::Consumer,
    kafka::browse::{Browser, Group, GroupPartition, Message, Partition, Topic},
    lag,
};

use super::{Found, Wanted, kafka, log as of_log, tail::Tail};
use crate::{fault::Fault, state::Console};

pub enum Source<'a> {
    Log(Stream),
    /// A topic by its whole name.
    Kafka(&'a Browser, String),
}

impl<'a> Source<'a> {
    /// A stream's topic may be called by the stream's name.
    pub fn of(console: &'a Console, name: &str) -> Result<Self, Fault> {
        let stream = Stream::ALL.into_iter().find(|stream| stream.name() == name);
        match (console.browser(), console.kafka(), stream) {
            (Some(browser), Some(settings), Some(stream)) => Ok(Self::Kafka(browser, settings.topic(stream))),
            (Some(browser), _, _) => Ok(Self::Kafka(browser, name.to_owned())),
            (None, _, Some(stream)) => Ok(Self::Log(stream)),
            (None, _, None) => Err(Fault::not_found("There is no topic of that name.")),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Log(stream) => stream.name(),
            Self::Kafka(_, name) => name,
        }
    }

    /// The stream whose events the topic holds; `None`: those are not events of the log.
    pub fn stream(&self, console: &Console) -> Option<Stream> {
        match self {
            Self::Log(stream) => Some(*stream),
            Self::Kafka(_, name) => {
                let settings = console.kafka()?;
                Stream::ALL.into_iter().find(|stream| settings.topic(*stream) == *name)
            }
        }
    }

    pub async fn topic(&self, console: &Console) -> Result<Topic, Fault> {
        match self {
            Self::Log(stream) => topic_of_log(console, *stream).await,
            Self::Kafka(browser, name) => browser.topic(name).await.map_err(kafka::fault),
        }
    }

    pub async fn look(&self, console: &Console, wanted: &Wanted, limit: usize) -> Result<Found, Fault> {
        match self {
            Self::Log(stream) => console.read(of_log::look(console.db(), *stream, wanted, limit)).await,
            Self::Kafka(browser, name) => kafka::look(browser, name, wanted, limit).await,
        }
    }

    pub async fn message(
        &self,
        console: &Console,
        partition: u16,
        offset: i64,
    ) -> Result<Option<Message>, Fault> {
        match self {
            Self::Log(stream) => {
                console.read(of_log::at(console.db(), *stream, Lane(partition), offset)).await
            }
            Self::Kafka(browser, name) => {
                browser.message(name, partition.into(), offset).await.map_err(kafka::fault)
            }
        }
    }

    /// The message of a position of the log.
    pub async fn at_position(
        &self,
        console: &Console,
        partition: u16,
        position: i64,
    ) -> Result<Option<Message>, Fault> {
        match self {
            Self::Log(_) => self.message(console, partition, position).await,
            Self::Kafka(browser, name) => kafka::at_position(browser, name, partition, position).await,
        }
    }

    /// What comes from now on.
    pub async fn tail(&self, console: &Console, wanted: &Wanted) -> Result<Tail, Fault> {
        match self {
            Self::Log(stream) => Tail::of_log(console, *stream, wanted).await,
            Self::Kafka(browser, name) => {
                let tail = browser.tail(name, wanted.partition.map(i32::from), wanted.filter.clone()).await;
                tail.map(Tail::Kafka).map_err(kafka::fault)
            }
        }
    }
}

/// All topics; without Kafka, the streams of the log.
pub async fn topics(console: &Console) -> Result<Vec<Topic>, Fault> {
    if let Some(browser) = console.browser() {
        return browser.topics().await.map_err(kafka::fault);
    }
    let mut topics = Vec::with_capacity(Stream::ALL.len());
    for stream in Stream::ALL {
        topics.push(topic_of_log(console, stream).await?);
    }
    Ok(topics)
}

/// A stream in the form of a topic: partition = lane, offset = position, and the consumers in the place of groups.
async fn topic_of_log(console: &Console, stream: Stream) -> Result<Topic, Fault> {
    let pulse = console.read(console.pulses().now()).await?;
    let mut groups = Vec::new();
    for consumer in console.consumers().iter().filter(|consumer| consumer.streams().contains(&stream)) {
        let is_paused = pulse.lags.iter().any(|lag| lag.consumer == consumer.name() && lag.is_paused);
        groups.push(group_of_log(console, consumer.as_ref(), stream, is_paused).await?);
    }
    // Read after the positions, so that no consumer is ahead of the end.
    let heads = console.read(log::heads(console.db())).await?;
    let partition = |head: &store::batch::LaneHead| Partition {
        id: head.lane.0.into(),
        leader: None,
        replicas: Vec::new(),
        in_sync: Vec::new(),
        watermarks: Some((1, head.streams[stream.index()].0 + 1)),
    };
    Ok(Topic {
        name: stream.name().to_owned(),
        partitions: heads.iter().map(partition).collect(),
        configuration: Vec::new(),
        groups,
    })
}

async fn group_of_log(
    console: &Console,
    consumer: &dyn Consumer,
    stream: Stream,
    is_paused: bool,
) -> Result<Group, Fault> {
    let places = console.read(lag::places(console.db(), consumer.name(), &[stream], console.now())).await?;
    let partition = |lag: &lag::PlaceLag| GroupPartition {
        partition: lag.place.1.0.into(),
        committed: lag.position.map(|position| position + 1),
        lag: lag.events(),
    };
    Ok(Group {
        name: consumer.name().to_owned(),
        state: if is_paused { "paused" } else { "running" }.to_owned(),
        members: Vec::new(),
        partitions: places.iter().map(partition).collect(),
    })
}
