//! Logs every withdrawal event.

use domain::event::Stream;
use futures_util::future::{BoxFuture, ready};
use store::{batch::LogEvent, sql::Transaction};
use stream::consumer::{Consumer, Group, HandleError, Replay};

use crate::event_log;

pub struct WithdrawalLog;

impl Consumer for WithdrawalLog {
    fn name(&self) -> &'static str {
        "withdrawal_log"
    }

    fn streams(&self) -> &'static [Stream] {
        &[Stream::Withdrawals]
    }

    fn group(&self) -> Group {
        Group::Platform
    }

    fn replay(&self) -> Replay {
        Replay::Repeats
    }

    fn handle<'a>(
        &'a self,
        events: &'a [LogEvent],
        _: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(ready(event_log::write_lines(events, "Processing withdrawal event")))
    }
}
