//! What brokers answer to batches: taken in in the order of requests, so that each batch is told where it lies, is kept to be
//! sent again, or ends the producer.

use std::collections::BTreeMap;

use kafka_protocol::{
    error::{ParseResponseErrorCode as _, ResponseError},
    messages::{ProduceRequest, produce_response::ProduceResponse},
};

use super::{Extent, InFlight, Place, ProduceError, Producer, Sealed};
use crate::kafka::record::Topic;

impl Producer {
    pub(super) fn receive_all(&mut self) -> Result<(), ProduceError> {
        while let Some(broker) = self.in_flight.keys().next().copied() {
            self.receive(broker)?;
        }
        Ok(())
    }

    /// Takes in the answer to the oldest request to a broker.
    pub(super) fn receive(&mut self, broker: i32) -> Result<(), ProduceError> {
        let Some(waiting) = self.in_flight.get_mut(&broker) else { return Ok(()) };
        let Some(InFlight { version, batches }) = waiting.pop_front() else { return Ok(()) };
        if waiting.is_empty() {
            self.in_flight.remove(&broker);
        }
        let answer = self.cluster.broker(broker)?.receive::<ProduceRequest>(version)?;
        let mut batches: BTreeMap<Place, Sealed> =
            batches.into_iter().map(|sealed| (sealed.place, sealed)).collect();
        self.take_in(&answer, &mut batches)?;
        if let Some((_, sealed)) = batches.pop_first() {
            let topic = self.cluster.topic(sealed.place.0.number());
            return Err(ProduceError::Failed(format!("the broker says nothing about {topic}")));
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        answer: &ProduceResponse,
        batches: &mut BTreeMap<Place, Sealed>,
    ) -> Result<(), ProduceError> {
        for topic in &answer.responses {
            let number = self.cluster.number(&topic.name.0, topic.topic_id);
            let Some(known) = number.and_then(Topic::from_number) else { continue };
            for partition in &topic.partition_responses {
                let place = (known, partition.index);
                let Some(sealed) = batches.remove(&place) else { continue };
                let Some(code) = partition.error_code.err() else {
                    let first = partition.base_offset;
                    let batch = Extent { first, last: first + i64::from(sealed.count) - 1 };
                    self.extents.entry(place).or_insert(batch).add(batch);
                    continue;
                };
                self.take_rejection(code, partition.error_message.as_deref(), sealed)?;
            }
        }
        Ok(())
    }

    fn take_rejection(
        &mut self,
        code: ResponseError,
        said: Option<&str>,
        sealed: Sealed,
    ) -> Result<(), ProduceError> {
        let topic = self.cluster.topic(sealed.place.0.number());
        if matches!(code, ResponseError::UnknownTopicId | ResponseError::InconsistentTopicId) {
            return Err(ProduceError::TopicMadeAnew(topic.to_owned()));
        }
        let what = format!("{topic} partition {} ({})", sealed.place.1, said.unwrap_or("no more is said"));
        let error = ProduceError::from_code(code, &what);
        // Behind a batch that was sent away the next ones have the wrong number, until it is there.
        let follows_rejected = code == ResponseError::OutOfOrderSequenceNumber
            && self.rejected.iter().any(|before| before.place == sealed.place);
        if !error.is_passing() && !follows_rejected {
            return Err(error);
        }
        if !follows_rejected {
            self.rejection = Some(error);
        }
        self.rejected.push(sealed);
        Ok(())
    }
}
