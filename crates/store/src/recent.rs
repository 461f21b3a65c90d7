//! The log from its newest event backwards, over all lanes, for people: by keyset, and bounded in what it looks at.
//!
//! Each lane is in order of time, and dense: its numbers have no gaps. So the lanes are merged by time, a window of each
//! being read at a time, and a window is a span of numbers. A page goes on below a number a lane ([`Below`]). With a
//! stream the numbers are its positions, without one the lane's sequence. A filter that few events pass makes a page
//! look at about [`EVENTS_LOOKED_AT_MAX`] events; it then says how far it came, and the next one goes on there.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
};

use domain::{
    event::Stream,
    id::{EventId, MerchantId},
    lane::{Lane, lane_of},
    time::Timestamp,
};
use uuid::Uuid;

use crate::{
    batch::LaneHead,
    error::ReadError,
    log,
    queries::{Query, moment},
    sql::{Reads, Row, Rows, Value},
};

/// Events that one page of a filtered list looks at, about.
pub const EVENTS_LOOKED_AT_MAX: i64 = 10_000;
/// Events of all lanes together that are read before they are merged, and of one lane at least.
const WINDOWS_EVENTS: i64 = 4096;
const WINDOW_EVENTS_MIN: i64 = 8;
/// The same where a filter leaves few of them.
const FILTERED_WINDOWS_EVENTS: i64 = 2500;
const FILTERED_WINDOW_EVENTS_MIN: i64 = 64;

/// An event without what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    pub lane: Lane,
    pub sequence: i64,
    pub stream: Stream,
    pub position: i64,
    pub event_id: EventId,
    pub event_type: String,
    pub occurred_at: Timestamp,
    pub merchant_id: MerchantId,
    pub subject_id: Uuid,
}

/// Which events are wanted; times are inclusive.
#[derive(Clone, Debug, Default)]
pub struct EventsWanted {
    pub stream: Option<Stream>,
    pub lane: Option<Lane>,
    pub event_type: Option<String>,
    pub merchant: Option<MerchantId>,
    /// A payment, withdrawal or merchant.
    pub subject: Option<Uuid>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

/// Where a page begins: of each lane that is looked at, in their order, the number below which it looks; of a subject one
/// number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below(pub Vec<i64>);

/// A page, newest first.
#[derive(Clone, Debug)]
pub struct EventsPage {
    pub events: Vec<Brief>,
    /// `None`: there is nothing more.
    pub next: Option<Below>,
    /// The page ended because it had looked at [`EVENTS_LOOKED_AT_MAX`] events, not because it was full.
    pub is_cut_short: bool,
}

const BRIEF: &str = "select lane, sequence, stream, position, event_id, event_type, occurred_at, merchant_id, \
     subject_id from events";

/// Events, newest first; those of the same moment in any order. `after` that does not fit the filter's lanes begins anew.
pub async fn events(
    db: &dyn Reads,
    wanted: &EventsWanted,
    after: Option<&Below>,
    limit: usize,
) -> Result<EventsPage, ReadError> {
    if let Some(subject) = wanted.subject {
        return of_subject(db, subject, wanted, after, limit).await;
    }
    let heads = log::heads(db).await?;
    let lanes = u16::try_from(heads.len()).unwrap_or(u16::MAX);
    let of_merchant = wanted.merchant.filter(|_| lanes > 0).map(|merchant| lane_of(merchant, lanes));
    let is_meant = |lane: Lane| {
        wanted.lane.is_none_or(|wanted| wanted == lane) && of_merchant.is_none_or(|of| of == lane)
    };
    let mut merge = Merge::new(wanted, heads.iter().filter(|head| is_meant(head.lane)), limit);
    match after {
        Some(Below(numbers)) if numbers.len() == merge.tracks.len() => merge.go_below(numbers),
        _ => {
            if let Some(to) = wanted.to {
                merge.begin_at(db, to).await?;
            }
        }
    }
    merge.page(db, limit).await
}

/// How many events of a stream occurred at a moment or later, up to these heads. Nothing is counted: it is the difference of
/// two positions a lane, of which one is found by halving.
pub async fn since(
    db: &dyn Reads,
    heads: &[LaneHead],
    stream: Stream,
    from: Timestamp,
) -> Result<i64, ReadError> {
    let wanted = EventsWanted { stream: Some(stream), ..EventsWanted::default() };
    let mut merge = Merge::new(&wanted, heads.iter(), 0);
    let ends: i64 = merge.tracks.iter().map(|track| track.below).sum();
    merge.begin_at(db, Timestamp::from_micros(from.as_micros().saturating_sub(1))).await?;
    Ok(ends - merge.tracks.iter().map(|track| track.below).sum::<i64>())
}

/// A payment's life is short and lies in one lane: its own index has it in order.
async fn of_subject(
    db: &dyn Reads,
    subject: Uuid,
    wanted: &EventsWanted,
    after: Option<&Below>,
    limit: usize,
) -> Result<EventsPage, ReadError> {
    let mut query = Query::new(BRIEF);
    query.and("subject_id =", subject);
    if let Some(Below(numbers)) = after
        && let [below] = numbers[..]
    {
        query.and("sequence <", below);
    }
    // With a sign they are no columns of an index: the subject alone chooses the way.
    if let Some(stream) = wanted.stream {
        query.and("+stream =", stream.number());
    }
    if let Some(lane) = wanted.lane {
        query.and("+lane =", i64::from(lane.0));
    }
    narrow(&mut query, wanted);
    if let Some(from) = wanted.from {
        query.and("occurred_at >=", from.as_micros());
    }
    if let Some(to) = wanted.to {
        query.and("occurred_at <=", to.as_micros());
    }
    let _ = write!(query.sql, " order by sequence desc limit {}", limit + 1);
    let rows = db.query(&query.sql, query.params).await?;
    let mut events = rows.iter().map(brief_from).collect::<Result<Vec<_>, _>>()?;
    let is_full = events.len() > limit;
    events.truncate(limit);
    let next = if is_full { events.last().map(|event| Below(vec![event.sequence])) } else { None };
    Ok(EventsPage { events, next, is_cut_short: false })
}

/// What no index has.
fn narrow(query: &mut Query, wanted: &EventsWanted) {
    if let Some(event_type) = &wanted.event_type {
        query.and("event_type =", event_type.as_str());
    }
    if let Some(merchant) = wanted.merchant {
        query.and("merchant_id =", merchant.0);
    }
}

/// What is left of a lane, or of a stream in it.
struct Track {
    lane: Lane,
    /// What lies below it has not been read.
    below: i64,
    /// No event that has not been read is later.
    newest_left: Timestamp,
    /// Read, passed the filter and not given yet; newest first.
    read: VecDeque<Brief>,
}

impl Track {
    const fn is_at_the_beginning(&self) -> bool {
        self.below <= 1
    }
}

/// Merges the lanes by time.
struct Merge<'a> {
    wanted: &'a EventsWanted,
    /// The column of the numbers.
    number: &'static str,
    tracks: Vec<Track>,
    window: i64,
    looked_at: i64,
}

impl<'a> Merge<'a> {
    fn new(wanted: &'a EventsWanted, heads: impl Iterator<Item = &'a LaneHead>, limit: usize) -> Self {
        let end = |head: &LaneHead| match wanted.stream {
            Some(stream) => head.streams[stream.index()].0,
            None => head.sequence,
        };
        let tracks: Vec<Track> = heads
            .map(|head| Track {
                lane: head.lane,
                below: end(head) + 1,
                newest_left: head.clock,
                read: VecDeque::new(),
            })
            .collect();
        let lanes = i64::try_from(tracks.len().max(1)).unwrap_or(1);
        let page = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let window = if is_narrowed(wanted) {
            (FILTERED_WINDOWS_EVENTS / lanes).max(FILTERED_WINDOW_EVENTS_MIN)
        } else {
            (WINDOWS_EVENTS / lanes).min(page).max(WINDOW_EVENTS_MIN)
        };
        let number = if wanted.stream.is_some() { "position" } else { "sequence" };
        Self { wanted, number, tracks, window, looked_at: 0 }
    }

    fn go_below(&mut self, numbers: &[i64]) {
        for (track, below) in self.tracks.iter_mut().zip(numbers) {
            track.below = track.below.min(*below);
        }
    }

    /// Begins with the last event of each lane that is not later. Time in a lane does not run back, so it is halved.
    async fn begin_at(&mut self, db: &dyn Reads, to: Timestamp) -> Result<(), ReadError> {
        // Of each lane: a number that is not too late, or 0, and one that is, or the end.
        let mut bounds: Vec<(i64, i64)> = self.tracks.iter().map(|track| (0, track.below)).collect();
        while bounds.iter().any(|(good, late)| late - good > 1) {
            let middle = |(good, late): &(i64, i64)| good + (late - good) / 2;
            let probes: Vec<(Lane, i64)> =
                self.tracks.iter().zip(&bounds).map(|(track, bound)| (track.lane, middle(bound))).collect();
            let times = self.times(db, &probes).await?;
            for (bound, (lane, at)) in bounds.iter_mut().zip(probes) {
                if bound.1 - bound.0 <= 1 {
                    continue;
                }
                // One that is missing says nothing of those below.
                match times.get(&lane) {
                    Some(time) if *time > to => bound.1 = at,
                    _ => bound.0 = at,
                }
            }
        }
        for (track, (_, late)) in self.tracks.iter_mut().zip(bounds) {
            track.below = late;
            track.newest_left = track.newest_left.min(to);
        }
        Ok(())
    }

    async fn page(mut self, db: &dyn Reads, limit: usize) -> Result<EventsPage, ReadError> {
        let mut events = Vec::new();
        let mut is_cut_short = false;
        while events.len() < limit {
            let best = self.best();
            let best_time = best.map(|(_, time)| time);
            let unread: Vec<usize> = (0..self.tracks.len()).filter(|at| self.hides(*at, best_time)).collect();
            if unread.is_empty() {
                let Some((at, _)) = best else { break };
                events.extend(self.tracks[at].read.pop_front());
                continue;
            }
            if self.looked_at >= EVENTS_LOOKED_AT_MAX {
                is_cut_short = true;
                break;
            }
            self.read_windows(db, &unread).await?;
        }
        let is_more = self.tracks.iter().any(|track| !track.read.is_empty() || !track.is_at_the_beginning());
        let next =
            is_more.then(|| Below(self.tracks.iter().map(|track| self.goes_on_below(track)).collect()));
        Ok(EventsPage { events, next, is_cut_short })
    }

    /// The newest of what was read.
    fn best(&self) -> Option<(usize, Timestamp)> {
        let fronts = self.tracks.iter().enumerate();
        let fronts = fronts.filter_map(|(at, track)| Some((at, track.read.front()?.occurred_at)));
        fronts.max_by_key(|(_, time)| *time)
    }

    /// Whether a lane may have an event that is later than the best one that was read.
    fn hides(&self, at: usize, best: Option<Timestamp>) -> bool {
        let track = &self.tracks[at];
        track.read.is_empty()
            && !track.is_at_the_beginning()
            && best.is_none_or(|best| track.newest_left > best)
    }

    fn goes_on_below(&self, track: &Track) -> i64 {
        track.read.front().map_or(track.below, |event| self.number_of(event) + 1)
    }

    const fn number_of(&self, event: &Brief) -> i64 {
        if self.wanted.stream.is_some() { event.position } else { event.sequence }
    }

    /// Reads one window more of some lanes, all with one query.
    async fn read_windows(&mut self, db: &dyn Reads, unread: &[usize]) -> Result<(), ReadError> {
        let lows: Vec<(usize, i64)> =
            unread.iter().map(|at| (*at, (self.tracks[*at].below - self.window).max(1))).collect();
        let spans: Vec<[i64; 3]> = lows
            .iter()
            .map(|(at, low)| {
                let track = &self.tracks[*at];
                [i64::from(track.lane.0), *low, track.below]
            })
            .collect();
        let number = self.number;
        let mut query = self.spanned(BRIEF, &spans);
        query.condition(&format!("{number} >= low"));
        query.condition(&format!("{number} < high"));
        narrow(&mut query, self.wanted);
        let mut found: HashMap<Lane, Vec<Brief>> = HashMap::new();
        for row in &db.query(&query.sql, query.params).await? {
            let event = brief_from(row)?;
            found.entry(event.lane).or_default().push(event);
        }
        let probes: Vec<(Lane, i64)> = lows.iter().map(|(at, low)| (self.tracks[*at].lane, *low)).collect();
        let times = self.times_of_lowest(db, &found, &probes).await?;
        let from = self.wanted.from.unwrap_or_default();
        for (at, low) in lows {
            let lane = self.tracks[at].lane;
            let mut events = found.remove(&lane).unwrap_or_default();
            events.sort_unstable_by_key(|event| std::cmp::Reverse(self.number_of(event)));
            let track = &mut self.tracks[at];
            self.looked_at += track.below - low;
            track.below = low;
            track.newest_left =
                times.get(&lane).map_or(track.newest_left, |time| track.newest_left.min(*time));
            track.read.extend(events.into_iter().filter(|event| event.occurred_at >= from));
            if track.newest_left < from {
                track.below = 1;
            }
        }
        Ok(())
    }

    /// When the lowest events of windows occurred, asked for only where a filter may have left them out.
    async fn times_of_lowest(
        &self,
        db: &dyn Reads,
        found: &HashMap<Lane, Vec<Brief>>,
        probes: &[(Lane, i64)],
    ) -> Result<HashMap<Lane, Timestamp>, ReadError> {
        if is_narrowed(self.wanted) {
            return self.times(db, probes).await;
        }
        let lowest = |events: &Vec<Brief>| events.iter().map(|event| event.occurred_at).min();
        Ok(found.iter().filter_map(|(lane, events)| Some((*lane, lowest(events)?))).collect())
    }

    /// When events occurred, by their lanes.
    async fn times(
        &self,
        db: &dyn Reads,
        probes: &[(Lane, i64)],
    ) -> Result<HashMap<Lane, Timestamp>, ReadError> {
        if probes.is_empty() {
            return Ok(HashMap::new());
        }
        let spans: Vec<[i64; 3]> = probes.iter().map(|(lane, at)| [i64::from(lane.0), *at, *at]).collect();
        let mut query = self.spanned("select lane, occurred_at from events", &spans);
        query.condition(&format!("{} = low", self.number));
        let rows: Rows = db.query(&query.sql, query.params).await?;
        rows.iter().map(|row| Ok((lane_from(row, 0)?, moment(row.int(1)?)))).collect()
    }

    /// A query over spans of numbers, one a lane.
    fn spanned(&self, select: &str, spans: &[[i64; 3]]) -> Query {
        let mut params: Vec<Value> = Vec::with_capacity(spans.len() * 3 + 3);
        let mut rows = Vec::with_capacity(spans.len());
        for span in spans {
            let n = params.len();
            let row: Vec<String> = (n + 1..=n + 3).map(|n| format!("cast(${n} as bigint)")).collect();
            rows.push(format!("({})", row.join(", ")));
            params.extend(span.iter().map(|number| Value::from(*number)));
        }
        let mut query = Query::new(&format!(
            "with span (of_lane, low, high) as (values {}) {select} join span on lane = of_lane",
            rows.join(", ")
        ));
        query.params = params;
        if let Some(stream) = self.wanted.stream {
            query.and("stream =", stream.number());
        }
        query
    }
}

const fn is_narrowed(wanted: &EventsWanted) -> bool {
    wanted.event_type.is_some() || wanted.merchant.is_some()
}

fn lane_from(row: Row<'_>, column: usize) -> Result<Lane, ReadError> {
    let lane = u16::try_from(row.int(column)?);
    lane.map(Lane).map_err(|_| ReadError::Invalid("a lane below zero".to_owned()))
}

fn brief_from(row: Row<'_>) -> Result<Brief, ReadError> {
    let stream = Stream::from_number(row.int(2)?);
    Ok(Brief {
        lane: lane_from(row, 0)?,
        sequence: row.int(1)?,
        stream: stream.ok_or_else(|| ReadError::Invalid("an unknown stream".to_owned()))?,
        position: row.int(3)?,
        event_id: EventId(row.uuid(4)?),
        event_type: row.text(5)?.to_owned(),
        occurred_at: moment(row.int(6)?),
        merchant_id: MerchantId(row.uuid(7)?),
        subject_id: row.uuid(8)?,
    })
}
