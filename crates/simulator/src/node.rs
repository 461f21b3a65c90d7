//! A process of the simulation: writers, relay and consumers, on a machine of its own.

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::time::Timestamp;
use registry::Codecs;
use store::{Clock, Location, Parts, Store, audit::Actor, memory::Memory};
use stream::{
    consumer::Consumer,
    engine,
    kafka::{session::Desk, values::Values},
    redrive::{self, Selection},
    relay, runtime,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    chaos::{Chaos, Machine},
    client::{Connection, Member},
    consumer::{GROUP, ON_KAFKA, ON_THE_LOG, Poison, Rows},
    database::Database,
    kafka::{Kafka, SESSION_TIMEOUT},
    schemas::Schemas,
};

const WRITERS: usize = 2;
/// Shorter than the longest outage, so that leases change hands.
const LEASE: Duration = Duration::from_millis(400);
const EVENTS_A_BATCH_MAX: usize = 6;
const COMMANDS_A_BATCH_MAX: usize = 5;
const LETTERS_MAX: usize = 1000;

/// What all nodes share.
#[derive(Clone)]
pub struct Surroundings {
    pub lanes: u16,
    pub memory: Memory,
    pub kafka: Arc<Kafka>,
    pub chaos: Arc<Chaos>,
    pub poison: Arc<Poison>,
}

pub struct Node {
    pub machine: Arc<Machine>,
    number: usize,
    surroundings: Surroundings,
    /// `None` while it is down.
    process: Option<Process>,
    pub back_at: Option<Instant>,
    had_panicked: bool,
}

struct Process {
    store: Store,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Node {
    pub fn new(number: usize, surroundings: Surroundings) -> Self {
        let mut node = Self {
            machine: Arc::new(Machine::new()),
            number,
            surroundings,
            process: None,
            back_at: None,
            had_panicked: false,
        };
        node.start();
        node
    }

    pub fn store(&self) -> Option<Store> {
        self.process.as_ref().map(|process| process.store.clone())
    }

    pub fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        self.back_at = None;
        let Surroundings { lanes, memory, kafka, chaos, poison } = self.surroundings.clone();
        let database = Database { memory, chaos: chaos.clone(), machine: self.machine.clone() };
        let parts = Parts {
            lanes,
            connects: vec![database.clone(); WRITERS],
            reads: Arc::new(database.clone()),
            effects: Box::new(database),
        };
        let (store, writers) = Store::assemble(parts, &settings(lanes), self.clock());
        let mut tasks = JoinSet::new();
        for writer in writers {
            tasks.spawn(writer);
        }
        let (stop, stopping) = watch::channel(false);
        let connection = Connection { kafka, chaos: chaos.clone(), machine: self.machine.clone() };
        let groups = [(ON_KAFKA, GROUP.to_owned()), (ON_THE_LOG, GROUP.to_owned())].into();
        let relay_settings = relay::Settings { lease: LEASE, batch_events_max: EVENTS_A_BATCH_MAX };
        // Some write Avro and some JSON, as while a deployment changes from one to the other.
        let codecs = Codecs::new(Arc::new(Schemas(connection.clone())));
        let values = Values::new(codecs, self.number % 2 == 1);
        tasks.spawn(relay::run(
            store.clone(),
            connection.clone(),
            values.clone(),
            relay_settings,
            groups,
            stopping.clone(),
        ));
        let rows = |name| Arc::new(Rows { name, poison: poison.clone(), chaos: chaos.clone() });
        tasks.spawn(consume(store.clone(), connection, values, rows(ON_KAFKA), stopping.clone()));
        let on_the_log = runtime::run(store.clone(), rows(ON_THE_LOG), engine_settings(), stopping);
        tasks.spawn(async move {
            if let Err(stopped) = on_the_log.await {
                panic!("the log has no gap: {stopped}");
            }
        });
        self.process = Some(Process { store, tasks, stop });
    }

    fn clock(&self) -> Clock {
        let (chaos, machine) = (self.surroundings.chaos.clone(), self.machine.clone());
        Arc::new(move || Timestamp::from_micros(chaos.now().as_micros() + machine.clock_is_off_by_micros()))
    }

    /// Whether a part of it has ended by a panic, which no part may.
    pub fn has_panicked(&mut self) -> bool {
        let Some(Process { tasks, .. }) = &mut self.process else { return self.had_panicked };
        while let Some(ended) = tasks.try_join_next() {
            self.had_panicked |= ended.is_err_and(|error| error.is_panic());
        }
        self.had_panicked
    }

    /// As by SIGKILL: nothing of it goes on.
    pub async fn crash(&mut self, down: Duration) {
        self.had_panicked |= self.has_panicked();
        if let Some(mut process) = self.process.take() {
            process.tasks.shutdown().await;
            self.back_at = Some(Instant::now() + down);
        }
    }

    /// As by SIGTERM: it ends by itself, in the time that it has.
    pub async fn stop(&mut self, patience: Duration) {
        let Some(mut process) = self.process.take() else { return };
        process.stop.send_replace(true);
        let ended = async {
            let Process { store, tasks, .. } = &mut process;
            store.clone().close().await;
            let mut panicked = false;
            while let Some(ended) = tasks.join_next().await {
                panicked |= ended.is_err_and(|error| error.is_panic());
            }
            panicked
        };
        self.had_panicked |= tokio::time::timeout(patience, ended).await.unwrap_or(false);
        process.tasks.shutdown().await;
        self.back_at = Some(Instant::now());
    }

    /// Tries the dead letters again, and gives those up that are not of this log.
    pub fn redrive(&mut self) {
        let Some(Process { store, tasks, .. }) = &mut self.process else { return };
        let Surroundings { chaos, poison, .. } = self.surroundings.clone();
        let store = store.clone();
        tasks.spawn(async move {
            for name in [ON_KAFKA, ON_THE_LOG] {
                let consumer: Arc<dyn Consumer> =
                    Arc::new(Rows { name, poison: poison.clone(), chaos: chaos.clone() });
                redrive_all(&store, &consumer).await;
            }
        });
    }
}

async fn redrive_all(store: &Store, consumer: &Arc<dyn Consumer>) {
    let actor = Actor::new("operator", "it was mended");
    let selection = Selection {
        consumer: Some(consumer.name().to_owned()),
        state: Some(stream::dead_letter::State::Open),
        ..Selection::default()
    };
    // What fails stays a dead letter, for the next time.
    let Ok(letters) = redrive::select(store.reads(), &selection, LETTERS_MAX).await else { return };
    for letter in &letters {
        if letter.subject_id.is_some() {
            drop(redrive::redrive(store, consumer, letter, &actor).await);
        } else {
            drop(redrive::discard(store, letter, &actor).await);
        }
    }
}

/// What the thread of a group does, without librdkafka.
async fn consume(
    store: Store,
    connection: Connection,
    values: Values,
    consumer: Arc<Rows>,
    stopping: watch::Receiver<bool>,
) {
    let reads = vec![(consumer.name(), consumer.streams())];
    let consumers: [Arc<dyn Consumer>; 1] = [consumer];
    let mut desk = Desk::new(&store, &consumers, &values, engine_settings(), SESSION_TIMEOUT);
    while !*stopping.borrow() {
        let mut member = Member::join(connection.clone(), store.clone(), GROUP.to_owned(), reads.clone());
        desk.run(&mut member, &stopping).await;
        member.leave();
        sleep(Duration::from_millis(20)).await;
    }
}

const fn engine_settings() -> engine::Settings {
    engine::Settings {
        batch_events_max: EVENTS_A_BATCH_MAX,
        attempts_max: 2,
        backoff_initial: Duration::from_millis(5),
        backoff_max: Duration::from_millis(60),
    }
}

fn settings(lanes: u16) -> store::Settings {
    store::Settings {
        location: Location::Sqlite(PathBuf::new()),
        lanes: Some(lanes),
        writers: WRITERS,
        readers: 1,
        queue_commands_max: 100,
        batch_commands_max: COMMANDS_A_BATCH_MAX,
        idempotency_retention: Duration::from_hours(24),
        sealing_key: [7; 32],
        hints: false,
    }
}
