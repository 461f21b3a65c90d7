//! Logs every payment event.

use domain::event::Stream;
use futures_util::future::{BoxFuture, ready};
use store::{batch::LogEvent, sql::Transaction};
use stream::consumer::{Consumer, Group, HandleError, Replay};

use crate::event_log;

pub struct PaymentLog;

impl Consumer for PaymentLog {
    fn name(&self) -> &'static str {
        "payment_log"
    }

    fn streams(&self) -> &'static [Stream] {
        &[Stream::Payments]
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
        Box::pin(ready(event_log::write_lines(events, "Processing payment event")))
    }
}
