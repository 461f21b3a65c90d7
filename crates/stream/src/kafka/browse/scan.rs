//! Reads ranges of a topic's partitions, once or again and again, with one client.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Message as _},
};

use super::{ANSWER_PATIENCE, BrowseError, Client, unavailable};
use crate::kafka::Settings;

const POLL_STEP: Duration = Duration::from_millis(50);

/// From the first offset up to the second, without it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub partition: i32,
    pub low: i64,
    pub high: i64,
}

/// What is wanted after a message.
pub(super) enum Step {
    On,
    EnoughOfPartition,
    Enough,
}

pub(super) struct Scan<'a> {
    pub settings: &'a Settings,
    pub client: Client,
    pub topic: &'a str,
}

impl Scan<'_> {
    /// Calls `each` for what lies in the ranges, in the order of each partition; gives the partitions whose range was read
    /// to its end before the deadline.
    pub(super) fn read(
        &self,
        ranges: &[Range],
        deadline: Instant,
        each: &mut dyn FnMut(&BorrowedMessage<'_>) -> Step,
    ) -> Result<BTreeSet<i32>, BrowseError> {
        let (client, begun_at) = (self.client.get(), Instant::now());
        let is_empty = |range: &&Range| range.low >= range.high;
        let mut done: BTreeSet<i32> = ranges.iter().filter(is_empty).map(|range| range.partition).collect();
        let mut open: BTreeMap<i32, i64> = ranges
            .iter()
            .filter(|range| !is_empty(range))
            .map(|range| (range.partition, range.high))
            .collect();
        if open.is_empty() {
            return Ok(done);
        }
        self.assign(ranges.iter().filter(|range| !is_empty(range))).map_err(|error| self.trouble(&error))?;
        let (mut was_heard, mut trouble) = (false, None);
        while !open.is_empty() && Instant::now() < deadline {
            match client.poll(POLL_STEP) {
                Some(Ok(message)) => {
                    was_heard = true;
                    let partition = message.partition();
                    let Some(high) = open.get(&partition).copied() else { continue };
                    let step = if message.offset() < high { each(&message) } else { Step::On };
                    let is_done = message.offset() + 1 >= high;
                    match step {
                        Step::Enough => break,
                        Step::On if !is_done => continue,
                        Step::On | Step::EnoughOfPartition => {}
                    }
                    open.remove(&partition);
                    self.pause(partition);
                    if is_done {
                        done.insert(partition);
                    }
                }
                // Behind the last record of a range there may be nothing but markers of transactions.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    was_heard = true;
                    if open.remove(&partition).is_some() {
                        done.insert(partition);
                    }
                }
                Some(Err(error)) if is_refusal(&error) => {
                    return Err(BrowseError::NotAllowed(self.topic.to_owned()));
                }
                Some(Err(error)) => trouble = Some(error),
                None => {}
            }
        }
        self.leave();
        match trouble {
            Some(error) if !was_heard => Err(self.trouble(&error)),
            None if !was_heard && begun_at.elapsed() >= ANSWER_PATIENCE => Err(BrowseError::Unavailable {
                servers: self.settings.bootstrap_servers.clone(),
                reason: "the broker is silent".to_owned(),
            }),
            _ => Ok(done),
        }
    }

    fn trouble(&self, error: &KafkaError) -> BrowseError {
        unavailable(self.settings, error)
    }

    fn assign<'r>(&self, ranges: impl Iterator<Item = &'r Range>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for Range { partition, low, .. } in ranges {
            list.add_partition_offset(self.topic, *partition, Offset::Offset(*low))?;
        }
        self.client.get().assign(&list)?;
        // A pause outlives the assignment in which it was made.
        self.client.get().resume(&list)
    }

    /// What is still delivered of a partition that was read is passed over; this only spares it being sent.
    fn pause(&self, partition: i32) {
        let mut list = TopicPartitionList::new();
        list.add_partition(self.topic, partition);
        drop(self.client.get().pause(&list));
    }

    /// Forgets what was read ahead, so that it is not taken for what the next ranges hold.
    fn leave(&self) {
        let client = self.client.get();
        if client.unassign().is_ok() {
            while client.poll(Duration::ZERO).is_some() {}
        }
    }
}

pub(super) fn is_refusal(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}
