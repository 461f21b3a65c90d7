//! What was really published: the last record of ours in each partition, read from the topics themselves.
//!
//! A noted offset says where to begin reading; what is read decides. The record at that offset must be the one
//! that was noted: a topic that was made anew, or cut off, is recognised by what it holds, and is then read from its
//! beginning.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use domain::{chain::Hash, event::Stream, lane::Lane};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _, Message as _},
};
use uuid::Uuid;

use super::{
    Context, REQUEST_TIMEOUT, Settings,
    record::{self, Incoming, header},
};
use crate::position::Place;

const POLL_STEP: Duration = Duration::from_millis(100);
/// Without a record and without an end for this long, reading is given up and begun anew.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Between two looks at a transaction of somebody else that is still open.
const OPEN_TRANSACTION_PAUSE: Duration = Duration::from_millis(500);
const OPEN_TRANSACTION_LOOKS_MAX: u32 = 20;

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

/// Reads the ends of all partitions of the streams. To be called when no older relay can publish any more.
pub async fn read(
    settings: &Settings,
    lanes: u16,
    noted: BTreeMap<Place, Noted>,
) -> Result<BTreeMap<Place, End>, EndsError> {
    let settings = settings.clone();
    on_a_thread(move || {
        let reader = Reader::new(&settings)?;
        let mut ends = BTreeMap::new();
        for stream in Stream::ALL {
            reader.wait_for_open_transactions(&settings.topic(stream), lanes)?;
            reader.stream(&settings.topic(stream), stream, lanes, &noted, &mut ends)?;
        }
        Ok(ends)
    })
    .await
}

/// The dead letters that lie behind the noted offsets of the dead-letter topic, and its last offsets.
pub async fn read_dead_letters(
    settings: &Settings,
    lanes: u16,
    noted: BTreeMap<i32, i64>,
) -> Result<(BTreeSet<Uuid>, BTreeMap<i32, i64>), EndsError> {
    let settings = settings.clone();
    on_a_thread(move || {
        let reader = Reader::new(&settings)?;
        let topic = settings.dead_letter_topic();
        reader.wait_for_open_transactions(&topic, lanes)?;
        let mut found = BTreeSet::new();
        let mut last = BTreeMap::new();
        let mut starts = Vec::new();
        for partition in 0..i32::from(lanes) {
            let (low, high) = reader.committed.fetch_watermarks(&topic, partition, REQUEST_TIMEOUT)?;
            let from = noted.get(&partition).copied().filter(|offset| *offset < high).unwrap_or(low);
            starts.push((partition, from.max(low), high));
        }
        reader.read_to_end(&topic, &starts, |message| {
            last.insert(message.partition(), message.offset());
            let headers = message.headers();
            let id: Option<Uuid> = headers.and_then(|headers| {
                let found = headers.iter().find(|header| header.key == header::DEAD_LETTER_ID)?;
                std::str::from_utf8(found.value?).ok()?.parse().ok()
            });
            found.extend(id);
        })?;
        Ok((found, last))
    })
    .await
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EndsError> + Send + 'static,
) -> Result<T, EndsError> {
    let task = tokio::task::spawn_blocking(work);
    task.await.unwrap_or_else(|error| Err(EndsError::Unavailable(error.to_string())))
}

struct Reader {
    committed: BaseConsumer<Context>,
    uncommitted: BaseConsumer<Context>,
}

impl Reader {
    fn new(settings: &Settings) -> Result<Self, EndsError> {
        let mut config = settings.reader();
        let committed = config.create_with_context(Context)?;
        let uncommitted = config.set("isolation.level", "read_uncommitted").create_with_context(Context)?;
        Ok(Self { committed, uncommitted })
    }

    /// Until every record that was acknowledged can be seen: a transaction that somebody else left open hides what
    /// was committed behind it, and would make it look as if that had not been published.
    fn wait_for_open_transactions(&self, topic: &str, lanes: u16) -> Result<(), EndsError> {
        for partition in 0..i32::from(lanes) {
            let mut looks = 0;
            loop {
                let (_, stable) = self.committed.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
                let (_, high) = self.uncommitted.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
                if stable >= high {
                    break;
                }
                looks += 1;
                if looks > OPEN_TRANSACTION_LOOKS_MAX {
                    return Err(EndsError::OpenTransaction { topic: topic.to_owned(), partition });
                }
                std::thread::sleep(OPEN_TRANSACTION_PAUSE);
            }
        }
        Ok(())
    }

    fn stream(
        &self,
        topic: &str,
        stream: Stream,
        lanes: u16,
        noted: &BTreeMap<Place, Noted>,
        ends: &mut BTreeMap<Place, End>,
    ) -> Result<(), EndsError> {
        let mut starts = Vec::new();
        let mut from_low = Vec::new();
        let mut lost = BTreeSet::new();
        for lane in 0..lanes {
            let partition = i32::from(lane);
            let (low, high) = self.committed.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
            let note = noted.get(&(stream, Lane(lane)));
            let end = match note {
                // What was noted is beyond the end: this is not the topic that it was noted for.
                Some(note) if note.offset >= high => {
                    lost.insert(partition);
                    End::MadeAnew
                }
                Some(_) => End::Expired,
                None if low > 0 => End::Expired,
                None => End::Empty,
            };
            ends.insert((stream, Lane(lane)), end);
            match note {
                Some(note) if (low..high).contains(&note.offset) => {
                    starts.push((partition, note.offset, high));
                }
                _ if low < high => from_low.push((partition, low, high)),
                _ => {}
            }
        }
        let mut seen = BTreeSet::new();
        let mut mismatched = BTreeSet::new();
        self.read_to_end(topic, &starts, |message| {
            let place = (stream, lane_of(message));
            let found = published(stream, message);
            if seen.insert(message.partition()) {
                let note = noted.get(&place).map(|note| Published {
                    position: note.position,
                    offset: note.offset,
                    hash: note.hash,
                });
                if found != note {
                    mismatched.insert(message.partition());
                }
            }
            if let Some(found) = found {
                ends.insert(place, End::Last(found));
            }
        })?;
        for (partition, _, high) in &starts {
            if mismatched.contains(partition) || !seen.contains(partition) {
                let lane = Lane(u16::try_from(*partition).unwrap_or(u16::MAX));
                ends.insert((stream, lane), End::MadeAnew);
                let (low, _) = self.committed.fetch_watermarks(topic, *partition, REQUEST_TIMEOUT)?;
                from_low.push((*partition, low, *high));
            }
        }
        self.read_to_end(topic, &from_low, |message| {
            if let Some(found) = published(stream, message) {
                ends.insert((stream, lane_of(message)), End::Last(found));
            }
        })
    }

    /// Reads the partitions of one topic to their ends. An end event names the partition only, so topics are read one
    /// after the other.
    fn read_to_end(
        &self,
        topic: &str,
        starts: &[(i32, i64, i64)],
        mut each: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), EndsError> {
        let mut open: BTreeSet<i32> = BTreeSet::new();
        let mut list = TopicPartitionList::new();
        for (partition, from, high) in starts {
            if from < high {
                open.insert(*partition);
                list.add_partition_offset(topic, *partition, Offset::Offset(*from))?;
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        self.committed.assign(&list)?;
        let mut heard_at = Instant::now();
        while !open.is_empty() {
            match self.committed.poll(POLL_STEP) {
                Some(Ok(message)) => {
                    heard_at = Instant::now();
                    each(&message);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard_at = Instant::now();
                    open.remove(&partition);
                }
                Some(Err(error)) if heard_at.elapsed() > SILENCE_MAX => return Err(error.into()),
                Some(Err(_)) | None if heard_at.elapsed() > SILENCE_MAX => {
                    return Err(EndsError::Unavailable("the broker is silent".to_owned()));
                }
                Some(Err(_)) | None => {}
            }
        }
        self.committed.unassign()?;
        Ok(())
    }
}

fn lane_of(message: &BorrowedMessage<'_>) -> Lane {
    Lane(u16::try_from(message.partition()).unwrap_or(u16::MAX))
}

/// The record, if it is of a log like ours; what else lies on the topic is passed over.
fn published(stream: Stream, message: &BorrowedMessage<'_>) -> Option<Published> {
    let incoming =
        record::decode(stream, lane_of(message), message.key(), message.payload(), message.headers());
    match incoming {
        Incoming::Event(event) | Incoming::Claim(event) => {
            Some(Published { position: event.position, offset: message.offset(), hash: event.hash })
        }
        Incoming::Foreign(_) => None,
    }
}
