//! The world of a simulation: takes the steps of a schedule, looks after each whether all is as it must be, lets
//! everything come to rest, and looks again.

use std::{sync::Arc, time::Duration};

use domain::{event::Stream, lane::Lane, time::Timestamp};
use rdkafka::message::OwnedHeaders;
use store::{
    fault::{self, Fault},
    memory::Memory,
};
use stream::kafka::{
    record::{self, Topic},
    values::Format,
};
use tokio::time::{Instant, sleep};

use crate::{
    callers::Callers,
    chaos::{Chaos, Counts},
    check::{Checker, Verdict},
    consumer::{GROUP, TABLE},
    kafka::{Kafka, Stored},
    node::{Node, Surroundings},
    schedule::{Call, Schedule, Step, Timed},
};

const NODES: usize = 3;
const LANES: u16 = 3;
const MERCHANTS_AT_THE_BEGIN: usize = 2;
/// The longest that all may take to come to rest once nothing is wrong any more, in virtual time.
const REST_MAX: Duration = Duration::from_secs(90);
const REST_STEP: Duration = Duration::from_millis(150);
const GRACE: Duration = Duration::from_secs(2);
/// A caller that was not told what became of its request sends it again, if it has a key.
const CALLER_ATTEMPTS_MAX: usize = 60;
const CALLER_PAUSE: Duration = Duration::from_millis(60);

/// What came of a schedule.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was not as it must be.
    pub violation: Option<String>,
    pub events: usize,
    pub counts: Counts,
}

/// Runs a schedule on a thread's own virtual clock.
pub fn run(schedule: &Schedule) -> Outcome {
    fastrand::seed(schedule.seed);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    // Without it, as when RUSTFLAGS stands in the place of .cargo/config.toml, a seed may not give the same again.
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&schedule.seed.to_be_bytes()));
    let runtime = builder.build().expect("a runtime without I/O can be made");
    let outcome = runtime.block_on(async {
        let mut world = World::new();
        let verdict = world.live(schedule).await;
        let events = world.checker.events();
        Outcome { violation: verdict.err(), events, counts: world.surroundings.chaos.counts() }
    });
    #[cfg(debug_assertions)]
    fault::publish_to(None);
    outcome
}

struct World {
    surroundings: Surroundings,
    nodes: Vec<Node>,
    callers: Callers,
    checker: Checker,
    calls: tokio::task::JoinSet<()>,
}

impl World {
    fn new() -> Self {
        let memory = Memory::new(LANES, Timestamp::from_micros(0)).expect("a database in memory can be made");
        memory.execute(TABLE).expect("the table of effects is made once");
        let surroundings = Surroundings {
            lanes: LANES,
            memory: memory.clone(),
            kafka: Arc::new(Kafka::new(LANES)),
            chaos: Arc::new(Chaos::new()),
            poison: Arc::default(),
        };
        #[cfg(debug_assertions)]
        publish_early(&surroundings.kafka);
        let nodes = (0..NODES).map(|number| Node::new(number, surroundings.clone())).collect();
        Self {
            surroundings,
            nodes,
            callers: Callers::default(),
            checker: Checker::new(memory, LANES),
            calls: tokio::task::JoinSet::new(),
        }
    }

    async fn live(&mut self, schedule: &Schedule) -> Verdict {
        for number in 0..MERCHANTS_AT_THE_BEGIN {
            self.call(&Call { node: number, ..Call::CREATE_MERCHANT });
            while self.calls.join_next().await.is_some() {}
        }
        for Timed { pause, step } in &schedule.steps {
            sleep(*pause).await;
            self.start_what_is_due();
            self.step(step).await;
            self.look().await?;
        }
        self.come_to_rest().await
    }

    async fn look(&mut self) -> Verdict {
        if self.nodes.iter_mut().any(Node::has_panicked) {
            return Err("a part of a node ended by a panic".to_owned());
        }
        self.checker.at_any_moment(&self.surroundings.kafka, &self.callers.asked()).await
    }

    fn start_what_is_due(&mut self) {
        for node in &mut self.nodes {
            if node.back_at.is_some_and(|at| at <= Instant::now()) {
                node.start();
            }
        }
    }

    async fn step(&mut self, step: &Step) {
        let Surroundings { chaos, kafka, poison, .. } = self.surroundings.clone();
        let node = |number: usize| number % NODES;
        let lane = |lane: u16| Lane(lane % LANES);
        match *step {
            Step::Call(call) => self.call(&call),
            Step::Crash { node: number, down_ms } => self.nodes[node(number)].crash(ms(down_ms)).await,
            Step::Restart { node: number } => self.nodes[node(number)].stop(GRACE).await,
            Step::Stall { node: number, ms: time } => self.nodes[node(number)].machine.stall(ms(time)),
            Step::DatabaseAway { ms: time } => chaos.take_database_away(ms(time)),
            Step::CutConnections => chaos.cut_connections(),
            Step::LoseCommitAnswers { count } => chaos.lose_commit_answers(count),
            Step::LoseCommits { count } => chaos.lose_commits(count),
            Step::DiskFull { ms: time } => chaos.fill_disk(ms(time)),
            Step::KafkaAway { ms: time } => chaos.take_kafka_away(ms(time)),
            Step::LosePublishAnswers { count } => chaos.lose_publish_answers(count),
            Step::LosePublishes { count } => chaos.lose_publishes(count),
            Step::RecreateTopic { stream } => kafka.recreate(topic(stream)),
            Step::ExpireRecords { stream, lane: at } => kafka.expire(topic(stream), i32::from(lane(at).0)),
            Step::ForeignRecord { stream, lane: at } => {
                kafka.append_foreign(topic(stream), i32::from(lane(at).0), foreign(), true);
            }
            Step::OpenTransaction { stream, lane: at, ms: time } => {
                let partition = i32::from(lane(at).0);
                let transaction = kafka.append_foreign(topic(stream), partition, foreign(), false);
                tokio::spawn(async move {
                    sleep(ms(time)).await;
                    kafka.abort(transaction);
                });
            }
            Step::ForgetGroupOffsets => kafka.forget_offsets(),
            Step::Expel { node: number } => kafka.expel(GROUP, number),
            Step::StepClock { node: number, ms } => self.nodes[node(number)].machine.step_clock(ms),
            Step::Poison { count } => poison.add(count),
            Step::Redrive { node: number } => {
                poison.mend();
                self.nodes[node(number)].redrive();
            }
            Step::EffectsAway { ms: time } => chaos.take_effects_away(ms(time)),
        }
    }

    fn call(&mut self, call: &Call) {
        let number = self.callers.prepare(call);
        // A caller finds another node when its own does not answer.
        let stores: Vec<_> =
            (0..NODES).map(|after| self.nodes[(call.node + after) % NODES].store()).collect();
        for _ in 0..call.times {
            let (callers, stores, has_key) = (self.callers.clone(), stores.clone(), call.key.is_some());
            self.calls.spawn(async move {
                for attempt in 0..CALLER_ATTEMPTS_MAX {
                    let is_known = callers.send(number, stores[attempt % NODES].clone()).await;
                    if is_known || !has_key {
                        return;
                    }
                    sleep(CALLER_PAUSE).await;
                }
            });
        }
    }

    /// Heals the world, and waits until nothing is under way.
    async fn come_to_rest(&mut self) -> Verdict {
        let Surroundings { chaos, poison, kafka, .. } = self.surroundings.clone();
        chaos.heal();
        poison.mend();
        for node in &mut self.nodes {
            node.machine.heal();
            node.start();
        }
        let deadline = Instant::now() + REST_MAX;
        loop {
            sleep(REST_STEP).await;
            kafka.expire_transactions();
            self.start_what_is_due();
            while self.calls.try_join_next().is_some() {}
            self.look().await?;
            let letters = self.checker.open_letters().await?;
            if letters > 0 {
                self.nodes[0].redrive();
            }
            let verdict = match (self.calls.len(), letters, self.nodes[0].store()) {
                (0, 0, Some(store)) => self.checker.at_rest(&kafka, &store).await,
                (calls, letters, _) => {
                    Err(format!("{calls} calls are not answered, {letters} dead letters are open"))
                }
            };
            match verdict {
                Ok(()) => return Ok(()),
                Err(reason) if Instant::now() > deadline => {
                    return Err(format!("it does not come to rest: {reason}"));
                }
                Err(_) => {}
            }
        }
    }
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn topic(number: usize) -> Topic {
    Topic::Stream(Stream::ALL[number % Stream::ALL.len()])
}

fn foreign() -> Stored {
    Stored { key: b"nobody".to_vec(), value: Some(b"something else".to_vec()), headers: OwnedHeaders::new() }
}

/// What [`Fault::PublishBeforeCommit`] does: the events are on the topics before it is known that they are in the log.
#[cfg(debug_assertions)]
fn publish_early(kafka: &Arc<Kafka>) {
    if !fault::is_on(Fault::PublishBeforeCommit) {
        return;
    }
    let kafka = Arc::downgrade(kafka);
    fault::publish_to(Some(Box::new(move |events| {
        let Some(kafka) = kafka.upgrade() else { return };
        for event in events {
            let record = record::encode(event, &Format::Json, usize::MAX);
            kafka.append_foreign(record.topic, record.partition, Stored::new(&record), true);
        }
    })));
}
