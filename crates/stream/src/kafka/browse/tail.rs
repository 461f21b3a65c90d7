//! What is published from now on, as it comes. Who does not keep up loses messages, and is told how many: the buffer is
//! bounded, and nobody else waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer as _, error::KafkaError};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    BrowseError, Browser, Client, Filter,
    message::{Decoder, Message},
    scan::is_refusal,
    unavailable,
};
use crate::kafka::Settings;

/// A tail ends by itself after this long.
pub const TAIL_MAX: Duration = Duration::from_mins(10);
const MESSAGES_WAITING_MAX: usize = 256;
const BYTES_WAITING_MAX: usize = 8 << 20;
const POLL_STEP: Duration = Duration::from_millis(100);
/// A cluster that is away for longer ends the tail.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// The broker answers at once when there is something.
const FETCH_WAIT: (&str, &str) = ("fetch.wait.max.ms", "250");

/// Messages as they are published. Dropping it ends the reading.
pub struct Tail {
    found: mpsc::Receiver<Result<Message, BrowseError>>,
    decoder: Decoder,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    dropped: AtomicU64,
    bytes_waiting: AtomicUsize,
}

impl Tail {
    /// The next message; after an error, or the end of its time, nothing more.
    pub async fn next(&mut self) -> Option<Result<Message, BrowseError>> {
        let found = self.found.recv().await?;
        Some(match found {
            Ok(mut message) => {
                self.shared.bytes_waiting.fetch_sub(message.bytes(), Ordering::Relaxed);
                self.decoder.complete(&mut message).await;
                Ok(message)
            }
            Err(error) => Err(error),
        })
    }

    /// How many messages that were wanted did not fit into the buffer so far.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Browser {
    /// Follows a topic, or one partition of it, from its end. What is published after this has returned comes.
    pub async fn tail(
        &self,
        topic: &str,
        partition: Option<i32>,
        filter: Filter,
    ) -> Result<Tail, BrowseError> {
        let turn = self.tails.clone().try_acquire_owned().map_err(|_| BrowseError::Busy)?;
        let topic = topic.to_owned();
        let client = self.look(move |settings| begin(settings, &topic, partition)).await?;
        let (found, receiver) = mpsc::channel(MESSAGES_WAITING_MAX);
        let shared = Arc::new(Shared::default());
        let follower = Follower {
            settings: self.settings.clone(),
            client,
            filter,
            decoder: Decoder::new(self.values.clone()),
            found,
            shared: shared.clone(),
        };
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            follower.run();
        });
        Ok(Tail { found: receiver, decoder: Decoder::new(self.values.clone()), shared })
    }
}

/// A client that reads from where the partitions end now.
fn begin(settings: &Settings, topic: &str, partition: Option<i32>) -> Result<Client, BrowseError> {
    let client = Client::new(settings, &[FETCH_WAIT])?;
    let mut partitions = client.partitions(settings, topic)?;
    if let Some(partition) = partition {
        if !partitions.contains(&partition) {
            return Err(BrowseError::UnknownPartition { topic: topic.to_owned(), partition });
        }
        partitions = vec![partition];
    }
    let places: Vec<(&str, i32)> = partitions.iter().map(|partition| (topic, *partition)).collect();
    let trouble = |error: KafkaError| unavailable(settings, &error);
    let ends = client.offsets(&places, Offset::End).map_err(trouble)?;
    let mut list = TopicPartitionList::new();
    for ((topic, partition), end) in places.iter().zip(ends) {
        // Of a partition without a leader, what comes after it has one again.
        let offset = end.map_or(Offset::End, Offset::Offset);
        list.add_partition_offset(topic, *partition, offset).map_err(trouble)?;
    }
    client.get().assign(&list).map_err(trouble)?;
    Ok(client)
}

struct Follower {
    settings: Settings,
    client: Client,
    filter: Filter,
    decoder: Decoder,
    found: mpsc::Sender<Result<Message, BrowseError>>,
    shared: Arc<Shared>,
}

impl Follower {
    fn run(mut self) {
        if let Err(error) = self.follow() {
            // Nobody may be listening any more.
            let _ = self.found.blocking_send(Err(error));
        }
    }

    fn follow(&mut self) -> Result<(), BrowseError> {
        let runtime = Handle::current();
        let until = Instant::now() + TAIL_MAX;
        let mut away_since: Option<Instant> = None;
        while Instant::now() < until && !self.found.is_closed() {
            let Self { client, filter, decoder, .. } = self;
            match client.get().poll(POLL_STEP) {
                Some(Ok(message)) => {
                    away_since = None;
                    let mut decode = |value: &[u8]| {
                        let (_, json) = runtime.block_on(decoder.read(value))?.event.ok()?;
                        Some(json)
                    };
                    if filter.matches(&message, &mut decode) {
                        let message = Message::new(&message);
                        self.offer(message);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => away_since = None,
                Some(Err(error)) if is_refusal(&error) => return Err(unavailable(&self.settings, &error)),
                Some(Err(error)) => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > AWAY_MAX {
                        return Err(unavailable(&self.settings, &error));
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    fn offer(&self, message: Message) {
        let bytes = message.bytes();
        let waiting = &self.shared.bytes_waiting;
        let has_room = waiting.load(Ordering::Relaxed) + bytes <= BYTES_WAITING_MAX;
        waiting.fetch_add(bytes, Ordering::Relaxed);
        if !has_room || self.found.try_send(Ok(message)).is_err() {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
