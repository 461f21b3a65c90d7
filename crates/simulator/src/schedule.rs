//! What happens in a simulation, step by step: a value, made from a seed, that can be cut shorter and run again.

use std::{fmt, time::Duration};

/// Steps of a schedule that a seed gives.
const STEPS_MIN: usize = 6;
const STEPS_MAX: usize = 28;
const PAUSE_MAX_MS: u64 = 120;
/// The longest outage; longer than a lease and a session.
const OUTAGE_MAX_MS: u64 = 900;
/// How far a clock jumps.
const CLOCK_JUMP_MAX_MS: i64 = 30_000;

#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// Virtual time that passes before the step.
    pub pause: Duration,
    pub step: Step,
}

#[derive(Clone, Debug)]
pub struct Schedule {
    /// Of everything that is left to chance while the steps are taken: latencies, jitter, who comes first.
    pub seed: u64,
    pub steps: Vec<Timed>,
}

/// A call of the API. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub node: usize,
    pub merchant: usize,
    pub action: Action,
    /// The idempotency key, of a few that all merchants use; `None` sends none.
    pub key: Option<u8>,
    /// How often it is sent, at once.
    pub times: usize,
}

impl Call {
    pub const CREATE_MERCHANT: Self =
        Self { node: 0, merchant: 0, action: Action::CreateMerchant, key: None, times: 1 };
}

#[derive(Clone, Copy, Debug)]
pub enum Action {
    CreateMerchant,
    Rename,
    CreatePayments { count: usize, amount: i64 },
    Complete { payment: usize },
    Refund { payment: usize, amount: i64 },
    Cancel { payment: usize },
    Withdraw { amount: i64 },
    Process { withdrawal: usize },
    Pay { withdrawal: usize },
    Recall { withdrawal: usize },
}

/// Something that happens to the world. What lasts is over by itself after a while.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Call(Call),
    /// As by SIGKILL; the process starts again after a while.
    Crash {
        node: usize,
        down_ms: u64,
    },
    /// As by SIGTERM.
    Restart {
        node: usize,
    },
    /// As by SIGSTOP and SIGCONT.
    Stall {
        node: usize,
        ms: u64,
    },
    DatabaseAway {
        ms: u64,
    },
    CutConnections,
    /// The next commits are made, at once or a little later, but their answers are lost.
    LoseCommitAnswers {
        count: u32,
    },
    /// The next commits are not made, and nobody hears of it.
    LoseCommits {
        count: u32,
    },
    DiskFull {
        ms: u64,
    },
    KafkaAway {
        ms: u64,
    },
    /// The next Kafka transactions are committed, but the answer is lost.
    LosePublishAnswers {
        count: u32,
    },
    /// The next Kafka transactions stay open until somebody aborts them.
    LosePublishes {
        count: u32,
    },
    /// The topic is deleted and made anew, empty.
    RecreateTopic {
        stream: usize,
    },
    /// Old records of a partition are deleted.
    ExpireRecords {
        stream: usize,
        lane: u16,
    },
    /// A record that is not of this log, on a topic of ours.
    ForeignRecord {
        stream: usize,
        lane: u16,
    },
    /// Another producer leaves a transaction open on a partition.
    OpenTransaction {
        stream: usize,
        lane: u16,
        ms: u64,
    },
    ForgetGroupOffsets,
    /// The group takes all partitions from a member without asking it.
    Expel {
        node: usize,
    },
    StepClock {
        node: usize,
        ms: i64,
    },
    /// The next events that a consumer meets cannot be handled until somebody has mended it.
    Poison {
        count: u32,
    },
    /// It is mended, and the dead letters are tried again.
    Redrive {
        node: usize,
    },
    /// What the consumers need is away.
    EffectsAway {
        ms: u64,
    },
}

impl Schedule {
    pub fn from_seed(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(STEPS_MIN..=STEPS_MAX);
        let steps = (0..count).map(|_| Timed { pause: pause(&mut random), step: step(&mut random) });
        Self { seed, steps: steps.collect() }
    }

    /// The same world with only some of the steps; the time between those that stay is kept.
    pub fn with_steps(&self, kept: &[usize]) -> Self {
        let mut steps = Vec::with_capacity(kept.len());
        let mut pause = Duration::ZERO;
        for (number, timed) in self.steps.iter().enumerate() {
            pause += timed.pause;
            if kept.contains(&number) {
                steps.push(Timed { pause, step: timed.step });
                pause = Duration::ZERO;
            }
        }
        Self { seed: self.seed, steps }
    }
}

fn pause(random: &mut fastrand::Rng) -> Duration {
    // Mostly at once: what races is what breaks.
    let max = if random.u8(0..3) == 0 { PAUSE_MAX_MS } else { 8 };
    Duration::from_millis(random.u64(0..=max))
}

fn step(random: &mut fastrand::Rng) -> Step {
    let node = random.usize(0..8);
    let ms = random.u64(1..=OUTAGE_MAX_MS);
    let count = random.u32(1..=3);
    let (stream, lane) = (random.usize(0..3), random.u16(0..8));
    match random.u8(0..100) {
        0..=57 => Step::Call(call(random, node)),
        58..=63 => Step::Crash { node, down_ms: ms },
        64..=65 => Step::Restart { node },
        66..=69 => Step::Stall { node, ms },
        70..=71 => Step::DatabaseAway { ms },
        72..=74 => Step::CutConnections,
        75..=77 => Step::LoseCommitAnswers { count },
        78..=79 => Step::LoseCommits { count },
        80 => Step::DiskFull { ms },
        81..=82 => Step::KafkaAway { ms },
        83..=84 => Step::LosePublishAnswers { count },
        85 => Step::LosePublishes { count },
        86 => Step::RecreateTopic { stream },
        87 => Step::ExpireRecords { stream, lane },
        88 => Step::ForeignRecord { stream, lane },
        89 => Step::OpenTransaction { stream, lane, ms },
        90 => Step::ForgetGroupOffsets,
        91..=92 => Step::Expel { node },
        93..=94 => Step::StepClock { node, ms: random.i64(-CLOCK_JUMP_MAX_MS..=CLOCK_JUMP_MAX_MS) },
        95..=96 => Step::Poison { count },
        97..=98 => Step::Redrive { node },
        _ => Step::EffectsAway { ms },
    }
}

fn call(random: &mut fastrand::Rng, node: usize) -> Call {
    let (payment, withdrawal) = (random.usize(0..16), random.usize(0..4));
    let amount = random.i64(1..500);
    let action = match random.u8(0..20) {
        0..=1 => Action::CreateMerchant,
        2 => Action::Rename,
        3..=8 => Action::CreatePayments { count: random.usize(1..4), amount },
        9..=12 => Action::Complete { payment },
        13..=14 => Action::Refund { payment, amount },
        15 => Action::Cancel { payment },
        16..=17 => Action::Withdraw { amount },
        18 => Action::Process { withdrawal },
        _ => {
            if random.bool() {
                Action::Pay { withdrawal }
            } else {
                Action::Recall { withdrawal }
            }
        }
    };
    Call {
        node,
        merchant: random.usize(0..4),
        action,
        key: (random.u8(0..4) > 0).then(|| random.u8(0..12)),
        times: if random.u8(0..4) == 0 { 2 } else { 1 },
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} steps:", self.seed, self.steps.len())?;
        for (number, Timed { pause, step }) in self.steps.iter().enumerate() {
            writeln!(f, "  {number:>2}. +{:>3} ms  {step:?}", pause.as_millis())?;
        }
        Ok(())
    }
}
