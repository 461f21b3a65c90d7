//! The database goes away at bad moments: callers get the truth, and nothing is lost or doubled.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use domain::state::Outcome;
use futures_util::future::join_all;
use store::{
    Location, Settings, Store,
    error::SubmitError,
    log,
    queries::{self, PaymentFilter},
};

use crate::{
    backend::{Backend, Database, clock},
    calls::{merchant, pay},
    proxy::{Cut, Proxy},
};

/// A store that reaches its PostgreSQL through a proxy.
async fn behind_a_proxy(change: impl FnOnce(&mut Settings)) -> (Store, Proxy, Database) {
    let database = Backend::Postgres.create().await;
    let Location::Postgres(url) = database.location() else { panic!("not PostgreSQL") };
    let config: tokio_postgres::Config = url.parse().unwrap();
    let server = format!("127.0.0.1:{}", config.get_ports()[0]);
    let proxy = Proxy::start(server.clone()).await;
    let mut settings = database.settings(4);
    let (_, behind_host) = url.split_once(&format!(":{}/", config.get_ports()[0])).unwrap();
    settings.location = Location::Postgres(format!(
        "postgres://{}@127.0.0.1:{}/{behind_host}",
        config.get_user().unwrap(),
        proxy.port
    ));
    change(&mut settings);
    let store = Store::open(settings, clock()).await.unwrap();
    (store, proxy, database)
}

async fn payments(store: &Store, of: domain::id::MerchantId) -> usize {
    queries::payments(store.reads(), of, &PaymentFilter::default(), None, 10_000).await.unwrap().len()
}

async fn events(store: &Store) -> i64 {
    log::heads(store.reads()).await.unwrap().iter().map(|head| head.sequence).sum()
}

/// Failure mode 86: the connection is lost at COMMIT, the server has committed, nobody was told. The
/// caller gets its answer, and the payment exists once. Failure mode 91.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_in_the_log() {
    let (store, proxy, _database) = behind_a_proxy(|_| {}).await;
    let id = merchant(&store).await;
    for round in 0..5 {
        proxy.set(Cut::AnswerOfCommit);
        let answers = join_all((0..8).map(|n| {
            let store = store.clone();
            async move { pay(&store, id, &format!("{round}-{n}")).await }
        }))
        .await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    assert_eq!(proxy.cuts_made.load(Ordering::SeqCst), 5);
    assert_eq!(payments(&store, id).await, 40);
    assert_eq!(events(&store).await, 41);
}

/// Failure mode 86, the other half: COMMIT never arrived. The batch is decided again, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_arrived_is_made_again() {
    let (store, proxy, _database) = behind_a_proxy(|_| {}).await;
    let id = merchant(&store).await;
    for round in 0..5 {
        proxy.set(Cut::Commit);
        assert!(pay(&store, id, &format!("{round}")).await.is_ok());
    }
    assert_eq!(proxy.cuts_made.load(Ordering::SeqCst), 5);
    assert_eq!(payments(&store, id).await, 5);
    assert_eq!(events(&store).await, 6);
}

/// Failure mode 100: while the database is away callers are told so, and nothing is kept for later;
/// when it is back the writer goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_answered_truthfully() {
    let (store, proxy, _database) = behind_a_proxy(|_| {}).await;
    let id = merchant(&store).await;
    proxy.set(Cut::Everything);
    let refused = pay(&store, id, "away").await;
    assert!(matches!(refused, Err(SubmitError::Unavailable)), "{refused:?}");
    proxy.set(Cut::Nothing);
    assert!(pay(&store, id, "back").await.is_ok());
    assert_eq!(payments(&store, id).await, 1);
}

/// The queue is bounded, and beyond the bound the answer comes at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_answered_at_once() {
    let (store, proxy, _database) = behind_a_proxy(|settings| {
        settings.queue_commands_max = 4;
        settings.batch_commands_max = 2;
        settings.writers = 1;
    })
    .await;
    let id = merchant(&store).await;
    proxy.set(Cut::Everything);
    let calls: Vec<_> = (0..32)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { pay(&store, id, &n.to_string()).await })
        })
        .collect();
    let mut busy = 0;
    for call in calls {
        match call.await.unwrap() {
            Err(SubmitError::Busy) => busy += 1,
            Err(SubmitError::Unavailable) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(busy >= 32 - 2 - 4 - 2, "{busy} of 32 were told that the queue is full");
    proxy.set(Cut::Nothing);
    assert!(pay(&store, id, "afterwards").await.is_ok());
    assert_eq!(payments(&store, id).await, 1);
}

/// The writers' connections are ended by the administrator, again and again, under load. Every caller
/// gets an answer that is true. Failure modes 93 and 100.
#[tokio::test(flavor = "multi_thread")]
async fn terminated_backends_lose_and_double_nothing() {
    let database = Backend::Postgres.create().await;
    let store = database.open(4).await;
    let id = merchant(&store).await;
    let Location::Postgres(url) = database.location() else { panic!("not PostgreSQL") };
    let (admin, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut made = Vec::new();
                for number in 0..100 {
                    match pay(&store, id, &format!("{caller}-{number}")).await {
                        Ok(answer) => made.push(answer.outcome),
                        Err(error) => assert!(matches!(error, SubmitError::Unavailable), "{error:?}"),
                    }
                }
                made
            })
        })
        .collect();
    let mut terminated = 0;
    while callers.iter().any(|caller| !caller.is_finished()) {
        let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
             where datname = current_database() and application_name = 'fintech writer'";
        terminated += admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
        // Let some work be done between two terminations.
        let before = events(&store).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while events(&store).await < before + 16
            && callers.iter().any(|caller| !caller.is_finished())
            && std::time::Instant::now() < deadline
        {
            tokio::task::yield_now().await;
        }
    }
    let mut acknowledged = Vec::new();
    for caller in callers {
        acknowledged.extend(caller.await.unwrap());
    }
    assert!(terminated > 10, "{terminated} backends were terminated");
    assert_eq!(payments(&store, id).await, acknowledged.len());
    for outcome in acknowledged {
        let Outcome::Payments(made) = outcome else { panic!("{outcome:?}") };
        assert!(store.lookups().payment(id, made[0].id).await.unwrap().is_some());
    }
}

/// Failure mode 87: a key that has expired is free again, and the sweeper takes expired keys away.
#[tokio::test(flavor = "multi_thread")]
async fn expired_keys_are_free_again_and_swept() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let database = backend.create().await;
        let mut settings = database.settings(4);
        settings.idempotency_retention = Duration::from_mins(1);
        let skew = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let (base, ahead) = (clock(), skew.clone());
        let turned: store::Clock = Arc::new(move || {
            domain::time::Timestamp::from_micros(base().as_micros() + ahead.load(Ordering::SeqCst))
        });
        let store = Store::open(settings, turned).await.unwrap();
        let id = merchant(&store).await;
        assert!(!pay(&store, id, "key").await.unwrap().replayed);
        assert!(pay(&store, id, "key").await.unwrap().replayed);
        skew.store(61_000_000, Ordering::SeqCst);
        assert!(!pay(&store, id, "key").await.unwrap().replayed, "{backend:?}");
        assert_eq!(store.sweep(100).await.unwrap(), 0);
        skew.store(200_000_000, Ordering::SeqCst);
        assert_eq!(store.sweep(100).await.unwrap(), 1);
        assert_eq!(payments(&store, id).await, 2);
        // Failure mode 106: the clock steps back; time within the lane does not.
        skew.store(-3_600_000_000, Ordering::SeqCst);
        let Outcome::Payments(made) = pay(&store, id, "later").await.unwrap().outcome else { panic!() };
        let page = queries::payments(store.reads(), id, &PaymentFilter::default(), None, 10).await.unwrap();
        assert!(page.iter().all(|payment| payment.created_at <= made[0].created_at), "{backend:?}");
    }
}
