//! A consumer that is paused handles nothing, in no process; a restart moves its positions as far as that is safe for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    event::Stream,
    id::MerchantId,
    lane::{Lane, lane_of},
};
use futures_util::future::BoxFuture;
use store::{Store, audit::Actor, batch::LogEvent, sql::Transaction};
use stream::{
    consumer::{Consumer, Group, HandleError, Replay},
    control::{self, ControlError, Move, Restart},
    lag::{Lag, lags},
    replay::From,
    runtime,
};
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

use crate::{
    backend::{Backend, Database},
    calls::{merchant, pay},
    recorder::{SETTINGS, count, wait_for},
};

const NAME: &str = "counted";
const WITNESS: &str = "witness";
const COUNTED: &str = "select count(*) from counted where consumer = 'counted'";
const AUDIT: &str = "select count(*) from audit_log where subject = 'counted'";
const OPEN: &str = "select count(*) from dead_letters where state = 1";

/// Writes a row for each event, as often as it gets it.
struct Counted {
    name: &'static str,
    replay: Replay,
}

impl Consumer for Counted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn streams(&self) -> &'static [Stream] {
        &[Stream::Payments]
    }

    fn group(&self) -> Group {
        Group::Named(self.name)
    }

    fn replay(&self) -> Replay {
        self.replay
    }

    fn handle<'a>(
        &'a self,
        events: &'a [LogEvent],
        transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async move {
            for event in events {
                if event.payload.contains("unlucky") {
                    return Err(HandleError::Poison("it is unlucky".to_owned()));
                }
                let sql = "insert into counted (consumer, lane, position) values ($1, $2, $3)";
                let params = vec![self.name.into(), i64::from(event.lane.0).into(), event.position.into()];
                transaction.execute(sql, params).await?;
            }
            Ok(())
        })
    }

    fn reset<'a>(
        &'a self,
        lane: Lane,
        transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async move {
            let sql = "delete from counted where consumer = $1 and lane = $2";
            transaction.execute(sql, vec![self.name.into(), i64::from(lane.0).into()]).await?;
            Ok(())
        })
    }
}

/// Processes that run a consumer.
struct Running {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Result<(), runtime::Stopped>>>,
}

impl Running {
    fn start(store: &Store, name: &'static str, replay: Replay, processes: usize) -> Self {
        let (stop, stopping) = watch::channel(false);
        let run = |_| {
            let consumer = Arc::new(Counted { name, replay });
            tokio::spawn(runtime::run(store.clone(), consumer, SETTINGS, stopping.clone()))
        };
        Self { stop, tasks: (0..processes).map(run).collect() }
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        for task in self.tasks {
            task.await.unwrap().unwrap();
        }
    }
}

fn actor() -> Actor {
    Actor::new("operator anna", "the test wants it")
}

async fn prepare(backend: Backend) -> (Store, Database, MerchantId) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let mut transaction = store.begin().await.unwrap();
    let sql = "create table counted (consumer text, lane bigint, position bigint)";
    transaction.execute(sql, Vec::new()).await.unwrap();
    transaction.commit().await.unwrap();
    let id = merchant(&store).await;
    (store, database, id)
}

async fn pay_some(store: &Store, merchant: MerchantId, count: usize) {
    for _ in 0..count {
        pay(store, merchant, &Uuid::now_v7().to_string()).await.unwrap();
    }
}

async fn position(store: &Store) -> i64 {
    let sql = "select coalesce(max(position), 0) from consumer_positions where consumer = 'counted'";
    count(store, sql).await
}

async fn lag(store: &Store, consumer: &str) -> Lag {
    let lags = lags(store.reads(), store.now()).await.unwrap();
    lags.into_iter().find(|lag| lag.consumer == consumer).unwrap()
}

/// Waits until the witness has handled all, which it may not have begun to.
async fn witnessed(store: &Store) {
    let is_done = |lags: Vec<Lag>| lags.iter().any(|lag| lag.consumer == WITNESS && lag.events == 0);
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_done(lags(store.reads(), store.now()).await.unwrap()) {
        assert!(Instant::now() < deadline, "the witness does not catch up");
        tokio::task::yield_now().await;
    }
}

const fn from(position: i64) -> Restart {
    Restart { place: None, from: From::Position(position), may_skip: false }
}

/// Payments in a row that another consumer, which is not paused, must have handled before it is believed that one stands
/// still.
const UNTOUCHED: i64 = 20;

/// Pays until the consumer stands still; gives how many payments there were.
async fn pay_until_it_stands_still(store: &Store, merchant: MerchantId) -> i64 {
    let deadline = Instant::now() + Duration::from_mins(1);
    let (mut paid, mut untouched, mut before) = (0, 0, position(store).await);
    while untouched < UNTOUCHED {
        assert!(Instant::now() < deadline, "it goes on although it is paused");
        pay_some(store, merchant, 1).await;
        paid += 1;
        witnessed(store).await;
        let now = position(store).await;
        untouched = if now == before { untouched + 1 } else { 0 };
        before = now;
    }
    paid
}

/// Paused, nothing is handled, by nobody, not even by a process that starts then; resumed, everything is.
async fn what_is_paused_handles_nothing(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let running = Running::start(&store, NAME, Replay::Refused, 2);
    let witness = Running::start(&store, WITNESS, Replay::Refused, 1);
    pay_some(&store, id, 3).await;
    wait_for(&store, COUNTED, 3).await;
    assert!(control::pause(&store, NAME, &actor()).await.unwrap());
    assert!(!control::pause(&store, NAME, &actor()).await.unwrap(), "it is paused already");
    let mut paid = 3 + pay_until_it_stands_still(&store, id).await;
    let handled = count(&store, COUNTED).await;
    let another = Running::start(&store, NAME, Replay::Refused, 1);
    pay_some(&store, id, 3).await;
    paid += 3;
    witnessed(&store).await;
    assert_eq!(count(&store, COUNTED).await, handled);
    assert!(lag(&store, NAME).await.is_paused);
    assert!(!lag(&store, WITNESS).await.is_paused);
    let states = control::states(store.reads()).await.unwrap();
    assert_eq!((states.len(), states[0].is_paused), (1, true));
    assert_eq!((states[0].consumer.as_str(), states[0].changed_by.as_str()), (NAME, "operator anna"));
    assert!(control::resume(&store, NAME, &actor()).await.unwrap());
    assert!(!control::resume(&store, NAME, &actor()).await.unwrap(), "it goes on already");
    wait_for(&store, COUNTED, paid).await;
    running.stop().await;
    another.stop().await;
    witness.stop().await;
    assert_eq!(count(&store, COUNTED).await, paid, "each once");
    assert!(!lag(&store, NAME).await.is_paused);
    assert_eq!(count(&store, AUDIT).await, 2, "one line for each change, and none for nothing");
}

/// Back, beside processes that run it.
async fn one_that_may_repeat_itself_goes_back(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let consumer = Counted { name: NAME, replay: Replay::Repeats };
    let running = Running::start(&store, NAME, Replay::Repeats, 2);
    let witness = Running::start(&store, WITNESS, Replay::Refused, 1);
    pay_some(&store, id, 6).await;
    wait_for(&store, COUNTED, 6).await;
    let refused = control::restart(&store, &consumer, &from(3), &actor()).await;
    assert!(matches!(refused, Err(ControlError::NotPaused(NAME))), "{refused:?}");
    assert!(control::pause(&store, NAME, &actor()).await.unwrap());
    let paid = 6 + pay_until_it_stands_still(&store, id).await;
    let (place, handled) = ((Stream::Payments, lane_of(id, store.lanes())), position(&store).await);
    let planned = control::plan(&store, &consumer, &from(3)).await.unwrap();
    assert_eq!(position(&store).await, handled, "a plan moves nothing");
    let moves = control::restart(&store, &consumer, &from(3), &actor()).await.unwrap();
    assert_eq!(planned, moves);
    assert_eq!(moves, [Move { place, from: handled, to: 2 }]);
    assert!(control::resume(&store, NAME, &actor()).await.unwrap());
    wait_for(&store, COUNTED, handled + paid - 2).await;
    running.stop().await;
    witness.stop().await;
    let times = |position| format!("{COUNTED} and position = {position}");
    assert_eq!(count(&store, &times(3)).await, 2);
    assert_eq!(count(&store, &times(2)).await, 1);
    let line = "select count(*) from audit_log where action = 'consumer.restart' and actor = 'operator anna' \
         and detail like '%\"after\":2%'";
    assert_eq!(count(&store, line).await, 1);
    let elsewhere = Restart { place: Some((Stream::Withdrawals, place.1)), ..from(1) };
    let refused = control::plan(&store, &consumer, &elsewhere).await;
    assert!(matches!(refused, Err(ControlError::NotRead { .. })), "{refused:?}");
}

/// Forward, only when that is asked for, and nothing is left out without a trace.
async fn what_is_skipped_is_kept(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let consumer = Counted { name: NAME, replay: Replay::Repeats };
    pay_some(&store, id, 5).await;
    assert!(control::pause(&store, NAME, &actor()).await.unwrap());
    let ahead = Restart { place: Some((Stream::Payments, lane_of(id, store.lanes()))), ..from(4) };
    let refused = control::restart(&store, &consumer, &ahead, &actor()).await;
    assert!(matches!(refused, Err(ControlError::WouldSkip { events: 3, .. })), "{refused:?}");
    assert_eq!(count(&store, "select count(*) from dead_letters").await, 0);
    let ahead = Restart { may_skip: true, ..ahead };
    control::restart(&store, &consumer, &ahead, &actor()).await.unwrap();
    let kept = "select count(*) from dead_letters where kind = 4 and state = 3 and ended_at is not null \
         and position <= 3 and reason = 'skipped by operator anna: the test wants it'";
    assert_eq!(count(&store, kept).await, 3);
    assert!(control::resume(&store, NAME, &actor()).await.unwrap());
    let running = Running::start(&store, NAME, Replay::Repeats, 1);
    wait_for(&store, COUNTED, 2).await;
    running.stop().await;
    assert_eq!(count(&store, &format!("{COUNTED} and position >= 4")).await, 2);
}

/// Set back behind its dead letters, a consumer meets them again: they stay as they are, and so does their number.
async fn dead_letters_are_met_again(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let consumer = Counted { name: NAME, replay: Replay::Repeats };
    let running = Running::start(&store, NAME, Replay::Repeats, 1);
    pay_some(&store, id, 2).await;
    pay(&store, id, "unlucky").await.unwrap();
    pay_some(&store, id, 1).await;
    wait_for(&store, OPEN, 1).await;
    wait_for(&store, COUNTED, 3).await;
    running.stop().await;
    assert!(control::pause(&store, NAME, &actor()).await.unwrap());
    control::restart(&store, &consumer, &from(1), &actor()).await.unwrap();
    assert!(control::resume(&store, NAME, &actor()).await.unwrap());
    let running = Running::start(&store, NAME, Replay::Repeats, 1);
    wait_for(&store, COUNTED, 6).await;
    running.stop().await;
    assert_eq!(position(&store).await, 4);
    assert_eq!(count(&store, "select count(*) from dead_letters").await, 1);
    // What is open waits for people: a skip does not give it up.
    assert!(control::pause(&store, NAME, &actor()).await.unwrap());
    control::restart(&store, &consumer, &from(1), &actor()).await.unwrap();
    let ahead = Restart { may_skip: true, ..from(i64::MAX) };
    control::restart(&store, &consumer, &ahead, &actor()).await.unwrap();
    assert_eq!(count(&store, OPEN).await, 1);
    assert_eq!(count(&store, "select count(*) from dead_letters where state = 3").await, 3);
}

/// What leaves the database is never done again; it may be skipped, which is kept.
async fn one_whose_effect_leaves_the_database_never_goes_back(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let consumer = Counted { name: NAME, replay: Replay::Refused };
    let running = Running::start(&store, NAME, Replay::Refused, 1);
    pay_some(&store, id, 3).await;
    wait_for(&store, COUNTED, 3).await;
    running.stop().await;
    pay_some(&store, id, 1).await;
    assert!(control::pause(&store, NAME, &actor()).await.unwrap());
    let refused = control::restart(&store, &consumer, &from(3), &actor()).await;
    assert!(matches!(refused, Err(ControlError::NotAgain(NAME))), "{refused:?}");
    assert_eq!(position(&store).await, 3);
    let ahead = Restart { may_skip: true, ..from(i64::MAX) };
    control::restart(&store, &consumer, &ahead, &actor()).await.unwrap();
    assert_eq!(position(&store).await, 4);
    assert_eq!(count(&store, COUNTED).await, 3);
}

/// An effect that is made of all events is made anew from the beginning, all of it.
async fn a_projection_is_made_anew(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let other = merchant(&store).await;
    let consumer = Counted { name: NAME, replay: Replay::Rebuilds };
    let running = Running::start(&store, NAME, Replay::Rebuilds, 1);
    pay_some(&store, id, 3).await;
    pay_some(&store, other, 3).await;
    wait_for(&store, COUNTED, 6).await;
    running.stop().await;
    assert!(control::pause(&store, NAME, &actor()).await.unwrap());
    let refused = control::restart(&store, &consumer, &from(3), &actor()).await;
    assert!(matches!(refused, Err(ControlError::NotFromBeginning(NAME))), "{refused:?}");
    let all = Restart { place: None, from: From::Beginning, may_skip: false };
    control::restart(&store, &consumer, &all, &actor()).await.unwrap();
    assert_eq!(count(&store, COUNTED).await, 0, "taken back");
    assert!(control::resume(&store, NAME, &actor()).await.unwrap());
    let running = Running::start(&store, NAME, Replay::Rebuilds, 1);
    wait_for(&store, COUNTED, 6).await;
    running.stop().await;
    assert_eq!(count(&store, COUNTED).await, 6, "and made anew, once");
}

macro_rules! both_backends {
    ($($name:ident: $test:expr;)+) => {
        mod sqlite {
            use super::*;
            const BACKEND: Backend = Backend::Sqlite;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { ($test)(BACKEND).await; })+
        }
        mod postgres {
            use super::*;
            const BACKEND: Backend = Backend::Postgres;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { ($test)(BACKEND).await; })+
        }
    };
}

both_backends! {
    a_consumer_that_is_paused_handles_nothing: what_is_paused_handles_nothing;
    a_consumer_that_may_repeat_itself_is_set_back: one_that_may_repeat_itself_goes_back;
    what_a_restart_skips_is_kept: what_is_skipped_is_kept;
    open_dead_letters_stay_when_a_consumer_is_set_back: dead_letters_are_met_again;
    an_effect_outside_is_never_repeated: one_whose_effect_leaves_the_database_never_goes_back;
    a_projection_is_restarted_from_the_beginning: a_projection_is_made_anew;
}
