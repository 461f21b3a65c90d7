//! Logs every payment event.

use domain::event::Stream;
use futures_util::future::{BoxFuture, ready};
use store::{batch::LogEvent, sql::Transaction};
use stream::consumer::{Consumer, HandleError};

use crate::event_log;

pub struct PaymentLog;

impl Consumer for PaymentLog {
    fn name(&self) -> &'static str {
        "payment_log"
    }

    fn streams(&self) -> &'static [Stream] {
        &[Stream::Payments]
    }

    fn handle<'a>(
        &'a self,
        event: &'a LogEvent,
        _: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(ready(event_log::write_line(event, "Processing payment event")))
    }
}
