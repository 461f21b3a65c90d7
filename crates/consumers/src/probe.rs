//! A consumer for tests of the running program, in debug builds only: its effect is a row for each event, without
//! any constraint, so that a double effect can be seen. Runs when `FINTECH_PROBE` is set; the test makes its table.

use domain::{event::Stream, lane::Lane};
use futures_util::future::BoxFuture;
use store::{batch::LogEvent, sql::Transaction};
use stream::consumer::{Consumer, Group, HandleError, Replay};

pub struct Probe;

impl Probe {
    pub fn is_wanted() -> bool {
        std::env::var_os("FINTECH_PROBE").is_some()
    }
}

impl Consumer for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn streams(&self) -> &'static [Stream] {
        &Stream::ALL
    }

    fn group(&self) -> Group {
        Group::Named("fintechplatform-probe")
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
                let sql = "insert into probe (event_id, stream, lane, position) values ($1, $2, $3, $4)";
                let params = vec![
                    event.event_id.to_string().into(),
                    i64::from(event.stream.number()).into(),
                    i64::from(event.lane.0).into(),
                    event.position.into(),
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
            transaction.execute("delete from probe where lane = $1", vec![i64::from(lane.0).into()]).await?;
            Ok(())
        })
    }
}
