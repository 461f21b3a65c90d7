//! Partitions read through librdkafka, for whoever finds out where they end.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::Message as _,
};

use super::{
    Context, REQUEST_TIMEOUT, Settings,
    ends::{EndsError, Partitions, Record, Start},
    record::Topic,
    topics::drop_in_background,
};
use crate::position::Place;

const POLL_STEP: Duration = Duration::from_millis(100);
/// Without a record and without an end for this long, reading is given up and begun anew.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Between two looks at a transaction of somebody else that is still open.
const OPEN_TRANSACTION_PAUSE: Duration = Duration::from_millis(500);
const OPEN_TRANSACTION_LOOKS_MAX: u32 = 20;

pub(super) struct Reader<'a> {
    settings: &'a Settings,
    committed: BaseConsumer<Context>,
    uncommitted: BaseConsumer<Context>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a Settings) -> Result<Self, EndsError> {
        let mut config = settings.reader();
        let committed = config.create_with_context(Context)?;
        let uncommitted = config.set("isolation.level", "read_uncommitted").create_with_context(Context)?;
        Ok(Self { settings, committed, uncommitted })
    }
}

/// The position of the event whose record lies at an offset, if one does.
pub(super) fn position_at(
    settings: &Settings,
    (stream, lane): Place,
    offset: i64,
) -> Result<Option<i64>, EndsError> {
    let reader: BaseConsumer<Context> = settings.reader().create_with_context(Context)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&settings.topic(stream), i32::from(lane.0), Offset::Offset(offset))?;
    reader.assign(&list)?;
    let begun_at = Instant::now();
    let found = loop {
        match reader.poll(POLL_STEP) {
            // Another offset than was asked for: there is nothing at that one.
            Some(Ok(message)) if message.offset() != offset => break Ok(None),
            Some(Ok(message)) => {
                let at = (message.partition(), offset);
                let topic = Topic::Stream(stream);
                let record = Record::new(topic, at, message.key(), message.headers());
                break Ok(record.published().map(|published| published.position));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break Ok(None),
            Some(Err(error)) if begun_at.elapsed() > REQUEST_TIMEOUT => break Err(error.into()),
            None if begun_at.elapsed() > REQUEST_TIMEOUT => {
                break Err(EndsError::Unavailable("the broker is silent".to_owned()));
            }
            Some(Err(_)) | None => {}
        }
    };
    // It may wait for a broker that is away.
    drop_in_background(reader);
    found
}

impl Partitions for Reader<'_> {
    fn wait_for_open_transactions(&self, topic: Topic, lanes: u16) -> Result<(), EndsError> {
        let topic = self.settings.name(topic);
        for partition in 0..i32::from(lanes) {
            let mut looks = 0;
            loop {
                let (_, stable) = self.committed.fetch_watermarks(&topic, partition, REQUEST_TIMEOUT)?;
                let (_, high) = self.uncommitted.fetch_watermarks(&topic, partition, REQUEST_TIMEOUT)?;
                if stable >= high {
                    break;
                }
                looks += 1;
                if looks > OPEN_TRANSACTION_LOOKS_MAX {
                    return Err(EndsError::OpenTransaction { topic, partition });
                }
                std::thread::sleep(OPEN_TRANSACTION_PAUSE);
            }
        }
        Ok(())
    }

    fn bounds(&self, topic: Topic, partition: i32) -> Result<(i64, i64), EndsError> {
        Ok(self.committed.fetch_watermarks(&self.settings.name(topic), partition, REQUEST_TIMEOUT)?)
    }

    /// An end event names the partition only, so topics are read one after the other.
    fn read_to_end(
        &self,
        topic: Topic,
        starts: &[Start],
        each: &mut dyn FnMut(Record),
    ) -> Result<(), EndsError> {
        let name = self.settings.name(topic);
        let mut open: BTreeSet<i32> = BTreeSet::new();
        let mut list = TopicPartitionList::new();
        for Start { partition, from, .. } in starts.iter().filter(|start| start.from < start.high) {
            open.insert(*partition);
            list.add_partition_offset(&name, *partition, Offset::Offset(*from))?;
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
                    let at = (message.partition(), message.offset());
                    each(Record::new(topic, at, message.key(), message.headers()));
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
