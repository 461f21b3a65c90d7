//! The events of the log as the messages that they would be on Kafka: topic = stream, partition = lane, offset = position.

use std::collections::VecDeque;

use domain::{event::Stream, lane::Lane, time::Timestamp};
use store::{
    batch::LogEvent,
    error::ReadError,
    log::{self, Span},
    sql::Reads,
};
use stream::kafka::{
    browse::{Header, Message, Order},
    record::{self, Outgoing},
    values::Format,
};

use super::{Found, Wanted, filter};

/// Events that one look goes over.
pub const LOOKED_AT_MAX: usize = 3_000;
/// Events that one query brings, over all lanes, when few of them may pass.
const EVENTS_A_QUERY: usize = 1_000;

pub fn message(event: &LogEvent) -> Message {
    let Outgoing { partition, key, value, headers, .. } = record::encode(event, &Format::Json, usize::MAX);
    let headers = headers
        .into_iter()
        .map(|(name, value)| Header { name: name.to_owned(), value: Some(value.into_bytes()) });
    Message {
        partition,
        offset: event.position,
        timestamp: Some(event.occurred_at),
        key: Some(key),
        value,
        headers: headers.collect(),
        avro: None,
    }
}

/// The message at a position.
pub async fn at(
    db: &dyn Reads,
    stream: Stream,
    lane: Lane,
    position: i64,
) -> Result<Option<Message>, ReadError> {
    let events = log::behind(db, stream, lane, position.saturating_sub(1), 1).await?;
    Ok(events.first().filter(|event| event.position == position).map(message))
}

/// A lane on the way: what was read ahead of it, and the positions that are still to be read.
struct Way {
    lane: Lane,
    read: VecDeque<LogEvent>,
    /// Both inclusive; nothing is left when the first is the greater one.
    low: i64,
    high: i64,
}

/// Goes through the events of all lanes in order of time, forwards or back.
struct Walk {
    stream: Stream,
    order: Order,
    ways: Vec<Way>,
    step: i64,
}

/// Looks through the log, by [`LOOKED_AT_MAX`] events at most, until `limit` have passed the filter.
pub async fn look(db: &dyn Reads, stream: Stream, wanted: &Wanted, limit: usize) -> Result<Found, ReadError> {
    let mut walk = Walk::begin(db, stream, wanted, limit).await?;
    let mut found = Found::default();
    while found.messages.len() < limit && found.looked_at < LOOKED_AT_MAX {
        let Some(event) = walk.next(db).await? else { return Ok(found) };
        found.looked_at += 1;
        let message = message(&event);
        if filter::passes(&wanted.filter, &message) {
            found.messages.push(message);
        }
    }
    found.next = walk.places().map(|places| places.text());
    found.is_cut_short = found.messages.len() < limit && found.next.is_some();
    Ok(found)
}

impl Walk {
    async fn begin(db: &dyn Reads, stream: Stream, wanted: &Wanted, limit: usize) -> Result<Self, ReadError> {
        let mut ways: Vec<Way> = log::heads(db)
            .await?
            .iter()
            .filter(|head| wanted.partition.is_none_or(|partition| partition == head.lane.0))
            .map(|head| Way {
                lane: head.lane,
                read: VecDeque::new(),
                low: wanted.from_offset.unwrap_or(1).max(1),
                high: head.streams[stream.index()].0,
            })
            .collect();
        let after = wanted.after.as_deref().and_then(Places::parse);
        if let Some(places) = after {
            places.go_on(&mut ways, wanted.order);
        }
        if let Some(since) = wanted.since {
            let firsts = first_from(db, stream, &ways, since).await?;
            for (way, first) in ways.iter_mut().zip(firsts) {
                way.low = way.low.max(first);
            }
        }
        if let Some(until) = wanted.until {
            let behind = Timestamp::from_micros(until.as_micros().saturating_add(1));
            let firsts = first_from(db, stream, &ways, behind).await?;
            for (way, first) in ways.iter_mut().zip(firsts) {
                way.high = way.high.min(first - 1);
            }
        }
        let is_searched = !filter::is_empty(&wanted.filter);
        let a_query = if is_searched { EVENTS_A_QUERY / ways.len().max(1) } else { limit };
        let step = i64::try_from(a_query.max(limit)).unwrap_or(i64::MAX);
        Ok(Self { stream, order: wanted.order, ways, step })
    }

    /// The next event of all lanes; of those that were read ahead, none can be before it.
    async fn next(&mut self, db: &dyn Reads) -> Result<Option<LogEvent>, ReadError> {
        self.read_ahead(db).await?;
        let order = self.order;
        let key = |way: &&mut Way| {
            let tip = way.read.front().map_or(0, |event| event.occurred_at.as_micros());
            if order == Order::Newest { -tip } else { tip }
        };
        let way = self.ways.iter_mut().filter(|way| !way.read.is_empty()).min_by_key(key);
        Ok(way.and_then(|way| way.read.pop_front()))
    }

    /// One query for all lanes of which nothing is read ahead.
    async fn read_ahead(&mut self, db: &dyn Reads) -> Result<(), ReadError> {
        let mut spans = Vec::new();
        for way in self.ways.iter_mut().filter(|way| way.read.is_empty() && way.low <= way.high) {
            let (behind, until) = match self.order {
                Order::Newest => ((way.high - self.step).max(way.low - 1), way.high),
                Order::Oldest => (way.low - 1, way.high.min(way.low.saturating_add(self.step - 1))),
            };
            spans.push(Span { stream: self.stream, lane: way.lane, behind, until });
            match self.order {
                Order::Newest => way.high = behind,
                Order::Oldest => way.low = until + 1,
            }
        }
        if spans.is_empty() {
            return Ok(());
        }
        for event in log::spans(db, &spans).await? {
            let Some(way) = self.ways.iter_mut().find(|way| way.lane == event.lane) else { continue };
            match self.order {
                Order::Newest => way.read.push_front(event),
                Order::Oldest => way.read.push_back(event),
            }
        }
        Ok(())
    }

    /// Where the walk goes on; `None`: it has come to its end.
    fn places(&self) -> Option<Places> {
        let places = self.ways.iter().filter_map(|way| {
            let ahead = way.read.front().map(|event| event.position);
            let left = (way.low <= way.high).then_some(match self.order {
                Order::Newest => way.high,
                Order::Oldest => way.low,
            });
            ahead.or(left).map(|position| (way.lane.0, position))
        });
        let places: Vec<(u16, i64)> = places.collect();
        (!places.is_empty()).then_some(Places(places))
    }
}

/// The first position of each lane that is not earlier than a time. Time never runs back within a lane, so halving finds it;
/// all lanes are halved at once.
async fn first_from(
    db: &dyn Reads,
    stream: Stream,
    ways: &[Way],
    time: Timestamp,
) -> Result<Vec<i64>, ReadError> {
    // The last that is earlier lies between them, inclusive.
    let mut bounds: Vec<(i64, i64)> = ways.iter().map(|way| (0, way.high.max(0))).collect();
    let middle = |(low, high): (i64, i64)| low + (high - low + 1) / 2;
    loop {
        let open = ways.iter().zip(&bounds).filter(|(_, (low, high))| low < high);
        let span = |(way, bound): (&Way, &(i64, i64))| {
            let until = middle(*bound);
            Span { stream, lane: way.lane, behind: until - 1, until }
        };
        let spans: Vec<Span> = open.map(span).collect();
        if spans.is_empty() {
            return Ok(bounds.into_iter().map(|(low, _)| low + 1).collect());
        }
        let events = log::spans(db, &spans).await?;
        for (way, bound) in ways.iter().zip(&mut bounds).filter(|(_, (low, high))| low < high) {
            let until = middle(*bound);
            let is_earlier = events.iter().any(|event| event.lane == way.lane && event.occurred_at < time);
            *bound = if is_earlier { (until, bound.1) } else { (bound.0, until - 1) };
        }
    }
}

/// The next position of each lane that is not at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places(Vec<(u16, i64)>);

impl Places {
    /// A lane that is not named has come to its end.
    fn go_on(&self, ways: &mut [Way], order: Order) {
        for way in ways {
            let place = self.0.iter().find(|(lane, _)| *lane == way.lane.0).map(|(_, position)| *position);
            match (place, order) {
                (None, _) => way.high = 0,
                (Some(position), Order::Newest) => way.high = way.high.min(position),
                (Some(position), Order::Oldest) => way.low = way.low.max(position),
            }
        }
    }

    /// `lane-position` with dots between them.
    pub fn parse(text: &str) -> Option<Self> {
        let place = |text: &str| {
            let (lane, position) = text.split_once('-')?;
            Some((lane.parse().ok()?, position.parse().ok()?))
        };
        text.split('.').map(place).collect::<Option<_>>().map(Self)
    }

    fn text(&self) -> String {
        let places: Vec<String> =
            self.0.iter().map(|(lane, position)| format!("{lane}-{position}")).collect();
        places.join(".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_back() {
        let places = Places(vec![(0, 12), (15, i64::MAX)]);
        assert_eq!(Places::parse(&places.text()), Some(places));
        for wrong in ["", "1", "a-b", "1-2.", "70000-1", "newest:1-2"] {
            assert_eq!(Places::parse(wrong), None, "{wrong}");
        }
    }
}
