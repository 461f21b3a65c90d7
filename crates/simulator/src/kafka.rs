//! Kafka in memory: partitions with transactions and their markers, one transactional id, and consumer groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::{event::Stream, lane::Lane};
use rdkafka::message::{Header, OwnedHeaders};
use store::fault::{self, Fault};
use stream::{
    kafka::record::{Outgoing, Topic},
    position::Place,
};
use tokio::{sync::watch, time::Instant};

/// Who owns what in a group; a member that is not heard of for this long loses it.
pub const SESSION_TIMEOUT: Duration = Duration::from_millis(400);

/// A transaction that is open for longer is aborted, whoever has begun it.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Stored {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub headers: OwnedHeaders,
}

impl Stored {
    pub fn new(record: &Outgoing) -> Self {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        Self { key: record.key.clone(), value: record.value.clone(), headers }
    }
}

type Transaction = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Open,
    Committed,
    Aborted,
}

/// A record, or the marker of a transaction, which takes an offset of its own.
#[derive(Clone, Debug)]
struct Entry {
    offset: i64,
    transaction: Transaction,
    record: Option<Arc<Stored>>,
}

#[derive(Debug, Default)]
struct Partition {
    low: i64,
    next: i64,
    entries: Vec<Entry>,
}

impl Partition {
    fn append(&mut self, transaction: Transaction, record: Option<Arc<Stored>>) -> i64 {
        let offset = self.next;
        self.next += 1;
        self.entries.push(Entry { offset, transaction, record });
        offset
    }
}

pub struct Kafka {
    state: Mutex<State>,
    /// Changes whenever there may be something new to read.
    news: watch::Sender<u64>,
    lanes: u16,
}

struct State {
    partitions: BTreeMap<(Topic, i32), Partition>,
    /// Counts how often a topic was made.
    incarnations: BTreeMap<Topic, u64>,
    transactions: BTreeMap<Transaction, Status>,
    begun: BTreeMap<Transaction, Instant>,
    next_transaction: Transaction,
    /// Of the one transactional id.
    epoch: u64,
    open: Option<Transaction>,
    groups: BTreeMap<String, Group>,
}

#[derive(Default)]
struct Group {
    /// When each member was heard of last.
    members: BTreeMap<u64, Instant>,
    owners: BTreeMap<Place, u64>,
    next_member: u64,
    offsets: BTreeMap<Place, i64>,
}

/// Where a record lies.
pub type Appended = ((Topic, i32), i64);

/// The producer's epoch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced;

impl Kafka {
    pub fn new(lanes: u16) -> Self {
        let mut partitions = BTreeMap::new();
        for topic in Topic::ALL {
            for partition in 0..i32::from(lanes) {
                partitions.insert((topic, partition), Partition::default());
            }
        }
        let state = State {
            partitions,
            incarnations: Topic::ALL.into_iter().map(|topic| (topic, 0)).collect(),
            transactions: BTreeMap::new(),
            begun: BTreeMap::new(),
            next_transaction: 1,
            epoch: 0,
            open: None,
            groups: BTreeMap::new(),
        };
        Self { state: Mutex::new(state), news: watch::Sender::new(0), lanes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Makes a producer of the one transactional id: the older one is fenced, and what it left open is aborted.
    pub fn begin_producer(&self) -> u64 {
        let mut state = self.state();
        if !fault::is_on(Fault::DropFencing) {
            state.epoch += 1;
            if let Some(open) = state.open.take() {
                state.end(open, Status::Aborted);
            }
        }
        let epoch = state.epoch;
        drop(state);
        self.tell();
        epoch
    }

    /// Appends to a transaction, which begins with its first record.
    pub fn append(
        &self,
        epoch: u64,
        transaction: &mut Option<Transaction>,
        records: &[Outgoing],
    ) -> Result<Vec<Appended>, Fenced> {
        let mut state = self.state();
        if state.epoch != epoch {
            return Err(Fenced);
        }
        let number = *transaction.get_or_insert_with(|| state.begin());
        state.open = Some(number);
        let mut offsets = Vec::new();
        for record in records {
            let at = (record.topic, record.partition);
            let stored = Arc::new(Stored::new(record));
            if let Some(partition) = state.partitions.get_mut(&at) {
                offsets.push((at, partition.append(number, Some(stored))));
            }
        }
        Ok(offsets)
    }

    pub fn commit(&self, epoch: u64, transaction: Transaction) -> Result<(), Fenced> {
        let mut state = self.state();
        if state.epoch != epoch {
            return Err(Fenced);
        }
        if state.transactions.get(&transaction) != Some(&Status::Open) {
            return Err(Fenced);
        }
        state.open = None;
        state.end(transaction, Status::Committed);
        drop(state);
        self.tell();
        Ok(())
    }

    /// Aborts what nobody has ended for long.
    pub fn expire_transactions(&self) {
        let mut state = self.state();
        let is_old = |at: &Instant| at.elapsed() > TRANSACTION_TIMEOUT;
        let old: Vec<Transaction> =
            state.begun.iter().filter(|(_, at)| is_old(at)).map(|(number, _)| *number).collect();
        for number in old {
            state.end(number, Status::Aborted);
        }
        drop(state);
        self.tell();
    }

    /// Records that somebody else puts on a topic; `None` leaves the transaction open.
    pub fn append_foreign(&self, topic: Topic, partition: i32, record: Stored, ends: bool) -> Transaction {
        let mut state = self.state();
        let number = state.begin();
        if let Some(partition) = state.partitions.get_mut(&(topic, partition)) {
            partition.append(number, Some(Arc::new(record)));
        }
        if ends {
            state.end(number, Status::Committed);
        }
        drop(state);
        self.tell();
        number
    }

    pub fn abort(&self, transaction: Transaction) {
        self.state().end(transaction, Status::Aborted);
        self.tell();
    }

    pub fn recreate(&self, topic: Topic) {
        let mut state = self.state();
        *state.incarnations.entry(topic).or_default() += 1;
        for partition in 0..i32::from(self.lanes) {
            state.partitions.insert((topic, partition), Partition::default());
        }
        drop(state);
        self.tell();
    }

    /// Deletes the older part of what is committed.
    pub fn expire(&self, topic: Topic, partition: i32) {
        let mut state = self.state();
        let end = state.stable_end(topic, partition);
        if let Some(partition) = state.partitions.get_mut(&(topic, partition)) {
            let low = fastrand::i64(partition.low..=end.max(partition.low));
            partition.low = low;
            partition.entries.retain(|entry| entry.offset >= low);
        }
        drop(state);
        self.tell();
    }

    pub fn incarnations(&self) -> BTreeMap<Topic, u64> {
        self.state().incarnations.clone()
    }

    pub fn incarnation(&self, topic: Topic) -> u64 {
        self.state().incarnations.get(&topic).copied().unwrap_or(0)
    }

    /// The first offset that is there, and the one behind the last that is committed.
    pub fn bounds(&self, topic: Topic, partition: i32) -> (i64, i64) {
        let state = self.state();
        let low = state.partitions.get(&(topic, partition)).map_or(0, |partition| partition.low);
        (low, state.stable_end(topic, partition))
    }

    /// The end of all that was written, committed or not.
    pub fn high(&self, topic: Topic, partition: i32) -> i64 {
        self.state().partitions.get(&(topic, partition)).map_or(0, |partition| partition.next)
    }

    /// Whether a transaction is open that hides what lies behind it.
    pub fn is_held_up(&self, topic: Topic, partition: i32) -> bool {
        let state = self.state();
        let next = state.partitions.get(&(topic, partition)).map_or(0, |partition| partition.next);
        state.stable_end(topic, partition) < next
    }

    /// What is committed, from an offset on.
    pub fn read(&self, topic: Topic, partition: i32, from: i64, max: usize) -> Vec<(i64, Arc<Stored>)> {
        let mut records = self.read_with(topic, partition, from, false);
        records.truncate(max);
        records
    }

    /// The same with what is not committed, if that is wanted.
    pub fn read_with(
        &self,
        topic: Topic,
        partition: i32,
        from: i64,
        uncommitted: bool,
    ) -> Vec<(i64, Arc<Stored>)> {
        let state = self.state();
        let end = if uncommitted { i64::MAX } else { state.stable_end(topic, partition) };
        let Some(found) = state.partitions.get(&(topic, partition)) else { return Vec::new() };
        let begin = found.entries.partition_point(|entry| entry.offset < from);
        let visible = found.entries[begin..].iter().filter(|entry| {
            entry.offset < end
                && (uncommitted || state.transactions.get(&entry.transaction) == Some(&Status::Committed))
        });
        visible.filter_map(|entry| Some((entry.offset, entry.record.clone()?))).collect()
    }
}

impl State {
    fn begin(&mut self) -> Transaction {
        let number = self.next_transaction;
        self.next_transaction += 1;
        self.transactions.insert(number, Status::Open);
        self.begun.insert(number, Instant::now());
        number
    }

    /// Marks a transaction's end in all of its partitions.
    fn end(&mut self, transaction: Transaction, status: Status) {
        if self.transactions.get(&transaction) != Some(&Status::Open) {
            return;
        }
        self.transactions.insert(transaction, status);
        self.begun.remove(&transaction);
        for partition in self.partitions.values_mut() {
            if partition.entries.iter().any(|entry| entry.transaction == transaction) {
                partition.append(transaction, None);
            }
        }
    }

    /// The first offset of a transaction that is open; or the end.
    fn stable_end(&self, topic: Topic, partition: i32) -> i64 {
        let Some(partition) = self.partitions.get(&(topic, partition)) else { return 0 };
        let is_open = |entry: &&Entry| self.transactions.get(&entry.transaction) == Some(&Status::Open);
        partition.entries.iter().find(is_open).map_or(partition.next, |entry| entry.offset)
    }
}

/// What a member finds when it is heard of.
pub struct Assignment {
    /// Whether the group had given it up, so that all it had is lost.
    pub was_lost: bool,
    /// What it should give away.
    pub too_many: Vec<Place>,
    /// What it has got now.
    pub got: Vec<Place>,
}

impl Kafka {
    pub fn join(&self, group: &str) -> u64 {
        let mut state = self.state();
        let group = state.groups.entry(group.to_owned()).or_default();
        group.next_member += 1;
        let member = group.next_member;
        group.members.insert(member, Instant::now());
        member
    }

    pub fn leave(&self, group: &str, member: u64) {
        if let Some(group) = self.state().groups.get_mut(group) {
            group.expel(member);
        }
        self.tell();
    }

    /// Expels a member, the how-many-eth of those that are there, without asking it.
    pub fn expel(&self, group: &str, number: usize) {
        if let Some(group) = self.state().groups.get_mut(group) {
            let members: Vec<u64> = group.members.keys().copied().collect();
            if let Some(member) = number.checked_rem(members.len()).and_then(|at| members.get(at)) {
                group.expel(*member);
            }
        }
        self.tell();
    }

    pub fn forget_offsets(&self) {
        for group in self.state().groups.values_mut() {
            group.offsets.clear();
        }
    }

    /// A member is heard of: partitions are shared out among those that are, and nobody gets one that another still has.
    pub fn heartbeat(&self, name: &str, member: u64, owned: &BTreeSet<Place>) -> Assignment {
        let lanes = self.lanes;
        let mut state = self.state();
        let group = state.groups.entry(name.to_owned()).or_default();
        let now = Instant::now();
        let silent: Vec<u64> = group
            .members
            .iter()
            .filter(|(id, at)| **id != member && at.elapsed() > SESSION_TIMEOUT)
            .map(|(id, _)| *id)
            .collect();
        for silent in silent {
            group.expel(silent);
        }
        if !group.members.contains_key(&member) {
            return Assignment { was_lost: true, too_many: Vec::new(), got: Vec::new() };
        }
        group.members.insert(member, now);
        let members: Vec<u64> = group.members.keys().copied().collect();
        let mut assignment = Assignment { was_lost: false, too_many: Vec::new(), got: Vec::new() };
        for (number, place) in places(lanes).enumerate() {
            let target = members[number % members.len()];
            let owner = group.owners.get(&place).copied();
            if target != member && owned.contains(&place) {
                assignment.too_many.push(place);
            } else if target == member && owner.is_none() {
                group.owners.insert(place, member);
                assignment.got.push(place);
            }
        }
        assignment
    }

    /// A member has given a place away.
    pub fn release(&self, group: &str, member: u64, places: &[Place]) {
        if let Some(group) = self.state().groups.get_mut(group) {
            for place in places {
                if group.owners.get(place) == Some(&member) {
                    group.owners.remove(place);
                }
            }
        }
        self.tell();
    }

    pub fn commit_offset(&self, group: &str, member: u64, place: Place, offset: i64) {
        if let Some(group) = self.state().groups.get_mut(group)
            && group.owners.get(&place) == Some(&member)
        {
            group.offsets.insert(place, offset);
        }
    }

    pub fn committed_offset(&self, group: &str, place: Place) -> Option<i64> {
        self.state().groups.get(group)?.offsets.get(&place).copied()
    }
}

impl Group {
    fn expel(&mut self, member: u64) {
        self.members.remove(&member);
        self.owners.retain(|_, owner| *owner != member);
    }
}

pub fn places(lanes: u16) -> impl Iterator<Item = Place> {
    (0..lanes).flat_map(|lane| Stream::ALL.into_iter().map(move |stream| (stream, Lane(lane))))
}
