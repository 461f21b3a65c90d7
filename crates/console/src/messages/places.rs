//! Where the events of a timeline are on Kafka. It is asked for behind the page, or by a link: a page never waits for Kafka
//! by itself, and when it was asked to, not for long.

use std::time::Duration;

use store::batch::LogEvent;
use tokio::time::timeout;

use crate::state::Console;

/// A person waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// In the address of a page, that it is to ask Kafka.
pub const PARAM: &str = "kafka";

/// Where the events of a subject are on their topic.
pub enum OnKafka {
    /// There is no Kafka, or nothing to look for.
    None,
    NotAsked,
    /// Of the events, in their order.
    Asked(Vec<Place>),
    /// Why it is not known.
    Trouble(String),
}

/// Where an event is on its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    At {
        partition: u16,
        offset: i64,
        href: String,
    },
    /// Not published yet, or deleted.
    Nowhere,
    /// Not found in time.
    Unknown,
}

impl OnKafka {
    /// The events of one subject lie in one stream and one lane: on one partition of one topic.
    pub async fn of(console: &Console, events: &[LogEvent], is_asked: bool) -> Self {
        let (Some(browser), Some(settings), Some(first)) =
            (console.browser(), console.kafka(), events.first())
        else {
            return Self::None;
        };
        if !is_asked {
            return Self::NotAsked;
        }
        let (topic, partition) = (settings.topic(first.stream), first.lane.0);
        let positions = events.iter().map(|event| event.position).collect();
        let found = match timeout(PATIENCE, browser.offsets(&topic, partition.into(), positions)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Self::Trouble(error.to_string()),
            Err(_) => return Self::Trouble(format!("Kafka did not answer within {} s", PATIENCE.as_secs())),
        };
        let place = |offset: &Option<i64>| match offset {
            Some(offset) => Place::At {
                partition,
                offset: *offset,
                href: format!("/topics/{topic}/messages/{partition}/{offset}"),
            },
            None if found.is_whole => Place::Nowhere,
            None => Place::Unknown,
        };
        Self::Asked(found.offsets.iter().map(place).collect())
    }

    /// Each event of the timeline with its place, where that was asked for.
    pub fn beside<'a, T>(&'a self, events: &'a [T]) -> impl Iterator<Item = (&'a T, Option<&'a Place>)> {
        let places: &[Place] = match self {
            Self::Asked(places) => places,
            Self::None | Self::NotAsked | Self::Trouble(_) => &[],
        };
        events.iter().zip(places.iter().map(Some).chain(std::iter::repeat(None)))
    }
}
