//! The topics: each holds the log's events, in order, once, the same to the byte.
//!
//! What the relay has not published yet is no break; what it has noted as published must be there, unless the topic may
//! let old records expire. A record is an event's by its id, or by position and hash; so of a record with one header that
//! somebody changed it is said which, and only what is no event at all is foreign.

use std::collections::{BTreeMap, VecDeque};

use domain::{event::Stream, id::EventId, lane::Lane};
use store::{batch::LogEvent, error::ReadError, log, sql::Reads};
use stream::kafka::{
    everything::{self, Found, Partition, Record},
    record::header,
    values::Values,
};
use uuid::Uuid;

use crate::{Area, Error, Kind, PAGE, Place, Topics, progress::Phase, run::Run};

/// Gaps of a partition that are kept until its end, in case that their events come later.
const GAPS_MAX: usize = 1000;

pub async fn check(run: &mut Run<'_>, topics: &Topics, partitions_done: usize) -> Result<(), Error> {
    let Topics { kafka, values } = topics;
    let db = run.db;
    // Noted after it was published: read first, it lies before the topic's end.
    let noted = noted(db).await?;
    let mut finds = everything::read(kafka, run.watermark.lanes, partitions_done).await?;
    let mut walk: Option<Walk<'_>> = None;
    let mut partitions_done = partitions_done;
    while let Some(found) = finds.recv().await {
        match (found?, &mut walk) {
            (Found::Partition(partition), walk) => {
                *walk = Some(Walk::new(db, values, kafka.topic(partition.stream), partition));
            }
            (Found::Records(records), Some(walk)) => {
                run.advanced(records.len());
                run.summary.records += records.len() as u64;
                for record in &records {
                    walk.record(record, run).await?;
                }
                run.breathe().await?;
            }
            (Found::End, Some(walk)) => {
                let place = (walk.partition.stream, walk.partition.lane);
                walk.end(noted.get(&place).copied().unwrap_or(0), run);
                partitions_done += 1;
                run.reached(|| Phase::Topics { partitions_done }).await?;
            }
            (_, None) => {}
        }
    }
    Ok(())
}

async fn noted(db: &dyn Reads) -> Result<BTreeMap<(Stream, Lane), i64>, ReadError> {
    let rows = db.query("select stream, lane, position from relay_cursors", Vec::new()).await?;
    let mut noted = BTreeMap::new();
    for row in &rows {
        // What is no lane of the log is told where positions are checked.
        let (Some(stream), Ok(lane)) = (Stream::from_number(row.int(0)?), u16::try_from(row.int(1)?)) else {
            continue;
        };
        noted.insert((stream, Lane(lane)), row.int(2)?);
    }
    Ok(noted)
}

/// What the log has for a record.
enum InLog {
    Event(Box<LogEvent>),
    /// At this position, but it cannot be read, which has been told already.
    Unreadable(i64),
    /// Nothing; and what the record says it is.
    Nothing(String),
}

/// A partition on its way.
struct Walk<'a> {
    db: &'a dyn Reads,
    values: &'a Values,
    topic: String,
    partition: Partition,
    /// The position of the last record that was in order; `None` before the first where older ones have expired.
    last: Option<i64>,
    /// Positions that were passed over: from the first to the last.
    gaps: Vec<(i64, i64)>,
    /// Events of the log behind `last`, by their positions.
    ahead: VecDeque<(i64, Result<LogEvent, ReadError>)>,
}

impl<'a> Walk<'a> {
    const fn new(db: &'a dyn Reads, values: &'a Values, topic: String, partition: Partition) -> Self {
        let last = if partition.low > 0 && !partition.is_kept { None } else { Some(0) };
        Self { db, values, topic, partition, last, gaps: Vec::new(), ahead: VecDeque::new() }
    }

    fn place(&self, what: impl std::fmt::Display) -> Place {
        Area::Topic.at(format_args!("{} partition {} {what}", self.topic, self.partition.lane))
    }

    async fn record(&mut self, record: &Record, run: &mut Run<'_>) -> Result<(), Error> {
        let at = format!("offset {}", record.offset);
        let position = match self.in_log(record).await? {
            InLog::Event(event) => {
                if let Some((part, expected, found)) = record.difference(&event, self.values).await? {
                    run.tell(Kind::Altered, self.place(format_args!("{at} {part}")), expected, found);
                }
                event.position
            }
            InLog::Unreadable(position) => position,
            InLog::Nothing(said) => {
                run.tell(Kind::Foreign, self.place(at), "an event of the log".to_owned(), said);
                return Ok(());
            }
        };
        match self.last {
            Some(last) if position <= last => {
                let kind = if self.fill_gap(position) { Kind::OutOfOrder } else { Kind::Duplicate };
                let expected = format!("position {}", last + 1);
                run.tell(kind, self.place(at), expected, position.to_string());
                return Ok(());
            }
            Some(last) if position > last + 1 => self.gap(last + 1, position - 1, run),
            Some(_) | None => {}
        }
        self.last = Some(position);
        while self.ahead.front().is_some_and(|(ahead, _)| *ahead <= position) {
            self.ahead.pop_front();
        }
        Ok(())
    }

    /// The event that a record is of.
    async fn in_log(&mut self, record: &Record) -> Result<InLog, ReadError> {
        let id: Option<Uuid> = record.header(header::CE_ID).and_then(|text| text.parse().ok());
        let position: Option<i64> = record.header(header::POSITION).and_then(|text| text.parse().ok());
        if let Some(position) = position {
            match self.at(position).await? {
                Some(Ok(event)) if Some(event.event_id.0) == id || record.has_hash(&event.hash) => {
                    return Ok(InLog::Event(Box::new(event)));
                }
                Some(Err(_)) => return Ok(InLog::Unreadable(position)),
                Some(Ok(_)) | None => {}
            }
        }
        let Some(id) = id else {
            return Ok(InLog::Nothing("a record without the id of an event".to_owned()));
        };
        let Partition { stream, lane, .. } = self.partition;
        match log::by_event_id(self.db, EventId(id)).await {
            Ok(Some(event)) if event.stream == stream && event.lane == lane => {
                Ok(InLog::Event(Box::new(event)))
            }
            Ok(Some(event)) => {
                let (topic, lane) = (event.stream.name(), event.lane);
                Ok(InLog::Nothing(format!("event {id}, which belongs to {topic} partition {lane}")))
            }
            Ok(None) | Err(ReadError::Invalid(_)) => {
                let position = position.map_or_else(|| "no position".to_owned(), |p| format!("position {p}"));
                Ok(InLog::Nothing(format!("event {id} as {position}")))
            }
            Err(error) => Err(error),
        }
    }

    /// What the log has at a position.
    async fn at(&mut self, position: i64) -> Result<Option<Result<LogEvent, ReadError>>, ReadError> {
        let Partition { stream, lane, .. } = self.partition;
        let before = position.saturating_sub(1);
        if self.last.is_some_and(|last| position <= last) {
            let found = log::found_behind(self.db, stream, lane, before, 1).await?;
            return Ok(found.into_iter().find_map(|(at, event)| (at == position).then_some(event)));
        }
        let ahead = |ahead: &VecDeque<(i64, Result<LogEvent, ReadError>)>| {
            let at = ahead.binary_search_by_key(&position, |(at, _)| *at).ok()?;
            ahead.get(at).map(|(_, event)| event.clone())
        };
        if let Some(event) = ahead(&self.ahead) {
            return Ok(Some(event));
        }
        self.ahead = log::found_behind(self.db, stream, lane, before, PAGE).await?.into();
        Ok(ahead(&self.ahead))
    }

    fn gap(&mut self, from: i64, to: i64, run: &mut Run<'_>) {
        if self.gaps.len() == GAPS_MAX {
            self.missing(from, to, run);
        } else {
            self.gaps.push((from, to));
        }
    }

    /// Whether a position was passed over before; it is not any more.
    fn fill_gap(&mut self, position: i64) -> bool {
        let Some(at) = self.gaps.iter().position(|(from, to)| (*from..=*to).contains(&position)) else {
            return false;
        };
        let (from, to) = self.gaps.swap_remove(at);
        self.gaps
            .extend([(from, position - 1), (position + 1, to)].into_iter().filter(|(from, to)| from <= to));
        true
    }

    fn missing(&self, from: i64, to: i64, run: &mut Run<'_>) {
        let place = self.place(format_args!("position {from}"));
        run.tell(Kind::Missing, place, format!("positions {from} to {to}"), "no records".to_owned());
    }

    fn end(&mut self, noted: i64, run: &mut Run<'_>) {
        let mut gaps = std::mem::take(&mut self.gaps);
        gaps.sort_unstable();
        if let Some(last) = self.last.filter(|last| *last < noted) {
            gaps.push((last + 1, noted));
        }
        for (from, to) in gaps {
            self.missing(from, to, run);
        }
    }
}
