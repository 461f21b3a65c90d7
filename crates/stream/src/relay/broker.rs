//! What the relay needs of Kafka. Behind it stand the real one and the simulator's.

use std::{collections::BTreeMap, future::Future};

use domain::event::Stream;

use crate::{
    kafka::{
        ends::{End, EndsError, Letters, Noted},
        publisher::{LastOffsets, Offsets, PublishError},
        record::Outgoing,
        topics::{Checked, TopicError},
    },
    position::Place,
};

pub trait Broker: Clone + Send + Sync + 'static {
    type Publisher: Publish;

    /// What the topic of a stream is called.
    fn topic(&self, stream: Stream) -> String;

    /// Makes the topics that are missing and checks the others.
    fn ensure_topics(&self, lanes: u16) -> impl Future<Output = Result<Checked, TopicError>> + Send;

    /// Takes in what the topics allow.
    fn limit_message_bytes(&mut self, topic_bytes_max: Option<usize>);

    /// A larger event is not published as it is.
    fn message_bytes_max(&self) -> usize;

    /// Makes a producer. When this returns, every older one is fenced, and its open transaction is aborted.
    fn publisher(&self) -> impl Future<Output = Result<Self::Publisher, PublishError>> + Send;

    /// The ends of all partitions of the streams.
    fn ends(
        &self,
        lanes: u16,
        noted: BTreeMap<Place, Noted>,
    ) -> impl Future<Output = Result<BTreeMap<Place, End>, EndsError>> + Send;

    /// The dead letters behind the noted offsets.
    fn letters(
        &self,
        lanes: u16,
        noted: BTreeMap<i32, i64>,
    ) -> impl Future<Output = Result<Letters, EndsError>> + Send;
}

/// A producer. After any error it is of no more use.
pub trait Publish: Send + Sync {
    /// Hands records over, in their order; they belong to the transaction that the next commit ends. What goes wrong
    /// with them is told by the commit.
    fn send(&self, records: Vec<Outgoing>) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// Commits what was handed over; nothing of it unless all records lie behind the offsets that are known.
    fn commit(&self, behind: Offsets) -> impl Future<Output = Result<LastOffsets, PublishError>> + Send;

    /// Fails when a topic is not the one any more with which the producer began.
    fn check_topics(&self) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// Returns when the producer is gone.
    fn close(self) -> impl Future<Output = ()> + Send;
}
