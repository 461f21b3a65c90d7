//! How long it takes from the answer of a commit until a consumer's effect is stored, at a fixed rate of payments. Load,
//! relay, consumer, database and broker share the machine.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use domain::state::Outcome;
use futures_util::StreamExt as _;
use store::{Store, log, request::Answer};
use stream::{kafka, relay, runtime};
use tokio::{sync::watch, task::JoinSet, time::sleep_until};
use uuid::Uuid;

use super::{
    CompareError, Context,
    database::{Database, Kind},
    effect::{self, Totals},
    events::CONSUMING,
    platform::{self, Topics},
    row::{Figure, Sample, Spec, Target},
};
use crate::recorder::histogram;

const RATE: u64 = 1000;
/// Payments of the first seconds are not counted. The broker's code is compiled while it runs, so with it they are more.
const WARMUP_SECONDS: u64 = 3;
const WARMUP_SECONDS_OF_KAFKA: u64 = 30;
const SETTLE: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_micros(100);
const LEASE: Duration = Duration::from_secs(1);

const fn spec(name: &'static str, target: Target) -> Spec {
    Spec { name, baseline: "", unit: "ms", target }
}

/// Payments, and when each was committed.
type Committed = Arc<Mutex<Vec<(Uuid, Instant)>>>;

/// When each position of a lane was reached.
type Seen = Arc<Mutex<HashMap<u16, Vec<(i64, Instant)>>>>;

pub async fn kafka(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let topics = Topics::new(context)?;
    let database = Database::new(context, Kind::Postgres).await?;
    let store = platform::open(&database.url).await?;
    effect::table(&store).await?;
    let seen: Seen = Arc::default();
    let listening = listen(&database.url, seen.clone()).await?;
    let (stop, stopping) = watch::channel(false);
    let mut running = JoinSet::new();
    running.spawn(relay::run(
        store.clone(),
        topics.settings(),
        platform::values(&store),
        relay::Settings { lease: LEASE, batch_events_max: 2000 },
        relay::dead_letters::Groups::default(),
        stopping.clone(),
    ));
    let consumers: Vec<Arc<dyn stream::consumer::Consumer>> = vec![Arc::new(Totals { tells: true })];
    let (kafka, values) = (topics.settings(), platform::values(&store));
    let group =
        kafka::group::run(store.clone(), kafka, effect::GROUP, consumers, values, CONSUMING, stopping);
    running.spawn(group);
    let committed = pay(&store, context.settings.seconds, WARMUP_SECONDS_OF_KAFKA).await?;
    let candidate = match_up(&store, &committed, &seen).await?;
    stop.send_replace(true);
    while running.join_next().await.is_some() {}
    drop(listening);
    store.close().await;
    database.drop().await?;
    topics.drop().await?;
    Ok(vec![Sample { spec: spec("latency-kafka", Target::P50P99(8.0, 30.0)), baseline: None, candidate }])
}

pub async fn embedded(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let database = Database::new(context, Kind::Sqlite).await?;
    let store = platform::open(&database.url).await?;
    effect::table(&store).await?;
    let seen: Seen = Arc::default();
    let watching = Watching::start(&database.path, seen.clone())?;
    let (stop, stopping) = watch::channel(false);
    let run = runtime::run(store.clone(), Arc::new(Totals::default()), CONSUMING, stopping);
    let running = tokio::spawn(run);
    let committed = pay(&store, context.settings.seconds, WARMUP_SECONDS).await?;
    let candidate = match_up(&store, &committed, &seen).await?;
    stop.send_replace(true);
    drop(running.await?);
    drop(watching);
    store.close().await;
    database.drop().await?;
    Ok(vec![Sample { spec: spec("latency-embedded", Target::P50P99(1.0, 5.0)), baseline: None, candidate }])
}

/// Payments at [`RATE`], whatever becomes of those before.
async fn pay(store: &Store, seconds: u64, warmup_seconds: u64) -> Result<Committed, CompareError> {
    let merchants = platform::merchants(store).await?;
    let committed: Committed = Arc::default();
    let mut sent = JoinSet::new();
    let begun = tokio::time::Instant::now();
    for (number, merchant) in (0..RATE * (warmup_seconds + seconds)).zip(merchants.iter().cycle()) {
        sleep_until(begun + Duration::from_micros(number * 1_000_000 / RATE)).await;
        let counts = number >= RATE * warmup_seconds;
        let request = platform::payments(*merchant, 1)?;
        let (store, committed) = (store.clone(), committed.clone());
        sent.spawn(async move {
            let answer = store.submit(request).await;
            let at = Instant::now();
            let id = match answer {
                Ok(Answer { outcome: Outcome::Payment(payment), .. }) => Some(payment.id.0),
                Ok(Answer { outcome: Outcome::Payments(payments), .. }) => {
                    payments.first().map(|one| one.id.0)
                }
                Ok(_) | Err(_) => None,
            };
            if counts {
                lock(&committed).extend(id.map(|id| (id, at)));
            }
        });
        while sent.try_join_next().is_some() {}
    }
    while sent.join_next().await.is_some() {}
    Ok(committed)
}

/// Finds for each payment when its effect was stored.
async fn match_up(store: &Store, committed: &Committed, seen: &Seen) -> Result<Figure, CompareError> {
    let committed = std::mem::take(&mut *lock(committed));
    if committed.is_empty() {
        return Err(CompareError::Broken("no payment was made at the fixed rate"));
    }
    let mut latency = histogram();
    let deadline = Instant::now() + SETTLE;
    for (payment, at) in committed {
        let events = log::by_subject(store.reads(), payment, 1).await?;
        let event = events.first().ok_or(CompareError::Broken("a payment has no event"))?;
        let seen_at = loop {
            if let Some(seen_at) = reached(&lock(seen), event.lane.0, event.position) {
                break seen_at;
            }
            if Instant::now() > deadline {
                return Err(CompareError::Late("the effect of a payment"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let took = seen_at.saturating_duration_since(at);
        latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
    let milliseconds = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
    let (p50, p99) = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
    let (p50, p99) = (milliseconds(p50), milliseconds(p99));
    Ok(Figure { value: p50, p50_ms: Some(p50), p99_ms: Some(p99), memory_mib: None })
}

fn reached(seen: &HashMap<u16, Vec<(i64, Instant)>>, lane: u16, position: i64) -> Option<Instant> {
    let moves = seen.get(&lane)?;
    let index = moves.partition_point(|(reached, _)| *reached < position);
    moves.get(index).map(|(_, at)| *at)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears of PostgreSQL, in a notification that belongs to the consumer's transaction, that it is committed.
async fn listen(database: &str, seen: Seen) -> Result<JoinSet<()>, CompareError> {
    let (client, mut connection) = tokio_postgres::connect(database, tokio_postgres::NoTls).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut messages = pin!(futures_util::stream::poll_fn(|cx| connection.poll_message(cx)));
        while let Some(Ok(message)) = messages.next().await {
            let at = Instant::now();
            if let tokio_postgres::AsyncMessage::Notification(notification) = message {
                note(&seen, notification.payload(), at);
            }
        }
    });
    client.batch_execute(&format!("listen {}", effect::CHANNEL)).await?;
    // Without its client the connection would end.
    tasks.spawn(async move {
        std::future::pending::<()>().await;
        drop(client);
    });
    Ok(tasks)
}

fn note(seen: &Seen, ends: &str, at: Instant) {
    let mut seen = lock(seen);
    for end in ends.split(' ') {
        let Some((lane, position)) = end.split_once(':') else { continue };
        if let (Ok(lane), Ok(position)) = (lane.parse(), position.parse()) {
            seen.entry(lane).or_default().push((position, at));
        }
    }
}

/// Looks into SQLite's file from outside: a change of its version is a commit, which is cheap to see.
struct Watching {
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watching {
    fn start(path: &Path, seen: Seen) -> Result<Self, CompareError> {
        let ends = Arc::new(AtomicBool::new(false));
        let (path, ending): (PathBuf, _) = (path.to_owned(), ends.clone());
        let watch = move || {
            if let Err(error) = watch_file(&path, &seen, &ending) {
                // No position is noted any more, so the measurement ends as too late.
                drop(error);
            }
        };
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(watch)?;
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn watch_file(path: &Path, seen: &Seen, ends: &AtomicBool) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    let mut version = connection.prepare("pragma data_version")?;
    let sql = format!("select lane, position from consumer_positions where consumer = '{}'", effect::NAME);
    let mut positions = connection.prepare(&sql)?;
    let mut known_version = -1;
    let mut known: HashMap<u16, i64> = HashMap::new();
    while !ends.load(Ordering::Relaxed) {
        let now_version: i64 = version.query_row([], |row| row.get(0))?;
        if now_version != known_version {
            known_version = now_version;
            let rows = positions.query_map([], |row| Ok((row.get::<_, u16>(0)?, row.get::<_, i64>(1)?)))?;
            let rows: Vec<(u16, i64)> = rows.collect::<rusqlite::Result<_>>()?;
            let at = Instant::now();
            let mut seen = lock(seen);
            for (lane, position) in rows {
                if known.insert(lane, position) != Some(position) {
                    seen.entry(lane).or_default().push((position, at));
                }
            }
        }
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}
