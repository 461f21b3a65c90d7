//! The facade: commands in, outcomes out, and somewhere to read.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use domain::{
    command::Action,
    lane::{LANE_OF_CLAIMS, Lane, lane_of},
    time::Timestamp,
};
use futures_util::future::BoxFuture;
use telemetry::{
    metrics,
    tasks::{Task, watched},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    batch::Reply,
    error::{OpenError, ReadError, SubmitError},
    log,
    lookup::Lookups,
    measure::Waited,
    postgres::{PostgresConnect, PostgresEffects, PostgresReads, hints},
    request::{Answer, Request},
    sealing::Sealer,
    session::Connect,
    sql::{Dialect, Durability, Effects, Reads, Transaction},
    sqlite::{self, Gate, SqliteConnect, SqliteEffects, SqliteReads},
    writer::{Job, Rules, Writer},
};

/// Tells the time; passed in, so that a test can turn it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Sqlite(PathBuf),
    /// A URL or a list of `key=value`, as libpq takes them.
    Postgres(String),
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub location: Location,
    /// Fixed when the database is initialised; `None` takes what it has, or 16.
    pub lanes: Option<u16>,
    /// Writers share the lanes; SQLite has one.
    pub writers: usize,
    pub readers: usize,
    /// Commands that wait for a writer; one more is refused at once.
    pub queue_commands_max: usize,
    pub batch_commands_max: usize,
    pub idempotency_retention: Duration,
    /// Seals bank details at rest.
    pub sealing_key: [u8; 32],
    /// Whether other processes on the same database are told of commits.
    pub hints: bool,
}

/// Counts what is committed, so that a change of it wakes whoever waits for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// Events of this process; a commit without any counts as one.
    pub own: u64,
    /// Hints of other processes.
    pub others: u64,
}

#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    lanes: u16,
    clock: Clock,
    /// A lane's writer is number lane modulo writers. Emptied when the store is closed.
    queues: Mutex<Vec<mpsc::Sender<Job>>>,
    writers: Mutex<Vec<Running>>,
    reads: Arc<dyn Reads>,
    lookups: Lookups,
    effects: Box<dyn Effects>,
    commits: watch::Sender<Commits>,
    hints: Mutex<Option<tokio::task::JoinHandle<()>>>,
    idempotency_retention: Duration,
}

/// A database in the parts that a store is made of.
pub struct Parts<C> {
    pub lanes: u16,
    /// One a writer.
    pub connects: Vec<C>,
    pub reads: Arc<dyn Reads>,
    pub effects: Box<dyn Effects>,
}

/// A writer at work, until the store is closed.
pub type Run = BoxFuture<'static, ()>;

enum Running {
    Thread(thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Store {
    /// Brings the database up to date and starts the writers.
    pub async fn open(settings: Settings, clock: Clock) -> Result<Self, OpenError> {
        let lanes = migrate(&settings, clock()).await?;
        match &settings.location {
            Location::Sqlite(path) => {
                let path = Arc::new(path.clone());
                let gate = Gate::default();
                let parts = Parts {
                    lanes,
                    connects: vec![SqliteConnect { path: path.clone(), gate: gate.clone() }],
                    reads: Arc::new(SqliteReads::start(&path, settings.readers)?),
                    effects: Box::new(SqliteEffects::new(path, gate)),
                };
                let (store, writers) = Self::assemble(parts, &settings, clock);
                for writer in writers {
                    store.keep(Running::Thread(on_a_thread(watched(Task::Writer, writer))?));
                }
                Ok(store)
            }
            Location::Postgres(config) => {
                let writers = settings.writers.clamp(1, usize::from(lanes));
                let connects: Result<Vec<_>, _> =
                    (0..writers).map(|_| PostgresConnect::new(config)).collect();
                let parts = Parts {
                    lanes,
                    connects: connects?,
                    reads: Arc::new(PostgresReads::new(config, settings.readers)?),
                    effects: Box::new(PostgresEffects::new(config)?),
                };
                let (store, writers) = Self::assemble(parts, &settings, clock);
                for writer in writers {
                    store.keep(Running::Task(tokio::spawn(watched(Task::Writer, writer))));
                }
                if settings.hints {
                    let hints = hints::start(config, &store.inner.commits)?;
                    *store.inner.hints.lock().unwrap_or_else(PoisonError::into_inner) = Some(hints);
                }
                Ok(store)
            }
        }
    }

    /// A store on a database that is up to date, and its writers, which are to be run by whoever assembles it.
    pub fn assemble<C: Connect>(parts: Parts<C>, settings: &Settings, clock: Clock) -> (Self, Vec<Run>) {
        let Parts { lanes, connects, reads, effects } = parts;
        let rules = Rules {
            lanes,
            batch_commands_max: settings.batch_commands_max,
            idempotency_retention: settings.idempotency_retention,
            sealer: Arc::new(Sealer::new(&settings.sealing_key)),
            clock: clock.clone(),
            commits: watch::Sender::new(Commits::default()),
        };
        let commits = rules.commits.clone();
        let mut queues = Vec::new();
        let mut writers: Vec<Run> = Vec::new();
        for connect in connects {
            let (queue, inbox) = mpsc::channel(settings.queue_commands_max);
            queues.push(queue);
            writers.push(Box::pin(Writer::new(connect, rules.clone()).run(inbox)));
        }
        let inner = Inner {
            lanes,
            clock,
            queues: Mutex::new(queues),
            writers: Mutex::default(),
            lookups: Lookups::new(reads.clone()),
            reads,
            effects,
            commits,
            hints: Mutex::default(),
            idempotency_retention: settings.idempotency_retention,
        };
        (Self { inner: Arc::new(inner) }, writers)
    }

    fn keep(&self, writer: Running) {
        self.inner.writers.lock().unwrap_or_else(PoisonError::into_inner).push(writer);
    }

    /// Hands a command to the writer of its lane and waits until it is durable, or certainly is not.
    /// Dropping the future changes nothing about the command.
    pub async fn submit(&self, mut request: Request) -> Result<Answer, SubmitError> {
        let mut waited = Waited::begin(&mut request);
        let answer = self.answer(request, &mut waited).await;
        waited.answered(&answer);
        answer
    }

    async fn answer(&self, request: Request, waited: &mut Waited) -> Result<Answer, SubmitError> {
        let lane = match request.command.action {
            // The email is claimed in lane 0, and with it the idempotency key.
            Action::CreateMerchant { .. } => LANE_OF_CLAIMS,
            _ => lane_of(request.command.merchant_id, self.inner.lanes),
        };
        let (reply, answer) = oneshot::channel();
        let queue = self.queue(lane).ok_or(SubmitError::Unavailable)?;
        metrics().commands_waiting.inc();
        queue.try_send(Job { request, reply }).map_err(|error| {
            metrics().commands_waiting.dec();
            match error {
                mpsc::error::TrySendError::Full(_) => SubmitError::Busy,
                mpsc::error::TrySendError::Closed(_) => SubmitError::Unavailable,
            }
        })?;
        waited.taken();
        drop(queue);
        match answer.await.map_err(|_| SubmitError::OutcomeUnknown)?? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Replay(stored) => {
                let outcome = log::replay(self.reads(), &stored).await.map_err(|error| match error {
                    ReadError::Unavailable(_) => SubmitError::Unavailable,
                    ReadError::Invalid(reason) => {
                        tracing::error!(%reason, "an answer could not be folded from the log");
                        SubmitError::Broken
                    }
                })?;
                Ok(Answer { outcome, replayed: true })
            }
        }
    }

    pub fn reads(&self) -> &dyn Reads {
        self.inner.reads.as_ref()
    }

    /// Reads by key that share queries with those of others.
    pub fn lookups(&self) -> &Lookups {
        &self.inner.lookups
    }

    /// A transaction for a consumer's effect and position.
    pub async fn begin(&self) -> Result<Box<dyn Transaction>, ReadError> {
        self.inner.effects.begin(Durability::Atomic).await
    }

    /// A transaction for what is acknowledged to somebody: when it is committed, it is on the disk.
    pub async fn begin_durable(&self) -> Result<Box<dyn Transaction>, ReadError> {
        self.inner.effects.begin(Durability::Full).await
    }

    /// Changes with each commit of this process, and where hints are exchanged of others.
    pub fn commits(&self) -> watch::Receiver<Commits> {
        self.inner.commits.subscribe()
    }

    pub fn lanes(&self) -> u16 {
        self.inner.lanes
    }

    pub fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    /// For how long an idempotency key is kept.
    pub fn idempotency_retention(&self) -> Duration {
        self.inner.idempotency_retention
    }

    pub async fn ping(&self) -> Result<(), ReadError> {
        self.reads().query("select 1", Vec::new()).await.map(|_| ())
    }

    /// Deletes at most `limit` idempotency keys that have expired; gives how many.
    pub async fn sweep(&self, limit: usize) -> Result<u64, ReadError> {
        let retention = i64::try_from(self.inner.idempotency_retention.as_micros()).unwrap_or(i64::MAX);
        let before = self.now().as_micros().saturating_sub(retention);
        let mut transaction = self.begin().await?;
        let sql = match self.reads().dialect() {
            // Keys are appended in order of time, so the oldest stand first.
            Dialect::Sqlite => format!(
                "delete from idempotency_keys where no in \
                 (select no from (select no, created_at from idempotency_keys order by no limit {limit}) \
                 where created_at < $1)"
            ),
            Dialect::Postgres => format!(
                "delete from idempotency_keys where key_hash in \
                 (select key_hash from idempotency_keys where created_at < $1 order by created_at limit {limit})"
            ),
        };
        let swept = transaction.execute(&sql, vec![before.into()]).await?;
        transaction.commit().await?;
        Ok(swept)
    }

    /// Takes no more commands; returns when all that were taken are answered.
    pub async fn close(self) {
        if let Some(hints) = self.inner.hints.lock().unwrap_or_else(PoisonError::into_inner).take() {
            hints.abort();
        }
        self.inner.queues.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let writers = std::mem::take(&mut *self.inner.writers.lock().unwrap_or_else(PoisonError::into_inner));
        for writer in writers {
            let ended = match writer {
                Running::Task(task) => task.await.is_ok(),
                Running::Thread(thread) => {
                    tokio::task::spawn_blocking(move || thread.join().is_ok()).await.unwrap_or(false)
                }
            };
            if !ended {
                tracing::error!("a writer ended by a panic");
            }
        }
    }

    fn queue(&self, lane: Lane) -> Option<mpsc::Sender<Job>> {
        let queues = self.inner.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let number = usize::from(lane.0).checked_rem(queues.len())?;
        queues.get(number).cloned()
    }
}

/// Brings the database up to date without starting anything; gives the number of lanes.
pub async fn migrate(settings: &Settings, now: Timestamp) -> Result<u16, OpenError> {
    match &settings.location {
        Location::Sqlite(path) => sqlite::migrate::migrate(path, settings.lanes, now),
        Location::Postgres(config) => crate::postgres::migrate::migrate(config, settings.lanes, now).await,
    }
}

/// Somewhere to read, without writers: for looking into a database that a running program writes.
pub fn open_reads(location: &Location, readers: usize) -> Result<Box<dyn Reads>, OpenError> {
    match location {
        Location::Sqlite(path) if !path.exists() => Err(OpenError::Connect {
            location: sqlite::location(path),
            reason: "there is no such file".to_owned(),
        }),
        Location::Sqlite(path) => Ok(Box::new(SqliteReads::start(&Arc::new(path.clone()), readers)?)),
        Location::Postgres(config) => Ok(Box::new(PostgresReads::new(config, readers)?)),
    }
}

/// SQLite is called, not awaited: its writer has a thread of its own.
fn on_a_thread(
    writer: impl Future<Output = ()> + Send + 'static,
) -> Result<thread::JoinHandle<()>, OpenError> {
    let runtime = tokio::runtime::Handle::current();
    thread::Builder::new()
        .name("sqlite-write".to_owned())
        .spawn(move || runtime.block_on(writer))
        .map_err(|error| OpenError::Read(ReadError::Unavailable(error.to_string())))
}
