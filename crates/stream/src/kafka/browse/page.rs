//! A list of messages, page by page, the newest or the oldest first.
//!
//! Messages of several partitions are put in the order of their times; those of one partition stay in its order. A page
//! goes on where the one before ended: nothing is left out and nothing comes twice, whatever is published meanwhile. The
//! newest are found in windows that are read back from the end and grow, because Kafka reads forward only.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use domain::time::Timestamp;
use rdkafka::{Offset, message::BorrowedMessage, message::Message as _};
use tokio::runtime::Handle;

use super::{
    BrowseError, Browser, Client, Cursor, Filter, Order,
    message::{self, Decoder, Message},
    scan::{Range, Scan, Step},
    unavailable,
};
use crate::kafka::{Settings, values::Values};

pub const MESSAGES_A_PAGE_MAX: usize = 200;
/// What one page looks at, at most, before it says how far it came.
const RECORDS_SCANNED_MAX: usize = 50_000;
const BYTES_SCANNED_MAX: usize = 16 << 20;
const SCAN_TIME_MAX: Duration = Duration::from_secs(3);
/// What is kept of a page in memory, but for one message of each partition.
const BYTES_KEPT_MAX: usize = 16 << 20;
/// Offsets of a partition in the first window that is read back from its end, beyond those of a page. Every second offset
/// may be the marker of a transaction.
const WINDOW_MIN: i64 = 8;
const WINDOW_GROWTH: i64 = 4;
const WINDOW_MAX: i64 = 8192;
const MICROS_A_MILLISECOND: i64 = 1000;

/// Which messages are wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub topic: String,
    /// All of them otherwise.
    pub partition: Option<i32>,
    pub order: Order,
    /// Not before this offset of each partition.
    pub from_offset: Option<i64>,
    /// Both inclusive, by the time that Kafka has of a message.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub filter: Filter,
    /// [`MESSAGES_A_PAGE_MAX`] at most.
    pub messages_max: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

#[derive(Clone, Debug)]
pub struct Page {
    /// In the order that was wanted.
    pub messages: Vec<Message>,
    /// Where to go on; `None`: there is nothing more.
    pub next: Option<Cursor>,
    pub ended: Ended,
    /// Partitions that have no leader now: nothing of them is on the page.
    pub unavailable: Vec<i32>,
    pub records_scanned: usize,
    /// Of keys and values.
    pub bytes_scanned: usize,
}

/// Why a page ended where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Full,
    /// There is nothing more.
    AtEnd,
    /// It has looked at enough; there may be more behind.
    Records,
    Bytes,
    Time,
}

impl Browser {
    /// The messages of a page.
    pub async fn page(&self, wanted: Wanted) -> Result<Page, BrowseError> {
        let values = self.values.clone();
        let mut page = self.look(move |settings| read(settings, values, &wanted)).await?;
        let mut decoder = Decoder::new(self.values.clone());
        for message in &mut page.messages {
            decoder.complete(message).await;
        }
        Ok(page)
    }

    /// The message at an offset, if one is there.
    pub async fn message(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Option<Message>, BrowseError> {
        let wanted = Wanted {
            topic: topic.to_owned(),
            partition: Some(partition),
            order: Order::Oldest,
            from_offset: Some(offset),
            since: None,
            until: None,
            filter: Filter::default(),
            messages_max: 1,
            cursor: None,
        };
        let page = self.page(wanted).await?;
        Ok(page.messages.into_iter().next().filter(|message| message.offset == offset))
    }
}

fn read(settings: &Settings, values: Values, wanted: &Wanted) -> Result<Page, BrowseError> {
    if wanted.cursor.as_ref().is_some_and(|cursor| cursor.order != wanted.order) {
        return Err(BrowseError::OtherOrder);
    }
    let client = Client::new(settings, &[])?;
    let Ranges { ranges, unavailable } = ranges(settings, &client, wanted)?;
    let scan = Scan { settings, client, topic: &wanted.topic };
    let mut looker = Looker {
        wanted,
        decoder: Decoder::new(values),
        runtime: Handle::current(),
        messages_max: wanted.messages_max.clamp(1, MESSAGES_A_PAGE_MAX),
        deadline: Instant::now() + SCAN_TIME_MAX,
        records: 0,
        bytes: 0,
    };
    let (tracks, bound) = match wanted.order {
        Order::Oldest => looker.read_oldest(&scan, ranges)?,
        Order::Newest => looker.read_newest(&scan, ranges)?,
    };
    let mut page = put_in_order(tracks, wanted.order, looker.messages_max, bound);
    page.unavailable = unavailable;
    page.records_scanned = looker.records;
    page.bytes_scanned = looker.bytes;
    Ok(page)
}

struct Ranges {
    ranges: Vec<Range>,
    unavailable: Vec<i32>,
}

/// What of each partition is wanted and not yet shown.
fn ranges(settings: &Settings, client: &Client, wanted: &Wanted) -> Result<Ranges, BrowseError> {
    let topic = wanted.topic.as_str();
    let mut partitions = client.partitions(settings, topic)?;
    if let Some(partition) = wanted.partition {
        if !partitions.contains(&partition) {
            return Err(BrowseError::UnknownPartition { topic: topic.to_owned(), partition });
        }
        partitions = vec![partition];
    }
    let places: Vec<(&str, i32)> = partitions.iter().map(|partition| (topic, *partition)).collect();
    let offsets = |at| client.offsets(&places, at).map_err(|error| unavailable(settings, &error));
    let (lows, highs) = (offsets(Offset::Beginning)?, offsets(Offset::End)?);
    let at = |time: Timestamp, further| Offset::Offset(time.as_micros() / MICROS_A_MILLISECOND + further);
    let since = wanted.since.map(|time| offsets(at(time, 0))).transpose()?;
    let until = wanted.until.map(|time| offsets(at(time, 1))).transpose()?;
    let mut found = Ranges { ranges: Vec::new(), unavailable: Vec::new() };
    for (number, partition) in partitions.iter().copied().enumerate() {
        let (Some(begin), Some(end)) = (lows[number], highs[number]) else {
            found.unavailable.push(partition);
            continue;
        };
        let mut low = begin.max(wanted.from_offset.unwrap_or(0));
        let mut high = end;
        if let Some(since) = &since {
            low = low.max(since[number].unwrap_or(end));
        }
        if let Some(until) = &until {
            high = high.min(until[number].unwrap_or(end));
        }
        if let Some(cursor) = &wanted.cursor {
            match (cursor.places.get(&partition), cursor.order) {
                (None, _) => continue,
                (Some(next), Order::Oldest) => low = low.max(*next),
                (Some(behind), Order::Newest) => high = high.min(*behind),
            }
        }
        found.ranges.push(Range { partition, low, high });
    }
    Ok(found)
}

/// What was found of a partition.
struct Track {
    /// What is left of it.
    range: Range,
    /// In the order of their offsets.
    found: VecDeque<Message>,
    /// It has given as much as the page takes of it.
    is_full: bool,
    /// The time of the oldest record that was looked at.
    oldest_seen: Option<i64>,
    window: i64,
}

impl Track {
    const fn new(range: Range, window: i64) -> Self {
        Self { range, found: VecDeque::new(), is_full: false, oldest_seen: None, window }
    }

    const fn has_more(&self) -> bool {
        self.range.low < self.range.high
    }
}

/// What was found in the window of a partition.
#[derive(Default)]
struct Window {
    low: i64,
    found: VecDeque<Message>,
    bytes: usize,
    messages_max: usize,
    oldest_seen: Option<i64>,
}

impl Window {
    /// The oldest give way, for the next page.
    fn push(&mut self, message: Message, bytes_max: usize) {
        self.bytes += message.bytes();
        self.found.push_back(message);
        while self.found.len() > self.messages_max || (self.bytes > bytes_max && self.found.len() > 1) {
            let Some(oldest) = self.found.pop_front() else { return };
            self.bytes -= oldest.bytes();
            self.low = oldest.offset + 1;
        }
    }
}

struct Looker<'a> {
    wanted: &'a Wanted,
    decoder: Decoder,
    runtime: Handle,
    messages_max: usize,
    deadline: Instant,
    records: usize,
    bytes: usize,
}

impl Looker<'_> {
    /// Counts a record; gives it when it is wanted.
    fn look_at(&mut self, message: &BorrowedMessage<'_>) -> Option<Message> {
        self.records += 1;
        self.bytes += message::bytes(message);
        let (decoder, runtime) = (&mut self.decoder, &self.runtime);
        let mut decode = |value: &[u8]| {
            let (_, json) = runtime.block_on(decoder.read(value))?.event.ok()?;
            Some(json)
        };
        self.wanted.filter.matches(message, &mut decode).then(|| Message::new(message))
    }

    fn bound(&self) -> Option<Ended> {
        if self.records >= RECORDS_SCANNED_MAX {
            Some(Ended::Records)
        } else if self.bytes >= BYTES_SCANNED_MAX {
            Some(Ended::Bytes)
        } else if Instant::now() >= self.deadline {
            Some(Ended::Time)
        } else {
            None
        }
    }

    fn read_oldest(
        &mut self,
        scan: &Scan<'_>,
        ranges: Vec<Range>,
    ) -> Result<(Vec<Track>, Option<Ended>), BrowseError> {
        let mut tracks: BTreeMap<i32, Track> =
            ranges.iter().map(|range| (range.partition, Track::new(*range, 0))).collect();
        let done = scan.read(&ranges, self.deadline, &mut |message| {
            let Some(track) = tracks.get_mut(&message.partition()) else { return Step::On };
            track.range.low = message.offset() + 1;
            track.found.extend(self.look_at(message));
            if self.bound().is_some() {
                Step::Enough
            } else if track.found.len() >= self.messages_max {
                Step::EnoughOfPartition
            } else {
                Step::On
            }
        })?;
        for partition in done {
            if let Some(track) = tracks.get_mut(&partition) {
                track.range.low = track.range.high;
            }
        }
        let bound = self.bound();
        Ok((tracks.into_values().collect(), bound))
    }

    fn read_newest(
        &mut self,
        scan: &Scan<'_>,
        ranges: Vec<Range>,
    ) -> Result<(Vec<Track>, Option<Ended>), BrowseError> {
        let messages = i64::try_from(self.messages_max).unwrap_or(i64::MAX);
        let partitions = i64::try_from(ranges.len()).unwrap_or(i64::MAX).max(1);
        let window = WINDOW_MIN + 2 * messages / partitions;
        let mut tracks: Vec<Track> = ranges.into_iter().map(|range| Track::new(range, window)).collect();
        loop {
            let mut needed = self.needed(&mut tracks);
            if needed.is_empty() {
                return Ok((tracks, None));
            }
            if let Some(bound) = self.bound() {
                return Ok((tracks, Some(bound)));
            }
            self.read_windows(scan, &mut needed)?;
        }
    }

    /// Partitions of which older messages may belong on the page.
    fn needed<'t>(&self, tracks: &'t mut [Track]) -> Vec<&'t mut Track> {
        let mut times: Vec<i64> = tracks.iter().flat_map(|track| track.found.iter().map(time)).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        let last = times.get(self.messages_max - 1).copied();
        let may_have = |track: &&mut Track| {
            let is_older = last.is_some_and(|last| track.oldest_seen.is_some_and(|seen| seen <= last));
            track.has_more() && !track.is_full && !is_older
        };
        tracks.iter_mut().filter(may_have).collect()
    }

    fn read_windows(&mut self, scan: &Scan<'_>, tracks: &mut [&mut Track]) -> Result<(), BrowseError> {
        let left = RECORDS_SCANNED_MAX.saturating_sub(self.records) / tracks.len();
        let left = i64::try_from(left).unwrap_or(i64::MAX).max(1);
        let bytes_max = BYTES_KEPT_MAX / tracks.len();
        let mut windows = BTreeMap::new();
        let mut ranges = Vec::new();
        for track in &*tracks {
            let Range { partition, low, high } = track.range;
            let low = low.max(high - track.window.min(left));
            let messages_max = self.messages_max - track.found.len();
            windows.insert(partition, Window { low, messages_max, ..Window::default() });
            ranges.push(Range { partition, low, high });
        }
        let done = scan.read(&ranges, self.deadline, &mut |message| {
            let Some(window) = windows.get_mut(&message.partition()) else { return Step::On };
            window.oldest_seen = window.oldest_seen.or(message::millis(message));
            if let Some(found) = self.look_at(message) {
                window.push(found, bytes_max);
            }
            Step::On
        })?;
        // Of a window that was not read to its end the newest are not known: it is read again by the next page.
        for (track, range) in tracks.iter_mut().zip(ranges) {
            let Some(mut window) = windows.remove(&range.partition) else { continue };
            if !done.contains(&range.partition) {
                continue;
            }
            window.found.append(&mut track.found);
            track.found = window.found;
            track.is_full = window.low > range.low || track.found.len() >= self.messages_max;
            track.range.high = window.low;
            track.oldest_seen = window.oldest_seen.or(track.oldest_seen);
            track.window = (track.window * WINDOW_GROWTH).min(WINDOW_MAX);
        }
        Ok(())
    }
}

fn time(message: &Message) -> i64 {
    message.timestamp.map_or(0, |at| at.as_micros() / MICROS_A_MILLISECOND)
}

/// Merges what was found; what does not fit on the page is left to the next one.
fn put_in_order(mut tracks: Vec<Track>, order: Order, messages_max: usize, bound: Option<Ended>) -> Page {
    let mut messages = Vec::new();
    while messages.len() < messages_max {
        let next = match order {
            Order::Oldest => tracks
                .iter_mut()
                .filter(|track| !track.found.is_empty())
                .min_by_key(|track| track.found.front().map(|message| (time(message), message.partition))),
            Order::Newest => tracks
                .iter_mut()
                .filter(|track| !track.found.is_empty())
                .max_by_key(|track| track.found.back().map(|message| (time(message), message.partition))),
        };
        let taken = next.and_then(|track| match order {
            Order::Oldest => track.found.pop_front(),
            Order::Newest => track.found.pop_back(),
        });
        let Some(message) = taken else { break };
        messages.push(message);
    }
    let mut places = BTreeMap::new();
    for track in tracks {
        let Range { partition, low, high } = track.range;
        let left = match order {
            Order::Oldest => track.found.front().map(|message| message.offset),
            Order::Newest => track.found.back().map(|message| message.offset + 1),
        };
        let frontier = if order == Order::Oldest { low } else { high };
        if let Some(offset) = left.or_else(|| (low < high).then_some(frontier)) {
            places.insert(partition, offset);
        }
    }
    let next = (!places.is_empty()).then_some(Cursor { order, places });
    let ended = match (&next, bound) {
        (None, _) => Ended::AtEnd,
        (Some(_), Some(bound)) if messages.len() < messages_max => bound,
        // Of a partition that was cut for its size there is more, although the page has room.
        (Some(_), None) if messages.len() < messages_max => Ended::Bytes,
        (Some(_), _) => Ended::Full,
    };
    Page { messages, next, ended, unavailable: Vec::new(), records_scanned: 0, bytes_scanned: 0 }
}
