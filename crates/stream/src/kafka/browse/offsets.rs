//! Where events of the log are on their topic: the offsets of positions in one partition, found with one client.
//!
//! Offsets and positions both go up, and a record takes one offset at least. So each record that is seen tells where the
//! others lie at the earliest and at the latest, and the room between is narrowed: by what the distances seen so far let
//! expect, and every second time by half, so that it never takes long.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{Offset, message::BorrowedMessage, message::Message as _};

use super::{
    BrowseError, Browser, Client, message,
    scan::{Range, Scan, Step},
    unavailable,
};
use crate::kafka::{Settings, record::header};

/// Positions of one look.
pub const POSITIONS_MAX: usize = 200;
/// One look takes so long at most, if Kafka answers.
const SEARCH_TIME_MAX: Duration = Duration::from_millis(1500);
/// Records that are read at one place before it is tried at another.
const RECORDS_A_PROBE_MAX: usize = 64;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// Of the positions, in their order; `None`: it is not on the topic, or was not found in time.
    pub offsets: Vec<Option<i64>>,
    /// Every position was looked for to the end.
    pub is_whole: bool,
}

impl Browser {
    /// The offsets of positions in a partition of a stream's topic, [`POSITIONS_MAX`] at most.
    pub async fn offsets(
        &self,
        topic: &str,
        partition: i32,
        positions: Vec<i64>,
    ) -> Result<Offsets, BrowseError> {
        let topic = topic.to_owned();
        self.look(move |settings| look(settings, &topic, partition, &positions)).await
    }
}

fn look(settings: &Settings, topic: &str, partition: i32, positions: &[i64]) -> Result<Offsets, BrowseError> {
    let client = Client::new(settings, &[])?;
    if !client.partitions(settings, topic)?.contains(&partition) {
        return Err(BrowseError::UnknownPartition { topic: topic.to_owned(), partition });
    }
    let end_of = |at| {
        let found =
            client.offsets(&[(topic, partition)], at).map_err(|error| unavailable(settings, &error))?;
        found.first().copied().flatten().ok_or_else(|| BrowseError::Unavailable {
            servers: settings.bootstrap_servers.clone(),
            reason: format!("nobody leads partition {partition} of {topic}"),
        })
    };
    let (begin, end) = (end_of(Offset::Beginning)?, end_of(Offset::End)?);
    let scan = Scan { settings, client, topic };
    let mut search =
        Search { partition, begin, end, seen: BTreeMap::new(), deadline: Instant::now() + SEARCH_TIME_MAX };
    let mut found = Offsets { offsets: Vec::with_capacity(positions.len()), is_whole: true };
    for position in positions.iter().take(POSITIONS_MAX) {
        let offset =
            search.find(*position, &mut |range, deadline, each| read(&scan, range, deadline, each))?;
        found.is_whole &= offset.is_known;
        found.offsets.push(offset.offset);
    }
    Ok(found)
}

/// Calls with the positions and offsets in a range, in their order, until it is enough. Gives whether the range was read to its
/// end.
type Probe<'a> =
    dyn FnMut(Range, Instant, &mut dyn FnMut(Option<i64>, i64) -> Step) -> Result<bool, BrowseError> + 'a;

fn read(
    scan: &Scan<'_>,
    range: Range,
    deadline: Instant,
    each: &mut dyn FnMut(Option<i64>, i64) -> Step,
) -> Result<bool, BrowseError> {
    let done = scan.read(&[range], deadline, &mut |message| each(position(message), message.offset()))?;
    Ok(done.contains(&range.partition))
}

/// `None`: it is not of the log.
fn position(message: &BorrowedMessage<'_>) -> Option<i64> {
    let header = message::headers(message).find(|header| header.name == header::POSITION)?;
    std::str::from_utf8(header.value?).ok()?.parse().ok()
}

struct Search {
    partition: i32,
    begin: i64,
    end: i64,
    /// Offsets by their positions.
    seen: BTreeMap<i64, i64>,
    deadline: Instant,
}

struct Sought {
    offset: Option<i64>,
    /// Whether it was looked for to the end.
    is_known: bool,
}

impl Search {
    fn find(&mut self, position: i64, probe: &mut Probe<'_>) -> Result<Sought, BrowseError> {
        let known = |offset| Sought { offset, is_known: true };
        // Where it may lie; the second without itself.
        let (mut low, mut high) = (self.begin.max(position - 1), self.end);
        let mut is_halved = false;
        loop {
            if let Some(offset) = self.seen.get(&position) {
                return Ok(known(Some(*offset)));
            }
            let before = self.seen.range(..position).next_back().map(|(at, offset)| (*at, *offset));
            let behind = self.seen.range(position..).next().map(|(at, offset)| (*at, *offset));
            if let Some((at, offset)) = before {
                low = low.max(offset.saturating_add(position - at));
            }
            if let Some((at, offset)) = behind {
                high = high.min(offset.saturating_sub(at - position).saturating_add(1));
            }
            if low >= high {
                return Ok(known(None));
            }
            if Instant::now() >= self.deadline {
                return Ok(Sought { offset: None, is_known: false });
            }
            let middle = low + (high - low) / 2;
            let at = if is_halved { middle } else { expected(position, before, behind).clamp(low, high - 1) };
            is_halved = !is_halved;
            let Probed { first, last, is_whole } = self.probe(at, high, position, probe)?;
            match (first, last) {
                // Nothing was heard in time, which says nothing of what lies there.
                (None, _) if !is_whole => return Ok(Sought { offset: None, is_known: false }),
                // Whatever lies from there on is later, or there is nothing.
                (None, _) => high = at,
                (Some(first), _) if first > position => high = at,
                (Some(_), Some(offset)) => low = low.max(offset + 1),
                (Some(_), None) => {}
            }
        }
    }

    /// Reads on from an offset up to the position, and notes what it sees.
    fn probe(
        &mut self,
        from: i64,
        high: i64,
        position: i64,
        probe: &mut Probe<'_>,
    ) -> Result<Probed, BrowseError> {
        let mut probed = Probed { first: None, last: None, is_whole: false };
        let mut records = 0;
        let range = Range { partition: self.partition, low: from, high };
        let is_whole = probe(range, self.deadline, &mut |found, offset| {
            records += 1;
            if let Some(found) = found {
                self.seen.entry(found).or_insert(offset);
                probed.first.get_or_insert(found);
                if found >= position {
                    return Step::Enough;
                }
                probed.last = Some(offset);
            }
            // Records of others are passed over, however many there are.
            if records >= RECORDS_A_PROBE_MAX && probed.first.is_some() { Step::Enough } else { Step::On }
        })?;
        Ok(Probed { is_whole, ..probed })
    }
}

/// What was seen from an offset on.
struct Probed {
    first: Option<i64>,
    /// The offset of the last record before the position that is looked for.
    last: Option<i64>,
    /// There was nothing more.
    is_whole: bool,
}

/// Where a position lies if positions are as far apart as they were so far.
fn expected(position: i64, before: Option<(i64, i64)>, behind: Option<(i64, i64)>) -> i64 {
    // The position before the first one would lie before the first offset.
    let (at, offset) = before.unwrap_or((0, -1));
    let (distance, offsets) = match behind {
        Some((behind, behind_offset)) => (behind - at, behind_offset - offset),
        None => (at.max(1), offset.saturating_add(1).max(1)),
    };
    let further = i128::from(position - at) * i128::from(offsets) / i128::from(distance.max(1));
    offset.saturating_add(i64::try_from(further).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition of so many positions, in transactions of this size, each with its marker; without what was deleted.
    fn partition(positions: i64, a_transaction: i64, deleted_before: i64) -> (Vec<(i64, i64)>, i64) {
        let offset = |position: i64| position - 1 + (position - 1) / a_transaction;
        let records: Vec<(i64, i64)> = (1..=positions).map(|position| (position, offset(position))).collect();
        let end = records.last().map_or(0, |(_, offset)| offset + 2);
        (records.into_iter().filter(|(_, offset)| *offset >= deleted_before).collect(), end)
    }

    /// Gives what is found, and how many probes it took.
    fn find(records: &[(i64, i64)], begin: i64, end: i64, wanted: &[i64]) -> (Vec<Option<i64>>, usize) {
        let mut search = Search {
            partition: 0,
            begin,
            end,
            seen: BTreeMap::new(),
            deadline: Instant::now() + Duration::from_mins(1),
        };
        let mut probes = 0;
        let mut found = Vec::new();
        for position in wanted {
            let sought = search.find(*position, &mut |range, _, each| {
                probes += 1;
                let first = records.partition_point(|(_, offset)| *offset < range.low);
                for (position, offset) in &records[first..] {
                    if *offset >= range.high {
                        break;
                    }
                    if !matches!(each(Some(*position), *offset), Step::On) {
                        return Ok(false);
                    }
                }
                Ok(true)
            });
            found.push(sought.unwrap_or_else(|error| panic!("{error}")).offset);
        }
        (found, probes)
    }

    #[test]
    fn every_position_is_found_and_no_other_is() {
        for a_transaction in [1, 2, 7, 1000] {
            for deleted_before in [0, 1, 33, 200] {
                let (records, end) = partition(90, a_transaction, deleted_before);
                let begin = deleted_before.min(end);
                for position in -1..=95 {
                    let wanted = records.iter().find(|(at, _)| *at == position).map(|(_, offset)| *offset);
                    let (found, _) = find(&records, begin, end, &[position]);
                    assert_eq!(found, [wanted], "{position} of {a_transaction}, from {deleted_before}");
                }
            }
        }
    }

    #[test]
    fn it_takes_few_looks_however_many_records_there_are() {
        let (mut records, _) = partition(400_000, 1, 0);
        // Busy times: large transactions behind small ones.
        let last = records.last().copied().unwrap_or_default();
        records.extend((1..=600_000).map(|n| (last.0 + n, last.1 + 1 + n + n / 300)));
        let end = records.last().map_or(0, |(_, offset)| offset + 2);
        let wanted = [123_456, 123_457, 399_999, 400_500, 777_777, 1_000_000];
        let expected: Vec<Option<i64>> =
            wanted.iter().map(|at| Some(records[usize::try_from(at - 1).unwrap_or(0)].1)).collect();
        let (found, probes) = find(&records, 0, end, &wanted);
        assert_eq!(found, expected);
        assert!(probes <= 60, "{probes} looks for six positions");
    }

    /// A broker that is slow says nothing of what its partition holds.
    #[test]
    fn what_was_not_read_in_time_is_not_known() {
        let (begin, end, seen) = (0, 100, BTreeMap::new());
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut search = Search { partition: 0, begin, end, seen, deadline };
        let sought = search.find(1, &mut |_, _, _| Ok(false)).unwrap_or_else(|error| panic!("{error}"));
        assert!(sought.offset.is_none() && !sought.is_known);
    }

    #[test]
    fn what_is_not_published_yet_is_not_found() {
        assert_eq!(find(&[], 0, 0, &[1]).0, [None]);
        let (records, end) = partition(5, 1, 0);
        assert_eq!(find(&records, 0, end, &[6, 1_000_000]).0, [None, None]);
    }
}
