//! What befalls the platform, and when: drawn from a seed, and the same again from the same seed.

use std::time::Duration;

use bench::random::Random;

/// Processes of each role.
pub const PROCESSES_A_ROLE: usize = 2;
pub const BROKERS: usize = 3;

/// Between the beginning of a fault and that of the next one.
const GAP_MIN_MS: u64 = 150;
const GAP_MAX_MS: u64 = 750;
/// A role that is frozen for longer loses what it holds: the relay its lease of a second, a consumer its session
/// of six.
const FROZEN_RELAY_MS: (u64, u64) = (1_100, 5_000);
const FROZEN_CONSUMERS_MS: (u64, u64) = (6_500, 9_000);
const FROZEN_API_MS: (u64, u64) = (300, 5_000);
const DOWN_MS: (u64, u64) = (0, 2_000);
const BROKER_DOWN_MS: (u64, u64) = (1_000, 12_000);
const DATABASE_DOWN_MS: (u64, u64) = (0, 4_000);
const DISK_FULL_MS: (u64, u64) = (2_000, 6_000);
const SESSIONS_CUT_MAX: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Api,
    Relay,
    Consumers,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Api, Self::Relay, Self::Consumers];

    /// As `--roles` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Relay => "relay",
            Self::Consumers => "consumers",
        }
    }
}

/// One of the processes of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub role: Role,
    pub number: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again after so long.
    Kill(Target, Duration),
    /// SIGTERM; started again when it has ended.
    Stop(Target),
    /// SIGSTOP, and SIGCONT after so long.
    Freeze(Target, Duration),
    /// SIGKILL of a broker; started again after so long.
    Broker(usize, Duration),
    /// PostgreSQL's own restart, which ends all sessions.
    DatabaseRestart,
    /// Immediate shutdown: the next start recovers from the log.
    DatabaseAbort(Duration),
    /// SIGKILL of the postmaster.
    DatabaseKill(Duration),
    /// No room on the disk of PostgreSQL.
    DiskFull(Duration),
    /// Some sessions end, whatever they were doing.
    CutSessions(u64),
    /// All of them do.
    CutAllSessions,
    /// The next COMMIT reaches PostgreSQL, its answer does not come back.
    CutAnswerOfCommit,
    /// The next COMMIT does not reach it.
    CutCommit,
}

impl Fault {
    /// Under which it is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill(Target { role: Role::Api, .. }, _) => "SIGKILL of an API process",
            Self::Kill(Target { role: Role::Relay, .. }, _) => "SIGKILL of a relay",
            Self::Kill(Target { role: Role::Consumers, .. }, _) => "SIGKILL of a process of consumers",
            Self::Stop(_) => "SIGTERM of a process",
            Self::Freeze(Target { role: Role::Api, .. }, _) => "SIGSTOP of an API process",
            Self::Freeze(Target { role: Role::Relay, .. }, _) => "SIGSTOP of a relay beyond its lease",
            Self::Freeze(Target { role: Role::Consumers, .. }, _) => {
                "SIGSTOP of consumers beyond their session"
            }
            Self::Broker(..) => "SIGKILL of a broker",
            Self::DatabaseRestart => "fast restart of PostgreSQL",
            Self::DatabaseAbort(_) => "immediate shutdown of PostgreSQL",
            Self::DatabaseKill(_) => "SIGKILL of PostgreSQL's postmaster",
            Self::DiskFull(_) => "full disk under PostgreSQL",
            Self::CutSessions(_) => "some sessions of PostgreSQL ended",
            Self::CutAllSessions => "all sessions of PostgreSQL ended",
            Self::CutAnswerOfCommit => "connection cut at COMMIT, the answer lost",
            Self::CutCommit => "connection cut at COMMIT, the COMMIT lost",
        }
    }
}

type Draw = fn(&mut Random) -> Fault;

/// What may happen, and how often in a thousand faults.
const CHANCES: [(u64, Draw); 16] = [
    (280, |random| Fault::CutSessions(1 + random.below(SESSIONS_CUT_MAX))),
    (40, |_| Fault::CutAllSessions),
    (180, |_| Fault::CutAnswerOfCommit),
    (150, |_| Fault::CutCommit),
    (110, |random| Fault::Kill(target(Role::Api, random), within(DOWN_MS, random))),
    (60, |random| Fault::Kill(target(Role::Relay, random), within(DOWN_MS, random))),
    (24, |random| Fault::Kill(target(Role::Consumers, random), within(DOWN_MS, random))),
    (30, |random| {
        let role = Role::ALL[random.index(Role::ALL.len())];
        Fault::Stop(target(role, random))
    }),
    (40, |random| Fault::Freeze(target(Role::Api, random), within(FROZEN_API_MS, random))),
    (40, |random| Fault::Freeze(target(Role::Relay, random), within(FROZEN_RELAY_MS, random))),
    (14, |random| Fault::Freeze(target(Role::Consumers, random), within(FROZEN_CONSUMERS_MS, random))),
    (12, |random| Fault::Broker(1 + random.index(BROKERS), within(BROKER_DOWN_MS, random))),
    (5, |_| Fault::DatabaseRestart),
    (5, |random| Fault::DatabaseAbort(within(DATABASE_DOWN_MS, random))),
    (5, |random| Fault::DatabaseKill(within(DATABASE_DOWN_MS, random))),
    (5, |random| Fault::DiskFull(within(DISK_FULL_MS, random))),
];

/// A fault, and how long after the one before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub after: Duration,
    pub fault: Fault,
}

/// Goes on for ever.
pub struct Plan(Random);

impl Plan {
    pub const fn new(seed: u64) -> Self {
        Self(Random::new(seed, 0))
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let random = &mut self.0;
        let after = within((GAP_MIN_MS, GAP_MAX_MS), random);
        let mut chance = random.below(CHANCES.iter().map(|(weight, _)| weight).sum());
        let drawn = CHANCES.iter().find(|(weight, _)| {
            let is_drawn = chance < *weight;
            chance = chance.saturating_sub(*weight);
            is_drawn
        });
        drawn.map(|(_, fault)| Step { after, fault: fault(random) })
    }
}

fn target(role: Role, random: &mut Random) -> Target {
    Target { role, number: 1 + random.index(PROCESSES_A_ROLE) }
}

fn within((min, max): (u64, u64), random: &mut Random) -> Duration {
    Duration::from_millis(min + random.below(max - min + 1))
}

#[test]
fn a_seed_gives_the_same_plan_again_and_every_fault_is_in_it() {
    let steps: Vec<Step> = Plan::new(7).take(3000).collect();
    assert_eq!(steps, Plan::new(7).take(3000).collect::<Vec<_>>());
    assert_ne!(steps, Plan::new(8).take(3000).collect::<Vec<_>>());
    let names: std::collections::BTreeSet<&str> = steps.iter().map(|step| step.fault.name()).collect();
    assert_eq!(names.len(), CHANCES.len());
}
