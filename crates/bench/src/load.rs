//! A load from its beginning to its verdict: merchants are made, payments too if they are wanted beforehand, requests
//! go out at their pace, what nobody knows is asked again, and the books are compared with what the platform says.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{sync::watch, task::JoinSet, time::sleep};
use uuid::Uuid;

use crate::{
    caller::{Asks, Caller, Held, Work, amounts},
    check::{self, Ledger},
    connection::{Answer, Connection, Resource, Verdict},
    journal::Journal,
    machine::{Group, Machine},
    mix::Kind,
    operation::{Action, Operation},
    pace::{Arrivals, Pace, Span},
    random::Random,
    report::{Part, Report},
    spread::{Draw, Spread},
    tally::{Ended, Tally},
};

/// How often somebody who watches is told, and memory is looked at.
const TICK: Duration = Duration::from_millis(500);
/// Requests at once while merchants and first payments are made.
const SETUP_CONNECTIONS_MAX: usize = 32;
const PRELOAD_PAYMENTS_A_REQUEST: usize = 500;
const PRELOAD_HELD_MAX: usize = 200_000;
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct Options {
    pub connections: usize,
    /// `None`: as fast as it will.
    pub arrivals: Option<Arrivals>,
    pub span: Span,
    /// 0: none are made, and no totals are checked.
    pub merchants: usize,
    pub spread: Spread,
    pub asks: Asks,
    pub bulk: Option<usize>,
    pub repeats: f64,
    /// Pending payments that are made before.
    pub preload: usize,
    pub seed: u64,
    /// Sends what was not answered again, with the same key, until it is.
    pub persist: bool,
    /// How long a platform that does not answer is waited for: before the load, in it with [`Options::persist`], and behind
    /// it.
    pub patience: Duration,
    pub journal: Option<PathBuf>,
}

/// Where callers run.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Beside the platform, in this runtime.
    Here,
    /// On threads of their own, each with its share of the connections.
    Threads(usize),
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the journal {path} cannot be written: {source}")]
    Journal { path: String, source: std::io::Error },
    #[error("the load could not be prepared: {0}")]
    Setup(String),
    #[error("the load could not be started: {0}")]
    Start(#[from] std::io::Error),
    #[error("a part of the load ended by a panic")]
    Panic,
}

/// Somebody who watches.
pub trait Listener: Send {
    /// What is done now.
    fn stage(&mut self, what: &str);
    /// Whether the load is to go on.
    fn progress(&mut self, progress: &Progress) -> bool;
}

/// Nobody watches.
pub struct Unwatched;

impl Listener for Unwatched {
    fn stage(&mut self, _what: &str) {}
    fn progress(&mut self, _progress: &Progress) -> bool {
        true
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Progress {
    pub elapsed: Duration,
    pub ok: u64,
    pub not_ok: u64,
    /// Since the last time.
    pub ok_per_second: f64,
}

/// Runs a load; `groups` are the processes whose CPU and memory are looked at.
pub async fn run<C: Connection>(
    connect: impl Fn(usize) -> C,
    place: Place,
    options: &Options,
    mut groups: Vec<Group>,
    listener: &mut dyn Listener,
) -> Result<Report, LoadError> {
    let journal = options.journal.as_ref().map(|path| {
        Journal::create(path)
            .map_err(|source| LoadError::Journal { path: path.display().to_string(), source })
    });
    let tally = Arc::new(Tally::new(journal.transpose()?));
    listener.stage("making merchants");
    let merchants: Arc<[Uuid]> = make_merchants(&connect, options, &tally).await?.into();
    tally.lock().books = crate::books::Books::open(&merchants);
    let work = Work {
        asks: options.asks.clone(),
        draw: Draw::new(options.spread, merchants.len()),
        merchants: merchants.clone(),
        bulk: options.bulk,
        repeats: options.repeats,
    };
    if options.preload > 0 {
        listener.stage("making first payments");
    }
    let mut held = preload(&connect, options, &work, &tally).await?;

    listener.stage("load");
    let mut workers = Vec::with_capacity(options.connections);
    let pace = Pace::start(options.span, options.arrivals)?;
    for number in 0..options.connections {
        let share = held.len() / (options.connections - number);
        let mine = held.split_off(held.len() - share);
        let random = Random::new(options.seed, number as u64);
        let caller = Caller::new(work.clone(), random, mine);
        let persist_for = options.persist.then_some(options.patience);
        workers.push(work_on(connect(number), caller, pace.clone(), tally.clone(), persist_for));
    }
    let seconds = watch_over(place, workers, &pace, &tally, &mut groups, listener).await?;
    let usages = groups.iter_mut().map(Group::usage).collect();

    listener.stage("checking the totals");
    let unsettled = check::settle(connect(0), &tally, options.patience).await;
    let ledger = if merchants.is_empty() {
        None
    } else {
        let connections = (0..options.connections.min(SETUP_CONNECTIONS_MAX)).map(&connect);
        Some(check::compare(connections.collect(), &tally, unsettled, options.patience).await)
    };
    Ok(report(options, &tally, &pace, seconds, usages, ledger))
}

/// Callers at work until the pace has no more turns; gives how many seconds were measured.
async fn watch_over<F: Future<Output = ()> + Send + 'static>(
    place: Place,
    workers: Vec<F>,
    pace: &Pace,
    tally: &Tally,
    groups: &mut [Group],
    listener: &mut dyn Listener,
) -> Result<f64, LoadError> {
    let mut done = spawn(place, workers)?;
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    let (mut last, mut last_ok) = (begun, 0);
    let mut measuring = std::pin::pin!(tokio::time::sleep_until(pace.measured_from().into()));
    let mut is_measuring = false;
    loop {
        tokio::select! {
            biased;
            ended = done.wait_for(|done| *done) => {
                ended.map_err(|_| LoadError::Panic)?;
                break;
            }
            () = &mut measuring, if !is_measuring => {
                is_measuring = true;
                groups.iter_mut().for_each(Group::begin);
            }
            _ = ticks.tick() => {
                groups.iter_mut().for_each(Group::look);
                let (ok, not_ok) = {
                    let mut tally = tally.lock();
                    tally.flush_journal();
                    (tally.warmup.ok() + tally.measured.ok(), tally.warmup.not_ok() + tally.measured.not_ok())
                };
                #[allow(clippy::cast_precision_loss)] // For people.
                let ok_per_second = (ok - last_ok) as f64 / last.elapsed().as_secs_f64().max(0.001);
                (last, last_ok) = (Instant::now(), ok);
                let progress = Progress { elapsed: begun.elapsed(), ok, not_ok, ok_per_second };
                if !listener.progress(&progress) {
                    pace.stop();
                }
            }
        }
    }
    Ok(pace.measured_from().elapsed().as_secs_f64())
}

/// Gives what turns true when all have ended, and closes when one has panicked.
fn spawn<F: Future<Output = ()> + Send + 'static>(
    place: Place,
    mut workers: Vec<F>,
) -> std::io::Result<watch::Receiver<bool>> {
    let (done, is_done) = watch::channel(false);
    let threads = match place {
        Place::Here => {
            let mut running: JoinSet<()> = workers.into_iter().collect();
            tokio::spawn(async move {
                while let Some(ended) = running.join_next().await {
                    if ended.is_err() {
                        return;
                    }
                }
                done.send_replace(true);
            });
            return Ok(is_done);
        }
        Place::Threads(threads) => threads.clamp(1, workers.len().max(1)),
    };
    let (ended, mut all_ended) = tokio::sync::mpsc::channel::<()>(1);
    let panicked = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for number in 0..threads {
        let share = workers.split_off(workers.len() - workers.len() / (threads - number));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ended, panicked) = (ended.clone(), panicked.clone());
        std::thread::Builder::new().name("callers".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut running: JoinSet<()> = share.into_iter().collect();
                while let Some(ended) = running.join_next().await {
                    if ended.is_err() {
                        panicked.store(true, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
            drop(ended);
        })?;
    }
    drop(ended);
    tokio::spawn(async move {
        // Nothing is sent: it closes when the last thread has ended.
        all_ended.recv().await;
        if !panicked.load(std::sync::atomic::Ordering::Relaxed) {
            done.send_replace(true);
        }
    });
    Ok(is_done)
}

async fn work_on<C: Connection>(
    mut connection: C,
    mut caller: Caller,
    pace: Arc<Pace>,
    tally: Arc<Tally>,
    persist_for: Option<Duration>,
) {
    while let Some(turn) = pace.next().await {
        let next = caller.asks();
        let (answer, retries) = match persist_for {
            Some(patience) => persistently(&mut connection, &next.operation, patience).await,
            None => (connection.send(&next.operation).await, 0),
        };
        let latency = turn.intended.elapsed();
        if next.answered.is_none() {
            caller.answered(&next.operation, &answer);
        }
        {
            let mut tally = tally.lock();
            tally.retries += retries;
            tally.ended(&Ended {
                operation: &next.operation,
                answer: &answer,
                answered_before: next.answered,
                latency,
                is_measured: turn.is_measured,
            });
        }
        // Asking at once again would only make more of the same.
        if matches!(answer.verdict, Verdict::Busy | Verdict::Unavailable | Verdict::Unsent) {
            sleep(PAUSE_MIN).await;
        }
    }
}

/// Asks until there is a final answer, for so long; gives the last one, and how often it was asked again.
pub async fn persistently<C: Connection>(
    connection: &mut C,
    operation: &Operation,
    patience: Duration,
) -> (Answer, u64) {
    let deadline = Instant::now() + patience;
    let (mut pause, mut retries, mut perhaps_made) = (PAUSE_MIN, 0, false);
    loop {
        let mut answer = connection.send(operation).await;
        if answer.verdict.is_final() {
            return (answer, retries);
        }
        perhaps_made |= answer.verdict == Verdict::Unknown;
        if Instant::now() + pause > deadline {
            if perhaps_made {
                answer.verdict = Verdict::Unknown;
            }
            return (answer, retries);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        retries += 1;
    }
}

async fn make_merchants<C: Connection>(
    connect: &impl Fn(usize) -> C,
    options: &Options,
    tally: &Arc<Tally>,
) -> Result<Vec<Uuid>, LoadError> {
    let run = Uuid::new_v4().simple().to_string();
    let operations = (0..options.merchants).map(|number| Operation {
        merchant: number,
        merchant_id: Uuid::nil(),
        key: Uuid::new_v4(),
        action: Action::CreateMerchant { email: format!("bench-{run}-{number}@example.com") },
    });
    let made = all(connect, options, operations.collect(), tally, |operation, answer| {
        answer.resources.into_iter().map(|merchant| (operation.merchant, merchant.id)).collect()
    });
    let mut made = made.await?;
    made.sort_unstable();
    if made.len() != options.merchants {
        return Err(LoadError::Setup("a merchant is missing".to_owned()));
    }
    Ok(made.into_iter().map(|(_, id)| id).collect())
}

async fn preload<C: Connection>(
    connect: &impl Fn(usize) -> C,
    options: &Options,
    work: &Work,
    tally: &Arc<Tally>,
) -> Result<Vec<Held>, LoadError> {
    let mut random = Random::new(options.seed, u64::MAX);
    let mut operations = Vec::new();
    let mut left = options.preload;
    while left > 0 {
        let merchant = work.draw.merchant(&mut random);
        let count = left.min(PRELOAD_PAYMENTS_A_REQUEST);
        operations.push(Operation {
            merchant,
            merchant_id: work.merchants.get(merchant).copied().unwrap_or_default(),
            key: Uuid::new_v4(),
            action: Action::Create { amounts_minor: amounts(&mut random, count), bulk: true },
        });
        left -= count;
    }
    // Of many payments some are kept in mind, from every request as many.
    let kept_max = PRELOAD_HELD_MAX.div_ceil(operations.len().max(1));
    all(connect, options, operations, tally, move |operation, answer| {
        let held = |one: Resource| Held {
            merchant: operation.merchant,
            payment: one.id,
            amount_minor: one.amount_minor,
        };
        answer.resources.into_iter().take(kept_max).map(held).collect()
    })
    .await
}

/// Has all operations carried out, enters them, and gives what is to be kept of the answers.
async fn all<C: Connection, T: Send + 'static>(
    connect: &impl Fn(usize) -> C,
    options: &Options,
    mut operations: Vec<Operation>,
    tally: &Arc<Tally>,
    kept: impl Fn(&Operation, Answer) -> Vec<T> + Copy + Send + 'static,
) -> Result<Vec<T>, LoadError> {
    let (connections, patience) = (options.connections.clamp(1, SETUP_CONNECTIONS_MAX), options.patience);
    let mut running = JoinSet::new();
    for number in 0..connections {
        let share = operations.split_off(operations.len() - operations.len() / (connections - number));
        let (mut connection, tally) = (connect(number), tally.clone());
        running.spawn(async move {
            let mut all_kept = Vec::new();
            for operation in share {
                let (answer, _) = persistently(&mut connection, &operation, patience).await;
                if answer.verdict != Verdict::Ok {
                    return Err(LoadError::Setup(answer.reason.unwrap_or_default()));
                }
                tally.lock().answered(&operation, &answer);
                all_kept.extend(kept(&operation, answer));
            }
            Ok(all_kept)
        });
    }
    let mut all_kept = Vec::new();
    while let Some(ended) = running.join_next().await {
        all_kept.extend(ended.map_err(|_| LoadError::Panic)??);
    }
    Ok(all_kept)
}

fn report(
    options: &Options,
    tally: &Tally,
    pace: &Pace,
    seconds: f64,
    processes: Vec<crate::machine::Usage>,
    ledger: Option<Ledger>,
) -> Report {
    let mut tally = tally.lock();
    tally.flush_journal();
    let journal_error = tally.journal_error.take().map(|error| error.to_string());
    let per_create = options.bulk.unwrap_or(1) as u64;
    let payments = tally.measured.ok_of(Kind::Create) * per_create;
    Report {
        machine: Machine::this(),
        connections: options.connections,
        seed: options.seed,
        measured: Part::new(&tally.measured, seconds),
        payments_per_second: crate::report::rate(payments, seconds),
        warmup: Part::new(&tally.warmup, options.span.warmup.as_secs_f64()),
        dropped: pace.dropped(),
        retries: tally.retries,
        repeats: tally.repeats,
        wrong_answers: tally.wrong_answers,
        reasons: std::mem::take(&mut tally.reasons),
        processes,
        ledger,
        journal_error,
    }
}
