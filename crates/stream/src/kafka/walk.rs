//! The walk over what waits of one place: each record must follow the one before it.

use std::time::Duration;

use domain::chain::Hash;
use schema::headers::{CONTENT_TYPE_AVRO, CONTENT_TYPE_JSON};
use store::{
    Store,
    batch::LogEvent,
    fault::{self, Fault},
    log::{self, Span},
};
use tokio::time::Instant;

use super::{
    record,
    slot::{Content, Item, Lying, Pending},
    values::Values,
};
use crate::{
    dead_letter::Foreign,
    engine::{Batch, Stopped, Trouble},
    position::{Mark, Place},
    runtime::check_dense,
};

/// Before a record is looked at again whose schema the registry did not give.
const REGISTRY_PAUSE: Duration = Duration::from_secs(1);

/// What became of a record's value.
enum Read {
    Event(LogEvent),
    /// The registry does not say what it is. It may later.
    Away(String),
    Wrong(String),
}

/// Walks over what waits of one place.
pub(super) struct Walk<'a> {
    pub(super) store: &'a Store,
    pub(super) values: &'a Values,
    pub(super) name: &'static str,
    pub(super) place: Place,
    /// The position that is not to be reached.
    pub(super) failing: Option<i64>,
    pub(super) to: Mark,
}

impl Walk<'_> {
    /// Takes what follows, as long as there is room, and sets aside what is not of this log. Gives how many records were
    /// passed.
    ///
    /// The offset stays that of the position. A record before the position's own says nothing about how far the consumer
    /// has come: whoever reads it may hold it still although another has taken the place over and gone on, and would move
    /// the other's offset back. The position's own record says where to go on, in a topic that was made anew as well,
    /// where that is a smaller offset than the one that was stored.
    pub(super) async fn walk(
        &mut self,
        pending: &mut Pending,
        batch: &mut Batch,
        room: &mut usize,
    ) -> Result<usize, Trouble> {
        let mut last = pending.last;
        for (passed, item) in pending.items.iter().enumerate() {
            if *room == 0 {
                return Ok(passed);
            }
            let event = match &item.content {
                Content::Foreign(message) => {
                    self.set_aside(message.clone(), batch);
                    continue;
                }
                Content::Event(event) | Content::Avro(event, _) | Content::Claim(event) => event,
            };
            if fault::is_on(Fault::SkipGapCheck) && event.position > self.to.position + 1 {
                self.to.position = event.position - 1;
                last = None;
            }
            if event.position > self.to.position + 1 {
                if let Some(before) = pending.in_order.filter(|before| !pending.gone.contains(before)) {
                    pending.before_gap = Some(before);
                    return Err(self.missing(event.position));
                }
                let filled = self.fill_up(event.position - 1, batch, room).await?;
                last = filled.or(last);
                if *room == 0 {
                    return Ok(passed);
                }
            }
            let next = self.to.position + 1;
            if event.position == self.to.position {
                self.to.kafka_offset = Some(behind(item.offset));
            }
            if event.position <= self.to.position {
                continue;
            }
            if self.failing == Some(next) || event.position != next {
                return Ok(passed);
            }
            let complete = match self.complete(item, event).await? {
                Read::Away(reason) => {
                    tracing::warn!(
                        consumer = self.name,
                        stream = self.place.0.name(),
                        lane = self.place.1.0,
                        reason,
                        "the next event cannot be read yet; the partition waits, and others go on"
                    );
                    pending.waits_until = Some(Instant::now() + REGISTRY_PAUSE);
                    return Ok(passed);
                }
                Read::Event(complete) => {
                    let follows = last.is_none_or(|(position, hash)| {
                        position + 1 != next || complete.seal(&hash) == complete.hash
                    });
                    if follows { Ok(complete) } else { Err(not_following(event)) }
                }
                Read::Wrong(reason) => Err(reason),
            };
            let event = match complete {
                Ok(complete) => complete,
                Err(reason) => {
                    self.set_aside(original(item, event, reason), batch);
                    let Some(event) = self.in_log(event).await? else { continue };
                    event
                }
            };
            pending.in_order = Some(Lying { position: next, offset: item.offset });
            last = Some((next, event.hash));
            self.to = Mark { position: next, kafka_offset: Some(behind(item.offset)) };
            batch.events.push(event);
            *room -= 1;
        }
        Ok(pending.items.len())
    }

    /// The event with its payload.
    async fn complete(&self, item: &Item, event: &LogEvent) -> Result<Read, Trouble> {
        match &item.content {
            Content::Claim(_) => self.load_from_log(event.position).await.map(Read::Event),
            Content::Avro(_, value) => Ok(match self.values.read(event, value).await {
                Ok(event) => Read::Event(event),
                Err(error) if error.may_pass() => Read::Away(error.to_string()),
                Err(error) => Read::Wrong(error.to_string()),
            }),
            Content::Event(_) | Content::Foreign(_) => Ok(Read::Event(event.clone())),
        }
    }

    /// The event itself, where a record is of it by all but its value: the log has it under the same position and hash.
    async fn in_log(&self, event: &LogEvent) -> Result<Option<LogEvent>, Trouble> {
        let (stream, lane) = self.place;
        let found = log::behind(self.store.reads(), stream, lane, event.position - 1, 1).await?;
        let is_it = |found: &LogEvent| found.position == event.position && found.hash == event.hash;
        Ok(found.into_iter().find(is_it))
    }

    fn set_aside(&mut self, message: Foreign, batch: &mut Batch) {
        tracing::error!(
            consumer = self.name,
            stream = self.place.0.name(),
            lane = self.place.1.0,
            offset = message.offset,
            reason = message.reason,
            "a message that is not of this log is set aside"
        );
        // It has no position, so nothing says that it lies behind what was handled unless its offset does.
        self.to.kafka_offset = self.to.kafka_offset.max(Some(message.offset + 1));
        batch.foreign.push(message);
    }

    /// Reads from the log what the topic does not hold any more, up to a position; gives the last hash.
    async fn fill_up(
        &mut self,
        until: i64,
        batch: &mut Batch,
        room: &mut usize,
    ) -> Result<Option<(i64, Hash)>, Trouble> {
        let until = self.failing.map_or(until, |failing| until.min(failing - 1));
        let behind = self.to.position;
        let until = until.min(behind.saturating_add(i64::try_from(*room).unwrap_or(i64::MAX)));
        if until <= behind {
            return Ok(None);
        }
        tracing::warn!(
            consumer = self.name,
            stream = self.place.0.name(),
            lane = self.place.1.0,
            from = behind + 1,
            until,
            "the topic does not hold the events that come next; they are read from the log"
        );
        let span = Span { stream: self.place.0, lane: self.place.1, behind, until };
        let events = log::spans(self.store.reads(), &[span]).await?;
        check_dense(self.name, &[span], &events)?;
        self.to.position = until;
        *room -= events.len();
        let last = events.last().map(|event| (event.position, event.hash));
        batch.events.extend(events);
        Ok(last)
    }

    async fn load_from_log(&self, position: i64) -> Result<LogEvent, Trouble> {
        let span = Span { stream: self.place.0, lane: self.place.1, behind: position - 1, until: position };
        let events = log::spans(self.store.reads(), &[span]).await?;
        check_dense(self.name, &[span], &events)?;
        events.into_iter().next().ok_or_else(|| self.missing(position))
    }

    fn missing(&self, found: i64) -> Trouble {
        Trouble::Stopped(Stopped::EventsMissing {
            consumer: self.name,
            stream: self.place.0,
            lane: self.place.1,
            expected: self.to.position + 1,
            found: Some(found),
            from: "the topic",
        })
    }
}

/// The offset from which to go on.
fn behind(offset: i64) -> i64 {
    offset + i64::from(!fault::is_on(Fault::StoreOffsetItself))
}

fn not_following(event: &LogEvent) -> String {
    format!("its hash does not follow that of position {}, so it is not of this log", event.position - 1)
}

/// A record with all the headers of ours whose value is not that of its event, as it lies there.
fn original(item: &Item, event: &LogEvent, reason: String) -> Foreign {
    let (payload, content_type) = match &item.content {
        Content::Avro(_, value) => (value.clone(), CONTENT_TYPE_AVRO),
        Content::Event(_) | Content::Claim(_) | Content::Foreign(_) => {
            (event.payload.clone().into_bytes(), CONTENT_TYPE_JSON)
        }
    };
    let headers = record::headers(event, content_type).into_iter();
    Foreign {
        place: (event.stream, event.lane),
        offset: item.offset,
        key: Some(event.merchant_id.to_string().into_bytes()),
        payload: Some(payload),
        headers: headers.map(|(name, text)| (name.to_owned(), Some(text.into_bytes()))).collect(),
        reason,
    }
}
