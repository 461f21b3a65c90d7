//! Two consumers of one group that read the same topic through one client, of which one is paused.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::event::Stream;
use futures_util::future::BoxFuture;
use store::{Store, audit::Actor, batch::LogEvent, sql::Transaction};
use stream::{
    consumer::{Consumer, Group, HandleError, Replay},
    control::{self, Restart},
    kafka::{Settings, group, values::Values},
    relay,
    replay::From,
};
use tokio::sync::watch;

use crate::{
    browse::{Kafka, settings},
    calls::{merchant, pay},
    recorder::{SETTINGS, count, wait_for},
};

const PAUSED: &str = "one";
const OTHER: &str = "another";
const GROUP: Group = Group::Named("both");

struct Lines(&'static str);

impl Consumer for Lines {
    fn name(&self) -> &'static str {
        self.0
    }

    fn streams(&self) -> &'static [Stream] {
        &[Stream::Payments]
    }

    fn group(&self) -> Group {
        GROUP
    }

    fn replay(&self) -> Replay {
        Replay::Repeats
    }

    fn handle<'a>(
        &'a self,
        events: &'a [LogEvent],
        transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async move {
            for event in events {
                let sql = "insert into lines (consumer, position) values ($1, $2)";
                transaction.execute(sql, vec![self.0.into(), event.position.into()]).await?;
            }
            Ok(())
        })
    }
}

fn lines(consumer: &str) -> String {
    format!("select count(*) from lines where consumer = '{consumer}'")
}

/// Pays, and publishes what there is.
async fn publish(
    store: &Store,
    kafka: &Settings,
    values: &Values,
    merchant: domain::id::MerchantId,
    payments: usize,
) {
    for _ in 0..payments {
        pay(store, merchant, &uuid::Uuid::now_v7().to_string()).await.unwrap();
    }
    let relay = relay::Settings { lease: Duration::from_millis(200), batch_events_max: 100 };
    let published = Arc::default();
    relay::catch_up(store.clone(), kafka.clone(), values.clone(), relay, BTreeMap::new(), published)
        .await
        .unwrap();
}

/// The other one goes on and repeats nothing, although the client is set back for the one that was paused; set back
/// itself, that one handles again what it was told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_holds_up_nobody_on_its_topic() {
    let broker = Kafka::new().await;
    let (store, kafka) = (broker.store.clone(), settings(&broker.servers, &broker.prefix));
    let values = broker.values();
    let mut transaction = store.begin().await.unwrap();
    transaction.execute("create table lines (consumer text, position bigint)", Vec::new()).await.unwrap();
    transaction.commit().await.unwrap();
    let id = merchant(&store).await;
    publish(&store, &kafka, &values, id, 5).await;
    let (stop, stopping) = watch::channel(false);
    let consumers: Vec<Arc<dyn Consumer>> = vec![Arc::new(Lines(PAUSED)), Arc::new(Lines(OTHER))];
    let running = tokio::spawn(group::run(
        store.clone(),
        kafka.clone(),
        GROUP,
        consumers,
        values.clone(),
        SETTINGS,
        stopping,
    ));
    wait_for(&store, &lines(PAUSED), 5).await;
    wait_for(&store, &lines(OTHER), 5).await;
    let actor = Actor::new("anna", "a test");
    control::pause(&store, PAUSED, &actor).await.unwrap();
    // Until it has seen that: then the other one alone goes on.
    let mut paid = 5;
    loop {
        publish(&store, &kafka, &values, id, 3).await;
        paid += 3;
        wait_for(&store, &lines(OTHER), paid).await;
        if count(&store, &lines(PAUSED)).await <= paid - 6 {
            break;
        }
    }
    let from = Restart { place: None, from: From::Position(3), may_skip: false };
    let moves = control::restart(&store, &Lines(PAUSED), &from, &actor).await.unwrap();
    let repeated = moves.iter().map(control::Move::repeated).sum::<i64>();
    let handled = count(&store, &lines(PAUSED)).await;
    control::resume(&store, PAUSED, &actor).await.unwrap();
    publish(&store, &kafka, &values, id, 1).await;
    paid += 1;
    wait_for(&store, &lines(OTHER), paid).await;
    wait_for(&store, &lines(PAUSED), paid + repeated).await;
    assert_eq!(handled, repeated + 2, "from the third on");
    publish(&store, &kafka, &values, id, 1).await;
    wait_for(&store, &lines(PAUSED), paid + repeated + 1).await;
    wait_for(&store, &lines(OTHER), paid + 1).await;
    assert_eq!(count(&store, "select count(*) from dead_letters").await, 0);
    stop.send(true).unwrap();
    running.await.unwrap();
}
