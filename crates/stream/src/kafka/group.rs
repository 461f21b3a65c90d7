//! Consumers on Kafka: the second transport. All consumers of a group share one client, on a thread of its own.
//!
//! The thread polls, hands what came to each consumer's engine, and polls again, so a rebalance never falls into the
//! middle of a batch. Who handles an event is decided by the position in the database, whatever the group believes:
//! two members that both think a partition theirs cannot double an effect.
//!
//! A record must follow the one before it: position by position, and by the hash of the chain. A duplicate is
//! passed over. What does not come from this log is set aside. A gap in the middle of reading stops the consumer,
//! unless the records in it have expired meanwhile; that, and a gap at its begin (records had expired, the topic was made
//! anew, a replay set the position back), is filled from the log.

use std::{sync::Arc, thread, time::Duration};

use domain::event::Stream;
use store::Store;
use telemetry::tasks::{Task, watched};
use tokio::{runtime::Handle, sync::watch};

use super::{Settings, member::Member, session::Desk, values::Values};
use crate::{
    consumer::{Consumer, Group},
    engine,
};

const REJOIN_PAUSE: Duration = Duration::from_secs(1);

/// Runs the consumers of a group until `stopping` turns true; returns when it has left the group.
pub async fn run(
    store: Store,
    kafka: Settings,
    group: Group,
    consumers: Vec<Arc<dyn Consumer>>,
    values: Values,
    settings: engine::Settings,
    stopping: watch::Receiver<bool>,
) {
    let runtime = Handle::current();
    let name = kafka.group(group);
    let reads: Vec<_> = consumers.iter().map(|consumer| (consumer.name(), consumer.streams())).collect();
    let desk = Desk::new(&store, &consumers, &values, settings, kafka.session_timeout);
    let (ended, has_ended) = tokio::sync::oneshot::channel();
    let thread = thread::Builder::new().name("kafka-consume".to_owned()).spawn(move || {
        run_blocking(&store, &kafka, group, desk, &reads, &stopping, &runtime);
        // Nobody waits any more when the runtime has ended.
        let _ = ended.send(());
    });
    match thread {
        Ok(_) if has_ended.await.is_ok() => {}
        Ok(_) => tracing::error!(group = name, "the consumers ended by a panic"),
        Err(error) => tracing::error!(group = name, %error, "the consumers could not be started"),
    }
}

fn run_blocking(
    store: &Store,
    kafka: &Settings,
    group: Group,
    mut desk: Desk,
    reads: &[(&'static str, &'static [Stream])],
    stopping: &watch::Receiver<bool>,
    runtime: &Handle,
) {
    while !*stopping.borrow() {
        match Member::join(kafka, group, store, reads, runtime) {
            Ok(mut member) => {
                runtime.block_on(watched(Task::Consumer, desk.run(&mut member, stopping)));
                member.leave();
            }
            Err(error) => {
                tracing::error!(group = kafka.group(group), %error, "the group could not be joined");
            }
        }
        if !*stopping.borrow() {
            thread::sleep(REJOIN_PAUSE);
        }
    }
}
