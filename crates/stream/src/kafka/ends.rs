//! What was really published: the last record of ours in each partition, read from the topics themselves.
//!
//! A noted offset says where to begin reading; what is read decides. The record at that offset must be the one
//! that was noted: a topic that was made anew, or cut off, is recognised by what it holds, and is then read from its
//! beginning.

use std::collections::{BTreeMap, BTreeSet};

use domain::{chain::Hash, event::Stream, lane::Lane};
use rdkafka::{error::KafkaError, message::Headers};
use uuid::Uuid;

use super::{
    headers,
    record::{self, Topic, header},
};
use crate::position::Place;

/// Where the relay noted that the last published event lies, and what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    pub position: i64,
    pub offset: i64,
    pub hash: Hash,
}

/// A record of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub position: i64,
    pub offset: i64,
    pub hash: Hash,
}

/// How a partition was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The last record of ours.
    Last(Published),
    /// No record, but some were there: they have expired.
    Expired,
    /// No record, and never one.
    Empty,
    /// No record although one was noted: the topic was made anew.
    MadeAnew,
}

#[derive(Debug, thiserror::Error)]
pub enum EndsError {
    #[error("the ends of the topics could not be read: {0}")]
    Unavailable(String),
    #[error(
        "a transaction of another producer is open on {topic} partition {partition}: \
         what lies behind it cannot be seen yet"
    )]
    OpenTransaction { topic: String, partition: i32 },
}

impl From<KafkaError> for EndsError {
    fn from(error: KafkaError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Where to read a partition: from an offset to the end that it had when it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub partition: i32,
    pub from: i64,
    pub high: i64,
}

/// What the ends are found out from. Calls may block.
pub trait Partitions {
    /// Until every record that was acknowledged can be seen: a transaction that somebody else left open hides what
    /// was committed behind it, and would make it look as if that had not been published.
    fn wait_for_open_transactions(&self, topic: Topic, lanes: u16) -> Result<(), EndsError>;

    /// The first offset that is there, and the one behind the last record that is committed.
    fn bounds(&self, topic: Topic, partition: i32) -> Result<(i64, i64), EndsError>;

    /// Reads partitions of one topic to their ends, what is committed of them.
    fn read_to_end(
        &self,
        topic: Topic,
        starts: &[Start],
        each: &mut dyn FnMut(Record),
    ) -> Result<(), EndsError>;
}

/// A record, as far as it tells where a topic ends.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub content: Content,
}

#[derive(Clone, Copy, Debug)]
pub enum Content {
    Event(Published),
    DeadLetter(Uuid),
    /// Not of a log like ours: it is passed over.
    Foreign,
}

impl Record {
    pub fn new<H: Headers>(
        topic: Topic,
        (partition, offset): (i32, i64),
        key: Option<&[u8]>,
        headers: Option<&H>,
    ) -> Self {
        let content = match topic {
            // Whatever its value: where the topic ends is to be found out without a registry.
            Topic::Stream(stream) => match record::place(stream, lane_of(partition), key, headers) {
                Some((position, hash)) => Content::Event(Published { position, offset, hash }),
                None => Content::Foreign,
            },
            Topic::DeadLetters => headers.and_then(letter_id).map_or(Content::Foreign, Content::DeadLetter),
        };
        Self { partition, offset, content }
    }

    /// The event that it is, if it is one.
    pub const fn published(&self) -> Option<Published> {
        match self.content {
            Content::Event(published) => Some(published),
            Content::DeadLetter(_) | Content::Foreign => None,
        }
    }
}

fn letter_id<H: Headers>(headers: &H) -> Option<Uuid> {
    let found = headers::each(headers).find(|header| header.name == header::DEAD_LETTER_ID)?;
    std::str::from_utf8(found.value?).ok()?.parse().ok()
}

fn lane_of(partition: i32) -> Lane {
    Lane(u16::try_from(partition).unwrap_or(u16::MAX))
}

/// The ends of all partitions of the streams. To be found out when no older relay can publish any more.
pub fn find(
    partitions: &impl Partitions,
    lanes: u16,
    noted: &BTreeMap<Place, Noted>,
) -> Result<BTreeMap<Place, End>, EndsError> {
    let mut ends = BTreeMap::new();
    for stream in Stream::ALL {
        partitions.wait_for_open_transactions(Topic::Stream(stream), lanes)?;
        find_in(partitions, stream, lanes, noted, &mut ends)?;
    }
    Ok(ends)
}

fn find_in(
    partitions: &impl Partitions,
    stream: Stream,
    lanes: u16,
    noted: &BTreeMap<Place, Noted>,
    ends: &mut BTreeMap<Place, End>,
) -> Result<(), EndsError> {
    let topic = Topic::Stream(stream);
    let mut starts = Vec::new();
    let mut from_low = Vec::new();
    for lane in 0..lanes {
        let partition = i32::from(lane);
        let (low, high) = partitions.bounds(topic, partition)?;
        let note = noted.get(&(stream, Lane(lane)));
        let end = match note {
            // What was noted is beyond the end: this is not the topic that it was noted for.
            Some(note) if note.offset >= high => End::MadeAnew,
            Some(_) => End::Expired,
            None if low > 0 => End::Expired,
            None => End::Empty,
        };
        ends.insert((stream, Lane(lane)), end);
        match note {
            Some(note) if (low..high).contains(&note.offset) => {
                starts.push(Start { partition, from: note.offset, high });
            }
            _ if low < high => from_low.push(Start { partition, from: low, high }),
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    let mut mismatched = BTreeSet::new();
    partitions.read_to_end(topic, &starts, &mut |record| {
        let place = (stream, lane_of(record.partition));
        let found = record.published();
        if seen.insert(record.partition) {
            let note = noted.get(&place).map(|note| Published {
                position: note.position,
                offset: note.offset,
                hash: note.hash,
            });
            if found != note {
                mismatched.insert(record.partition);
            }
        }
        if let Some(found) = found {
            ends.insert(place, End::Last(found));
        }
    })?;
    for Start { partition, high, .. } in starts {
        if mismatched.contains(&partition) || !seen.contains(&partition) {
            ends.insert((stream, lane_of(partition)), End::MadeAnew);
            let (low, _) = partitions.bounds(topic, partition)?;
            from_low.push(Start { partition, from: low, high });
        }
    }
    partitions.read_to_end(topic, &from_low, &mut |record| {
        if let Some(found) = record.published() {
            ends.insert((stream, lane_of(record.partition)), End::Last(found));
        }
    })
}

/// Which dead letters lie on their topic behind the noted offsets, and the last offset of each partition.
pub type Letters = (BTreeSet<Uuid>, BTreeMap<i32, i64>);

pub fn find_letters(
    partitions: &impl Partitions,
    lanes: u16,
    noted: &BTreeMap<i32, i64>,
) -> Result<Letters, EndsError> {
    let topic = Topic::DeadLetters;
    partitions.wait_for_open_transactions(topic, lanes)?;
    let mut starts = Vec::new();
    for partition in 0..i32::from(lanes) {
        let (low, high) = partitions.bounds(topic, partition)?;
        let from = noted.get(&partition).copied().filter(|offset| *offset < high).unwrap_or(low);
        starts.push(Start { partition, from: from.max(low), high });
    }
    let mut found = BTreeSet::new();
    let mut last = BTreeMap::new();
    partitions.read_to_end(topic, &starts, &mut |record| {
        last.insert(record.partition, record.offset);
        if let Content::DeadLetter(id) = record.content {
            found.insert(id);
        }
    })?;
    Ok((found, last))
}
