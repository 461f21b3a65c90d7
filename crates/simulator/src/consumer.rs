//! The consumers of the simulation: their effect is a row for each event, without any constraint, so that an effect that
//! happens twice, or not in order, can be seen.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{event::Stream, id::EventId, lane::Lane};
use futures_util::future::BoxFuture;
use store::{batch::LogEvent, sql::Transaction};
use stream::consumer::{Consumer, Group, HandleError, Replay};

use crate::chaos::Chaos;

pub const ON_KAFKA: &str = "on_kafka";
pub const ON_THE_LOG: &str = "on_the_log";
pub const GROUP: &str = "simulation";

pub const TABLE: &str = "create table effects (no integer primary key, consumer text not null, stream integer not null, \
     lane integer not null, position integer not null, subject_id blob not null) strict; \
     create index effects_by_place on effects (consumer, stream, lane, position);";

/// Which events cannot be handled: those that were met while some were to be poison.
#[derive(Debug, Default)]
pub struct Poison {
    state: Mutex<(u32, BTreeSet<EventId>)>,
}

impl Poison {
    pub fn add(&self, count: u32) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 += count;
    }

    /// What could not be handled can be.
    pub fn mend(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (0, BTreeSet::new());
    }

    fn is(&self, event: &LogEvent) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, poisoned) = &mut *state;
        if *left > 0 && poisoned.insert(event.event_id) {
            *left -= 1;
        }
        poisoned.contains(&event.event_id)
    }
}

pub struct Rows {
    pub name: &'static str,
    pub poison: Arc<Poison>,
    pub chaos: Arc<Chaos>,
}

impl Consumer for Rows {
    fn name(&self) -> &'static str {
        self.name
    }

    fn streams(&self) -> &'static [Stream] {
        &Stream::ALL
    }

    fn group(&self) -> Group {
        Group::Named(GROUP)
    }

    fn replay(&self) -> Replay {
        Replay::Rebuilds
    }

    fn handle<'a>(
        &'a self,
        events: &'a [LogEvent],
        transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async move {
            for event in events {
                if !self.chaos.has_effects() {
                    return Err(HandleError::Transient("what it needs is away".to_owned()));
                }
                if self.poison.is(event) {
                    return Err(HandleError::Poison("it cannot be handled".to_owned()));
                }
                let sql = "insert into effects (consumer, stream, lane, position, subject_id) \
                     values ($1, $2, $3, $4, $5)";
                let params = vec![
                    self.name.into(),
                    event.stream.number().into(),
                    i64::from(event.lane.0).into(),
                    event.position.into(),
                    event.subject_id.into(),
                ];
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
            let sql = "delete from effects where consumer = $1 and lane = $2";
            transaction.execute(sql, vec![self.name.into(), i64::from(lane.0).into()]).await?;
            Ok(())
        })
    }
}
