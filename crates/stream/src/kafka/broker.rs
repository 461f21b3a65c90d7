//! The real Kafka, as the relay sees it.

use std::collections::BTreeMap;

use domain::event::Stream;

use super::{
    Settings,
    ends::{self, End, EndsError, Letters, Noted},
    publisher::{PublishError, Publisher},
    reader::Reader,
    topics::{self, Checked, TopicError},
};
use crate::{position::Place, relay::broker::Broker};

/// What the framing and the headers of a record may add to its key and value.
const RECORD_OVERHEAD_BYTES: usize = 2048;

impl Broker for Settings {
    type Publisher = Publisher;

    fn topic(&self, stream: Stream) -> String {
        Self::topic(self, stream)
    }

    async fn ensure_topics(&self, lanes: u16) -> Result<Checked, TopicError> {
        topics::ensure(self, lanes).await
    }

    fn limit_message_bytes(&mut self, topic_bytes_max: Option<usize>) {
        if let Some(bytes) = topic_bytes_max {
            let room = bytes.saturating_sub(RECORD_OVERHEAD_BYTES);
            self.message_bytes_max = self.message_bytes_max.min(room);
        }
    }

    fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    async fn publisher(&self) -> Result<Publisher, PublishError> {
        Publisher::start(self).await
    }

    async fn ends(
        &self,
        lanes: u16,
        noted: BTreeMap<Place, Noted>,
    ) -> Result<BTreeMap<Place, End>, EndsError> {
        let settings = self.clone();
        on_a_thread(move || ends::find(&Reader::new(&settings)?, lanes, &noted)).await
    }

    async fn letters(&self, lanes: u16, noted: BTreeMap<i32, i64>) -> Result<Letters, EndsError> {
        let settings = self.clone();
        on_a_thread(move || ends::find_letters(&Reader::new(&settings)?, lanes, &noted)).await
    }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EndsError> + Send + 'static,
) -> Result<T, EndsError> {
    let task = tokio::task::spawn_blocking(work);
    task.await.unwrap_or_else(|error| Err(EndsError::Unavailable(error.to_string())))
}
