//! A consumer whose effect is a row for each event, and which fails as it is told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use domain::event::Stream;
use futures_util::future::BoxFuture;
use store::{Store, batch::LogEvent, sql::Transaction};
use stream::{
    consumer::{Consumer, Group, HandleError, Replay},
    runtime::{self, Settings, Stopped},
};
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Poison,
    Panic,
    /// So many times.
    Transient(u32),
}

#[derive(Default)]
pub struct Recorder {
    /// By subject: what happens to its events of a type.
    pub faults: Mutex<HashMap<(Uuid, &'static str), Fault>>,
}

pub const NAME: &str = "recorder";

impl Consumer for Recorder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn streams(&self) -> &'static [Stream] {
        &[Stream::Payments]
    }

    fn group(&self) -> Group {
        Group::Named("recorder")
    }

    fn replay(&self) -> Replay {
        Replay::Refused
    }

    fn handle<'a>(
        &'a self,
        events: &'a [LogEvent],
        transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async move {
            for event in events {
                // Written before it may fail: a failed handling must leave nothing of it.
                let sql = "insert into recorded (event_id, subject, lane, position) values ($1, $2, $3, $4)";
                let params = vec![
                    event.event_id.to_string().into(),
                    event.subject_id.to_string().into(),
                    i64::from(event.lane.0).into(),
                    event.position.into(),
                ];
                transaction.execute(sql, params).await?;
                self.fail(event)?;
            }
            Ok(())
        })
    }
}

impl Recorder {
    fn fail(&self, event: &LogEvent) -> Result<(), HandleError> {
        let mut faults = self.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fault = faults
            .iter_mut()
            .find(|((subject, kind), _)| *subject == event.subject_id && *kind == event.event_type)
            .map(|(_, fault)| fault);
        match fault {
            None | Some(Fault::Transient(0)) => Ok(()),
            Some(Fault::Transient(left)) => {
                *left -= 1;
                Err(HandleError::Transient("not now".to_owned()))
            }
            Some(Fault::Poison) => Err(HandleError::Poison("cannot be handled".to_owned())),
            Some(Fault::Panic) => panic!("the handler of the test panics"),
        }
    }
}

/// The table of the effect. A plain column type that both databases have.
pub async fn create_table(store: &Store) {
    let mut transaction = store.begin().await.unwrap();
    let sql = "create table recorded (event_id text primary key, subject text, lane bigint, position bigint)";
    transaction.execute(sql, Vec::new()).await.unwrap();
    transaction.commit().await.unwrap();
}

pub const SETTINGS: Settings = Settings {
    batch_events_max: 10,
    attempts_max: 3,
    backoff_initial: Duration::from_millis(5),
    backoff_max: Duration::from_millis(20),
};

pub struct Running {
    pub stop: watch::Sender<bool>,
    pub task: JoinHandle<Result<(), Stopped>>,
}

pub fn start(store: &Store, consumer: &Arc<Recorder>) -> Running {
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(runtime::run(store.clone(), consumer.clone(), SETTINGS, stopping));
    Running { stop, task }
}

pub async fn count(store: &Store, sql: &str) -> i64 {
    store.reads().query(sql, Vec::new()).await.unwrap().first().unwrap().int(0).unwrap()
}

/// Until a count is reached, or a minute is over.
pub async fn wait_for(store: &Store, sql: &str, wanted: i64) {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let found = count(store, sql).await;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {found}, wanted {wanted}");
        tokio::task::yield_now().await;
    }
}
