//! The relay: copies the log to Kafka, exactly.
//!
//! One process publishes for all lanes, the one that holds the [`lease`]; the others stand by. It wakes on commit,
//! reads what is new in every lane, publishes it in order to partition = lane in one Kafka transaction, and goes
//! on. Before it publishes anything it makes a producer with the one transactional id, which fences every older
//! relay and ends its open transaction; then it reads from the topics what was really published. So a crash at
//! any point leaves no loss and no duplicate. After any error it does the same again.
//!
//! It holds no database transaction while it waits for Kafka. In memory it holds four batches at most, one that is
//! read, one that is encoded, one that waits, one that is handed over, and what the producer's own queue may take.

pub mod broker;
pub mod cursor;
pub mod dead_letters;
pub mod lease;
mod recovery;
pub mod status;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{event::Stream, lane::Lane};
use registry::RegistryError;
use store::{
    Store,
    batch::LogEvent,
    error::ReadError,
    fault::{self, Fault},
    log::{self, Span},
};
use telemetry::trace::{self, Scope};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use uuid::Uuid;

use self::{
    broker::{Broker, Publish},
    dead_letters::Groups,
    lease::{Lease, Standing},
    recovery::Progress,
};
use crate::{
    engine::jittered,
    kafka::{
        ends::EndsError,
        publisher::{LastOffsets, PublishError},
        record::{self, Outgoing, Topic, header},
        topics::TopicError,
        values::{Format, Values},
    },
    measure::Publishing,
    position::Place,
};

/// How long the relay waits for a commit before it looks by itself: another process may have written.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often ends are noted, and dead letters looked for, while there is work.
const NOTE_INTERVAL: Duration = Duration::from_millis(500);
const DEAD_LETTERS_INTERVAL: Duration = Duration::from_millis(250);
/// How often the relay looks whether the topics are still there, and still the same: nobody may be publishing.
const TOPICS_CHECK_INTERVAL: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The broker marks a committed transaction in all of its partitions only after it has answered; a transaction that begins
/// before is sent away, and comes again.
const PAUSE_BEHIND_COMMIT: Duration = Duration::from_millis(1);
/// A backlog is published in transactions of so many batches.
const BATCHES_A_TRANSACTION_MAX: usize = 8;
/// Between two of them the next batch gets on.
const EVENTS_ENCODED_AT_ONCE_MAX: usize = 100;
const ATTEMPTS_TO_CATCH_UP_MAX: u32 = 20;
/// How long a rebuild waits for the lease of a relay that may have died, in lengths of it.
const LEASES_WAITED_FOR: u32 = 4;
/// Batches up to this size are logged event by event.
const EVENTS_LOGGED_SINGLY_MAX: usize = 16;
/// When all places have news, each gets at least this many events of a batch.
const EVENTS_A_PLACE_MIN: i64 = 20;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Another process takes over after this long without a sign of life.
    pub lease: Duration,
    /// Events that are read at once; a transaction carries up to [`BATCHES_A_TRANSACTION_MAX`] such batches.
    pub batch_events_max: usize,
}

/// Why publishing stopped.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the database is not available: {0}")]
    Database(#[from] ReadError),
    #[error(transparent)]
    Topics(#[from] TopicError),
    #[error(transparent)]
    Ends(#[from] EndsError),
    #[error("Kafka did not take what was published: {0}")]
    Publish(#[from] PublishError),
    #[error("events cannot be written in Avro: {0}")]
    Schemas(#[from] RegistryError),
    #[error(
        "{} lane {lane}: the topic ends at position {published} and the log at {head}: the log has lost events \
         that the world has seen; restore it to a later moment. Nothing is published",
        stream.name()
    )]
    TopicAhead { stream: Stream, lane: Lane, published: i64, head: i64 },
    #[error(
        "{} lane {lane}: what the topic holds at position {position} is not what the log holds there: the topic \
         belongs to another database. Choose other names with Kafka:Prefix, or delete the topic. Nothing is published",
        stream.name()
    )]
    AnotherLog { stream: Stream, lane: Lane, position: i64 },
}

impl Trouble {
    const fn may_pass(&self) -> bool {
        match self {
            Self::Database(_)
            | Self::Ends(_)
            | Self::Publish(_)
            | Self::Schemas(_)
            | Self::Topics(TopicError::Unavailable { .. }) => true,
            Self::Topics(_) | Self::TopicAhead { .. } | Self::AnotherLog { .. } => false,
        }
    }
}

/// Publishes the log until `stopping` turns true, whenever this process holds the lease.
pub async fn run<B: Broker>(
    store: Store,
    broker: B,
    values: Values,
    settings: Settings,
    groups: Groups,
    mut stopping: watch::Receiver<bool>,
) {
    let (stop_lease, lease_stopping) = watch::channel(false);
    let (standing, keeper) = Lease::new(store.clone(), settings.lease).keep(lease_stopping);
    // Ends with this future, whoever ends it.
    let mut keepers = JoinSet::new();
    keepers.spawn(keeper);
    let mut relay = Relay { store, broker, values, settings, groups, standing, published: Arc::default() };
    let mut pause = BACKOFF_MIN;
    while !*stopping.borrow() {
        if relay.epoch().is_none() {
            tokio::select! {
                biased;
                _ = relay.standing.changed() => {}
                _ = stopping.changed() => {}
            }
            continue;
        }
        let before = relay.published.load(Ordering::Relaxed);
        if let Err(trouble) = relay.lead(&mut stopping, false).await {
            if relay.published.load(Ordering::Relaxed) > before {
                pause = BACKOFF_MIN;
            }
            if relay.epoch().is_some() {
                tracing::warn!(reason = %trouble, "publishing has stopped; it is tried again");
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(jittered(pause)) => {}
                _ = stopping.changed() => {}
            }
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }
    stop_lease.send_replace(true);
    drop(keepers.join_next().await);
}

/// Publishes all that is in the log now, once; for `fintech topics rebuild`. Counts what it publishes.
pub async fn catch_up<B: Broker>(
    store: Store,
    broker: B,
    values: Values,
    settings: Settings,
    groups: Groups,
    published: Arc<AtomicU64>,
) -> Result<(), String> {
    let (stop_lease, lease_stopping) = watch::channel(false);
    let (standing, keeper) = Lease::new(store.clone(), settings.lease).keep(lease_stopping);
    // Ends with this future, whoever ends it.
    let mut keepers = JoinSet::new();
    keepers.spawn(keeper);
    let (_never, mut stopping) = watch::channel(false);
    let patience = Instant::now() + settings.lease * LEASES_WAITED_FOR;
    let mut relay = Relay { store, broker, values, settings, groups, standing, published };
    while relay.epoch().is_none() {
        if Instant::now() > patience {
            return Err(
                "a running relay holds the lease: it fills topics that are empty by itself".to_owned()
            );
        }
        drop(tokio::time::timeout(BACKOFF_MIN, relay.standing.changed()).await);
    }
    let mut attempts = 1;
    let led = loop {
        match relay.lead(&mut stopping, true).await {
            // Topics that were made a moment ago have leaders a moment later.
            Err(trouble) if trouble.may_pass() && attempts < ATTEMPTS_TO_CATCH_UP_MAX => {
                tracing::warn!(reason = %trouble, "publishing was interrupted; it is tried again");
                attempts += 1;
                tokio::time::sleep(BACKOFF_MIN * attempts).await;
            }
            led => break led,
        }
    };
    stop_lease.send_replace(true);
    drop(keepers.join_next().await);
    led.map_err(|trouble| trouble.to_string())
}

struct Relay<B> {
    store: Store,
    broker: B,
    values: Values,
    settings: Settings,
    groups: Groups,
    standing: watch::Receiver<Option<Standing>>,
    /// Events published by this process.
    published: Arc<AtomicU64>,
}

/// How events become records.
struct Writing {
    format: Format,
    /// A larger value is not published as it is.
    bytes_max: usize,
    /// Names, by the number of the stream.
    topics: [String; 3],
}

/// The next events of the log.
#[derive(Default)]
struct Batch {
    events: Vec<LogEvent>,
    more_waits: bool,
}

/// What is in the open Kafka transaction.
#[derive(Default)]
struct Sent {
    events: u64,
    to: BTreeMap<Place, i64>,
    letters: BTreeSet<Uuid>,
}

impl<B: Broker> Relay<B> {
    fn epoch(&self) -> Option<i64> {
        self.standing.borrow().filter(Standing::is_held).map(|standing| standing.epoch)
    }

    async fn lead(&mut self, stopping: &mut watch::Receiver<bool>, once: bool) -> Result<(), Trouble> {
        let lanes = self.store.lanes();
        let checked = self.broker.ensure_topics(lanes).await?;
        for topic in &checked.made {
            tracing::info!(topic, partitions = lanes, "made a topic");
        }
        let mut broker = self.broker.clone();
        broker.limit_message_bytes(checked.message_bytes_max);
        let format = self.values.format(|stream| broker.topic(stream)).await?;
        let topics = Stream::ALL.map(|stream| broker.topic(stream));
        let writing = Writing { format, bytes_max: broker.message_bytes_max(), topics };
        let publisher = broker.publisher().await?;
        let led = self.publish_all(&publisher, &broker, &writing, stopping, once).await;
        publisher.close().await;
        led
    }

    async fn publish_all(
        &mut self,
        publisher: &B::Publisher,
        broker: &B,
        writing: &Writing,
        stopping: &mut watch::Receiver<bool>,
        once: bool,
    ) -> Result<(), Trouble> {
        let mut progress = recovery::find_out(&self.store, broker).await?;
        let mut commits = self.store.commits();
        let mut noted_at = Instant::now();
        let mut checked_at = Instant::now();
        let mut letters_at = None::<Instant>;
        let mut next_at = Instant::now();
        loop {
            commits.mark_unchanged();
            let Some(epoch) = self.epoch() else { break };
            if *stopping.borrow() {
                break;
            }
            let batch = self.read(&mut progress.read).await?;
            let mut letters = Vec::new();
            if letters_at.is_none_or(|at| at.elapsed() > DEAD_LETTERS_INTERVAL) {
                letters_at = Some(Instant::now());
                letters =
                    dead_letters::unpublished(self.store.reads(), &self.groups, writing.bytes_max).await?;
            }
            if noted_at.elapsed() > NOTE_INTERVAL && !progress.is_noted {
                self.note(&mut progress, epoch).await?;
                noted_at = Instant::now();
            }
            if checked_at.elapsed() > TOPICS_CHECK_INTERVAL {
                publisher.check_topics().await?;
                checked_at = Instant::now();
            }
            if !batch.events.is_empty() || !letters.is_empty() {
                let mut publishing = Publishing::begin();
                let sent =
                    self.send(publisher, writing, &mut progress, batch, letters, &mut publishing).await?;
                if fault::is_on(Fault::NoteBeforePublish) {
                    self.note_early(&sent, &mut progress, epoch).await?;
                }
                let last = publisher.commit(progress.offsets.clone()).await?;
                publishing.committed();
                next_at = Instant::now() + PAUSE_BEHIND_COMMIT;
                self.settle(sent, last, &mut progress).await?;
                tokio::time::sleep_until(next_at).await;
                continue;
            }
            if once {
                break;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                changed = commits.changed() => if changed.is_err() { break },
                _ = stopping.changed() => {}
            }
            tokio::time::sleep_until(next_at).await;
        }
        if let Some(epoch) = self.epoch() {
            self.note(&mut progress, epoch).await?;
        }
        Ok(())
    }

    /// The next events of all lanes, a fair share of each.
    async fn read(&self, read: &mut BTreeMap<Place, i64>) -> Result<Batch, ReadError> {
        let heads = log::heads(self.store.reads()).await?;
        let mut wanted = Vec::new();
        for head in &heads {
            for stream in Stream::ALL {
                let behind = read.get(&(stream, head.lane)).copied().unwrap_or(0);
                let until = head.streams[stream.index()].0;
                if until > behind {
                    wanted.push(Span { stream, lane: head.lane, behind, until });
                }
            }
        }
        if wanted.is_empty() {
            return Ok(Batch::default());
        }
        let room = i64::try_from(self.settings.batch_events_max).unwrap_or(i64::MAX);
        let places = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        let share = (room / places).max(EVENTS_A_PLACE_MIN);
        let mut more_waits = false;
        for span in &mut wanted {
            let head = span.until;
            span.until = span.until.min(span.behind.saturating_add(share));
            more_waits |= span.until < head;
            read.insert((span.stream, span.lane), span.until);
        }
        let events = log::spans(self.store.reads(), &wanted).await?;
        let expected: i64 = wanted.iter().map(|span| span.until - span.behind).sum();
        if i64::try_from(events.len()) != Ok(expected) {
            return Err(ReadError::Invalid(format!(
                "the log should hold {expected} events behind those that are published, and holds {}; \
                 run `fintech events verify`",
                events.len()
            )));
        }
        Ok(Batch { events, more_waits })
    }

    /// Hands the events over, and as long as there are more of them the next ones, which are read meanwhile.
    async fn send(
        &self,
        publisher: &B::Publisher,
        writing: &Writing,
        progress: &mut Progress,
        mut batch: Batch,
        letters: Vec<dead_letters::Letter>,
        publishing: &mut Publishing,
    ) -> Result<Sent, Trouble> {
        let mut sent = Sent { letters: letters.iter().map(|letter| letter.id).collect(), ..Sent::default() };
        #[cfg(debug_assertions)]
        crate::fail::at("relay.read");
        publisher.send(letters.into_iter().map(|letter| letter.record).collect()).await?;
        let mut batches = 1;
        loop {
            let Batch { events, more_waits } = batch;
            sent.events += events.len() as u64;
            log_published(&events);
            publishing.sends(&events, &writing.topics);
            sent.to.extend(events.iter().map(|event| ((event.stream, event.lane), event.position)));
            // What is read must be sent: the positions have moved.
            let reads_on = more_waits && batches < BATCHES_A_TRANSACTION_MAX;
            let next =
                async { if reads_on { self.read(&mut progress.read).await.map(Some) } else { Ok(None) } };
            let hand_over = async { publisher.send(encode_all(events, writing).await).await };
            let (next, handed_over) = tokio::join!(next, hand_over);
            handed_over?;
            match next? {
                Some(next) => batch = next,
                None => return Ok(sent),
            }
            batches += 1;
        }
    }

    /// Takes in where a transaction's records lie.
    async fn settle(&self, sent: Sent, last: LastOffsets, progress: &mut Progress) -> Result<(), Trouble> {
        self.published.fetch_add(sent.events, Ordering::Relaxed);
        let mut last_letters = BTreeMap::new();
        for ((topic, partition), offset) in last {
            progress.offsets.insert((topic, partition), offset);
            let Ok(lane) = u16::try_from(partition) else { continue };
            match topic {
                Topic::Stream(stream) => {
                    let place = (stream, Lane(lane));
                    if let Some(position) = sent.to.get(&place) {
                        progress.ends.insert(place, (*position, offset));
                        progress.is_noted = false;
                    }
                }
                Topic::DeadLetters => {
                    last_letters.insert(partition, offset);
                }
            }
        }
        dead_letters::mark(&self.store, &sent.letters, &last_letters, self.store.now()).await?;
        #[cfg(debug_assertions)]
        crate::fail::at("relay.settled");
        Ok(())
    }

    /// [`Fault::NoteBeforePublish`].
    async fn note_early(&self, sent: &Sent, progress: &mut Progress, epoch: i64) -> Result<(), Trouble> {
        for (place, position) in &sent.to {
            let offset = progress.ends.get(place).map_or(0, |(_, offset)| offset + 1);
            progress.ends.insert(*place, (*position, offset));
        }
        self.note(progress, epoch).await
    }

    async fn note(&self, progress: &mut Progress, epoch: i64) -> Result<(), Trouble> {
        cursor::store(&self.store, &progress.ends, epoch, self.store.now()).await?;
        progress.is_noted = true;
        #[cfg(debug_assertions)]
        crate::fail::at("relay.noted");
        Ok(())
    }
}

/// Gives way now and then, so that what is read meanwhile gets on.
async fn encode_all(events: Vec<LogEvent>, writing: &Writing) -> Vec<Outgoing> {
    let mut records = Vec::with_capacity(events.len());
    for (number, event) in events.iter().enumerate() {
        if number % EVENTS_ENCODED_AT_ONCE_MAX == EVENTS_ENCODED_AT_ONCE_MAX - 1 {
            tokio::task::yield_now().await;
        }
        records.push(encode(event, writing));
    }
    records
}

fn encode(event: &LogEvent, Writing { format, bytes_max, .. }: &Writing) -> Outgoing {
    let record = record::encode(event, format, *bytes_max);
    if record.headers.last().is_some_and(|(name, _)| *name == header::CLAIM_CHECK) {
        tracing::error!(
            stream = event.stream.name(), lane = event.lane.0, position = event.position,
            event_id = %event.event_id, bytes = event.payload.len(), bytes_max,
            "the event is too large for its topic; a claim check stands in its place"
        );
    }
    record
}

/// In the words of the first platform. Under load one line speaks for a batch.
fn log_published(events: &[LogEvent]) {
    if events.len() > EVENTS_LOGGED_SINGLY_MAX {
        tracing::debug!(events = events.len(), "Published events");
        return;
    }
    for event in events {
        trace::within_sync(Scope::of(event.trace_context()), || {
            tracing::info!(
                event_type = event.event_type, event_id = %event.event_id, topic = event.stream.name(),
                partition = event.lane.0, position = event.position, "Published event"
            );
        });
    }
}
