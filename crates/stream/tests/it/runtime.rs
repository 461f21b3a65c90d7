//! Effects happen once, in order; what cannot be handled is set aside; what is missing is noticed.

use std::sync::Arc;

use domain::{
    command::{Action, Command},
    id::{CommandId, MerchantId, PaymentId},
    payment::CompletedBy,
    state::Outcome,
};
use store::{Store, request::Request};
use stream::{lag::lags, runtime::Stopped};
use uuid::Uuid;

use crate::{
    backend::{Backend, Database},
    calls::{merchant, pay},
    recorder::{Fault, NAME, Recorder, Running, count, create_table, start, wait_for},
};

const RECORDED: &str = "select count(*) from recorded";
const DEAD: &str = "select count(*) from dead_letters where kind = 1";
const PARKED: &str = "select count(*) from dead_letters where kind = 2";

async fn prepare(backend: Backend) -> (Store, Database, MerchantId) {
    let database = backend.create().await;
    let store = database.open(4).await;
    create_table(&store).await;
    let id = merchant(&store).await;
    (store, database, id)
}

async fn new_payment(store: &Store, merchant: MerchantId) -> PaymentId {
    let answer = pay(store, merchant, &Uuid::now_v7().to_string()).await.unwrap();
    let Outcome::Payments(payments) = answer.outcome else { panic!("{answer:?}") };
    payments[0].id
}

async fn complete(store: &Store, merchant_id: MerchantId, payment_id: PaymentId) {
    let action = Action::CompletePayment { payment_id, completed_by: CompletedBy::Manual };
    let command = Command { id: CommandId(Uuid::now_v7()), merchant_id, action };
    store.submit(Request { command, claim: None, origin: None, trace: None }).await.unwrap();
}

async fn stop(running: Running) {
    running.stop.send(true).unwrap();
    running.task.await.unwrap().unwrap();
}

/// Invariant 5. Failure modes 46, 49, 63 and 107: the consumer is cut off at any point, again and again,
/// and each event's effect is there once, in order.
async fn effects_happen_once(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let other = merchant(&store).await;
    let consumer = Arc::new(Recorder::default());
    let events = 400;
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 0..events {
                new_payment(&store, if number % 2 == 0 { id } else { other }).await;
            }
        }
    });
    let mut cuts = 0;
    while !writing.is_finished() {
        let running = start(&store, &consumer);
        let before = count(&store, RECORDED).await;
        while count(&store, RECORDED).await == before && !writing.is_finished() {
            tokio::task::yield_now().await;
        }
        running.task.abort();
        let _ = running.task.await;
        cuts += 1;
    }
    writing.await.unwrap();
    let running = start(&store, &consumer);
    wait_for(&store, RECORDED, events).await;
    stop(running).await;
    assert!(cuts > 1, "cut off {cuts} times");
    assert_eq!(count(&store, RECORDED).await, events);
    let sql = "select count(*) from recorded a, recorded b \
         where a.lane = b.lane and a.position + 1 = b.position";
    let lanes = count(&store, "select count(distinct lane) from recorded").await;
    assert_eq!(count(&store, sql).await, events - lanes, "positions are dense");
    let lag = lags(store.reads(), store.now()).await.unwrap();
    let lag = lag.iter().find(|lag| lag.consumer == NAME).unwrap();
    assert_eq!((lag.events, lag.micros, lag.dead_letters), (0, 0, 0));
}

/// Failure modes 11, 12, 62 and 68: an event that cannot be handled is set aside with the later ones of
/// its payment; all others go on.
async fn poison_is_set_aside(backend: Backend, fault: Fault) {
    let (store, _database, id) = prepare(backend).await;
    let consumer = Arc::new(Recorder::default());
    let (bad, good) = (new_payment(&store, id).await, new_payment(&store, id).await);
    consumer.faults.lock().unwrap().insert((bad.0, "PaymentCreated"), fault);
    let running = start(&store, &consumer);
    wait_for(&store, DEAD, 1).await;
    complete(&store, id, bad).await;
    complete(&store, id, good).await;
    wait_for(&store, PARKED, 1).await;
    wait_for(&store, RECORDED, 2).await;
    stop(running).await;
    let sql = "select reason, attempts, payload from dead_letters where kind = 1";
    let rows = store.reads().query(sql, Vec::new()).await.unwrap();
    let row = rows.first().unwrap();
    assert_eq!(row.int(1).unwrap(), 3);
    let payload = String::from_utf8(row.bytes(2).unwrap().to_vec()).unwrap();
    assert!(payload.contains(&bad.to_string()), "the bytes are kept");
    assert_eq!(count(&store, "select count(distinct subject) from recorded").await, 1);
    let lag = lags(store.reads(), store.now()).await.unwrap();
    let lag = lag.iter().find(|lag| lag.consumer == NAME).unwrap();
    assert_eq!((lag.events, lag.dead_letters), (0, 2));
}

/// Failure mode 73: what is away for a while is waited for, however often, and never dead-lettered.
async fn transient_trouble_is_waited_out(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let consumer = Arc::new(Recorder::default());
    let payment = new_payment(&store, id).await;
    consumer.faults.lock().unwrap().insert((payment.0, "PaymentCreated"), Fault::Transient(10));
    complete(&store, id, payment).await;
    let running = start(&store, &consumer);
    wait_for(&store, RECORDED, 2).await;
    stop(running).await;
    assert_eq!(count(&store, "select count(*) from dead_letters").await, 0);
}

/// Failure mode 64: the same consumer runs twice, over the same database; each effect happens once.
async fn two_at_once_do_not_double(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let consumer = Arc::new(Recorder::default());
    let (one, two) = (start(&store, &consumer), start(&store, &consumer));
    for _ in 0..100 {
        new_payment(&store, id).await;
    }
    wait_for(&store, RECORDED, 100).await;
    stop(one).await;
    stop(two).await;
    assert_eq!(count(&store, RECORDED).await, 100);
    assert_eq!(count(&store, "select count(*) from dead_letters").await, 0);
}

/// An event that is gone from the log is noticed, and stops the consumer, loudly.
async fn a_missing_event_stops_the_consumer(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    for _ in 0..3 {
        new_payment(&store, id).await;
    }
    let mut transaction = store.begin().await.unwrap();
    transaction.execute("delete from events where stream = 1 and position = 2", Vec::new()).await.unwrap();
    transaction.commit().await.unwrap();
    let running = start(&store, &Arc::new(Recorder::default()));
    let Stopped::EventsMissing { expected, found, .. } = running.task.await.unwrap().unwrap_err();
    assert_eq!((expected, found), (2, Some(3)));
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
    effects_happen_once_whatever_is_cut_off: effects_happen_once;
    a_poison_event_is_set_aside_with_its_payment: |backend| poison_is_set_aside(backend, Fault::Poison);
    a_panic_of_a_handler_is_poison: |backend| poison_is_set_aside(backend, Fault::Panic);
    transient_trouble_is_never_dead_lettered: transient_trouble_is_waited_out;
    two_processes_with_one_consumer_double_nothing: two_at_once_do_not_double;
    a_gap_in_the_log_is_a_detected_loss: a_missing_event_stops_the_consumer;
}
