//! Carries the plan out, counts what befell whom, and heals everything at the end.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    database::Postgres,
    fleet::Fleet,
    plan::{Fault, Plan},
    proxy::{Cut, Proxy},
    support::kafka::Kafka,
};

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// What a broker gets to copy what it has missed before another one may go: two of three are a quorum.
const BETWEEN_BROKERS: Duration = Duration::from_secs(10);
const BETWEEN_DATABASE_FAULTS: Duration = Duration::from_secs(5);
const ACTION_PATIENCE: Duration = Duration::from_mins(3);
const HEAL_PATIENCE: Duration = Duration::from_mins(3);

pub struct Torment {
    pub fleet: Fleet,
    pub postgres: Arc<Postgres>,
    pub kafka: Arc<Kafka>,
    pub proxy: Proxy,
    pub counts: Counts,
    database: Outage,
    broker: Outage,
    /// What was done when, for whoever looks for a fault.
    diary: File,
    begun: Instant,
}

#[derive(Default)]
pub struct Counts {
    pub faults: BTreeMap<&'static str, u64>,
    /// That could not be carried out: its target was down already.
    pub skipped: u64,
    pub sessions_cut: u64,
    pub commits_cut: u32,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.faults.values().sum()
    }
}

/// Something that is away for a while, one at a time.
struct Outage {
    between: Duration,
    running: Option<JoinHandle<()>>,
    ended: Option<Instant>,
}

impl Outage {
    const fn every(between: Duration) -> Self {
        Self { between, running: None, ended: None }
    }

    fn look(&mut self) {
        if self.running.as_ref().is_some_and(|running| running.is_finished()) {
            self.wait();
        }
    }

    fn wait(&mut self) {
        if let Some(running) = self.running.take() {
            running.join().unwrap();
            self.ended = Some(Instant::now());
        }
    }

    /// False while another one goes on, and shortly after.
    fn begin(&mut self, work: impl FnOnce() + Send + 'static) -> bool {
        let may = self.running.is_none() && self.ended.is_none_or(|ended| ended.elapsed() > self.between);
        if may {
            self.running = Some(std::thread::spawn(work));
        }
        may
    }
}

impl Torment {
    pub fn new(
        fleet: Fleet,
        postgres: Arc<Postgres>,
        kafka: Arc<Kafka>,
        proxy: Proxy,
        folder: &Path,
    ) -> Self {
        Self {
            fleet,
            postgres,
            kafka,
            proxy,
            counts: Counts::default(),
            database: Outage::every(BETWEEN_DATABASE_FAULTS),
            broker: Outage::every(BETWEEN_BROKERS),
            diary: File::create(folder.join("faults")).unwrap(),
            begun: Instant::now(),
        }
    }

    pub fn run(&mut self, plan: Plan, length: Duration, mut goes_on: impl FnMut() -> bool) {
        self.begun = Instant::now();
        let mut next = self.begun;
        for step in plan {
            next += step.after;
            while Instant::now() < next {
                self.tend();
                pause(BETWEEN_LOOKS);
            }
            if self.begun.elapsed() >= length {
                return;
            }
            assert!(goes_on(), "the load has ended before the faults");
            let is_done = self.carry_out(step.fault);
            if is_done {
                *self.counts.faults.entry(step.fault.name()).or_default() += 1;
            } else {
                self.counts.skipped += 1;
            }
            let what = if is_done { "" } else { ", not possible now" };
            writeln!(self.diary, "{:9.3} {:?}{what}", self.begun.elapsed().as_secs_f64(), step.fault)
                .unwrap();
        }
    }

    fn tend(&mut self) {
        self.fleet.tend();
        self.database.look();
        self.broker.look();
    }

    fn carry_out(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::Kill(target, down) => self.fleet.kill(target, down),
            Fault::Stop(target) => self.fleet.stop(target),
            Fault::Freeze(target, length) => self.fleet.freeze(target, length),
            Fault::Broker(number, down) => {
                let kafka = self.kafka.clone();
                let number = u32::try_from(number).unwrap();
                self.broker.begin(move || {
                    persist(|| kafka.try_node("stop", number));
                    pause(down);
                    persist(|| kafka.try_node("start", number));
                })
            }
            Fault::DatabaseRestart => self.on_database(|postgres| persist(|| postgres.ask("restart"))),
            Fault::DatabaseAbort(down) => self.on_database(move |postgres| {
                persist(|| postgres.ask("abort"));
                pause(down);
                persist(|| postgres.ask("start"));
            }),
            Fault::DatabaseKill(down) => self.on_database(move |postgres| {
                persist(|| postgres.ask("stop"));
                pause(down);
                persist(|| postgres.ask("start"));
            }),
            Fault::DiskFull(length) => {
                self.postgres.has_its_own_disk()
                    && self.on_database(move |postgres| {
                        persist(|| postgres.ask("fill"));
                        pause(length);
                        persist(|| postgres.ask("free"));
                        // It may have ended itself, when it could not even write its log.
                        persist(|| postgres.ask("start"));
                    })
            }
            Fault::CutSessions(max) => self.cut_sessions(Some(max)),
            Fault::CutAllSessions => self.cut_sessions(None),
            Fault::CutAnswerOfCommit => self.cut_commit(Cut::AnswerOfCommit),
            Fault::CutCommit => self.cut_commit(Cut::Commit),
        }
    }

    fn on_database(&mut self, work: impl FnOnce(&Postgres) + Send + 'static) -> bool {
        let postgres = self.postgres.clone();
        self.database.begin(move || work(&postgres))
    }

    fn cut_sessions(&mut self, max: Option<u64>) -> bool {
        let cut = self.postgres.cut(max);
        self.counts.sessions_cut += cut;
        cut > 0
    }

    /// The one before may still wait for a COMMIT: it counts as not carried out, and this one takes its place.
    fn cut_commit(&mut self, cut: Cut) -> bool {
        let made = self.proxy.cuts_made.load(Ordering::SeqCst);
        self.proxy.set(cut);
        let deadline = Instant::now() + Duration::from_millis(100);
        while self.proxy.cuts_made.load(Ordering::SeqCst) == made && Instant::now() < deadline {
            pause(Duration::from_millis(1));
        }
        self.counts.commits_cut = self.proxy.cuts_made.load(Ordering::SeqCst);
        self.counts.commits_cut > made
    }

    /// Everything runs again, and nothing is cut any more.
    pub fn heal(&mut self) {
        self.proxy.set(Cut::Nothing);
        self.database.wait();
        self.broker.wait();
        self.fleet.heal();
        let deadline = Instant::now() + HEAL_PATIENCE;
        while !self.fleet.is_whole() {
            assert!(Instant::now() < deadline, "not all processes start again");
            pause(BETWEEN_LOOKS);
        }
    }
}

/// On a busy machine a service may not come up in time: it is asked again.
fn persist(mut action: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + ACTION_PATIENCE;
    while let Err(error) = action() {
        assert!(Instant::now() < deadline, "{error}");
        pause(BETWEEN_LOOKS);
    }
}

/// The length of an outage, or between two looks.
pub fn pause(length: Duration) {
    let end = Instant::now() + length;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
