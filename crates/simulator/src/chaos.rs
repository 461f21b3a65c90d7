//! What is wrong with the world at the moment, for those who meet it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::time::Timestamp;
use tokio::time::Instant;

/// How long a call to the database or to Kafka takes.
const LATENCY_MAX_US: u64 = 3000;
/// How much later than its connection breaks a commit may be made.
const LATE_MAX_MS: u64 = 40;
const STARTED_AT_MICROS: i64 = 1_795_000_000_000_000;

/// How the commit of a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    Made,
    /// Made, and nobody hears of it.
    AnswerLost,
    /// Made a moment after the connection broke.
    MadeLate(Duration),
    /// Not made, and nobody hears of it.
    Lost,
    /// Not made, and said so.
    Refused,
}

#[derive(Debug)]
pub struct Chaos {
    began_at: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    database_back_at: Instant,
    disk_free_at: Instant,
    kafka_back_at: Instant,
    effects_back_at: Instant,
    /// Connections of an older one are broken.
    connections: u64,
    commit_answers_to_lose: u32,
    commits_to_lose: u32,
    publish_answers_to_lose: u32,
    publishes_to_lose: u32,
    counts: Counts,
}

/// What happened, so that a test can see that it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub commits_disturbed: u64,
    pub publishes_disturbed: u64,
    pub refused_calls: u64,
}

impl Chaos {
    pub fn new() -> Self {
        let now = Instant::now();
        let state = State {
            database_back_at: now,
            disk_free_at: now,
            kafka_back_at: now,
            effects_back_at: now,
            connections: 0,
            commit_answers_to_lose: 0,
            commits_to_lose: 0,
            publish_answers_to_lose: 0,
            publishes_to_lose: 0,
            counts: Counts::default(),
        };
        Self { began_at: now, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True time, which no clock of a node need show.
    pub fn now(&self) -> Timestamp {
        let since = i64::try_from(self.began_at.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(STARTED_AT_MICROS.saturating_add(since))
    }

    /// Nothing is wrong any more.
    pub fn heal(&self) {
        let mut state = self.state();
        let now = Instant::now();
        state.database_back_at = now;
        state.disk_free_at = now;
        state.kafka_back_at = now;
        state.effects_back_at = now;
        state.commit_answers_to_lose = 0;
        state.commits_to_lose = 0;
        state.publish_answers_to_lose = 0;
        state.publishes_to_lose = 0;
    }

    pub fn take_database_away(&self, time: Duration) {
        self.cut_connections();
        self.state().database_back_at = Instant::now() + time;
    }

    pub fn cut_connections(&self) {
        self.state().connections += 1;
    }

    pub fn fill_disk(&self, time: Duration) {
        self.state().disk_free_at = Instant::now() + time;
    }

    pub fn take_kafka_away(&self, time: Duration) {
        self.state().kafka_back_at = Instant::now() + time;
    }

    pub fn take_effects_away(&self, time: Duration) {
        self.state().effects_back_at = Instant::now() + time;
    }

    pub fn lose_commit_answers(&self, count: u32) {
        self.state().commit_answers_to_lose += count;
    }

    pub fn lose_commits(&self, count: u32) {
        self.state().commits_to_lose += count;
    }

    pub fn lose_publish_answers(&self, count: u32) {
        self.state().publish_answers_to_lose += count;
    }

    pub fn lose_publishes(&self, count: u32) {
        self.state().publishes_to_lose += count;
    }

    /// The number of connections made now; `None` while the database is away.
    pub fn connections(&self) -> Option<u64> {
        let mut state = self.state();
        let is_there = Instant::now() >= state.database_back_at;
        state.counts.refused_calls += u64::from(!is_there);
        is_there.then_some(state.connections)
    }

    pub fn has_kafka(&self) -> bool {
        Instant::now() >= self.state().kafka_back_at
    }

    pub fn has_effects(&self) -> bool {
        Instant::now() >= self.state().effects_back_at
    }

    pub fn commit(&self) -> Commit {
        let mut state = self.state();
        let commit = if Instant::now() < state.disk_free_at {
            Commit::Refused
        } else if state.commits_to_lose > 0 {
            state.commits_to_lose -= 1;
            Commit::Lost
        } else if state.commit_answers_to_lose > 0 {
            state.commit_answers_to_lose -= 1;
            if fastrand::bool() {
                Commit::AnswerLost
            } else {
                Commit::MadeLate(Duration::from_millis(fastrand::u64(0..LATE_MAX_MS)))
            }
        } else {
            Commit::Made
        };
        state.counts.commits_disturbed += u64::from(commit != Commit::Made);
        commit
    }

    pub fn publish(&self) -> Commit {
        let mut state = self.state();
        let commit = if state.publishes_to_lose > 0 {
            state.publishes_to_lose -= 1;
            Commit::Lost
        } else if state.publish_answers_to_lose > 0 {
            state.publish_answers_to_lose -= 1;
            Commit::AnswerLost
        } else {
            Commit::Made
        };
        state.counts.publishes_disturbed += u64::from(commit != Commit::Made);
        commit
    }

    pub fn counts(&self) -> Counts {
        self.state().counts
    }
}

/// The time that a message takes; often none, so that many things happen in one moment.
pub async fn latency() {
    if fastrand::bool() {
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..LATENCY_MAX_US))).await;
    } else {
        tokio::task::yield_now().await;
    }
}

/// A computer: it may stand still, and its clock may be wrong.
#[derive(Debug)]
pub struct Machine {
    state: Mutex<(Instant, i64)>,
}

impl Machine {
    pub fn new() -> Self {
        Self { state: Mutex::new((Instant::now(), 0)) }
    }

    fn state(&self) -> MutexGuard<'_, (Instant, i64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stall(&self, time: Duration) {
        self.state().0 = Instant::now() + time;
    }

    pub fn step_clock(&self, ms: i64) {
        self.state().1 += ms * 1000;
    }

    pub fn heal(&self) {
        *self.state() = (Instant::now(), 0);
    }

    pub fn clock_is_off_by_micros(&self) -> i64 {
        self.state().1
    }

    /// Waits while the machine stands still.
    pub async fn pass(&self) {
        loop {
            let until = self.state().0;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}
