//! Sums up what happens to payments, by day and currency: what charts are drawn from, so that nobody counts payments for
//! one. An event counts on the day on which it occurred, in UTC.

use std::collections::BTreeMap;

use domain::{
    currency::Currency,
    event::{EventBody, Stream},
    lane::Lane,
};
use futures_util::future::BoxFuture;
use store::{
    batch::LogEvent,
    daily_totals::{self, Of, Total, Transition},
    sql::Transaction,
};
use stream::consumer::{Consumer, Group, HandleError, Replay};

pub struct DailyTotals;

impl Consumer for DailyTotals {
    fn name(&self) -> &'static str {
        "daily_totals"
    }

    fn streams(&self) -> &'static [Stream] {
        &[Stream::Payments]
    }

    fn group(&self) -> Group {
        Group::Platform
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
            for ((lane, of), total) in sums(events)? {
                daily_totals::add(transaction, lane, of, total).await?;
            }
            Ok(())
        })
    }

    fn reset<'a>(
        &'a self,
        lane: Lane,
        transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async move { Ok(daily_totals::reset(transaction, lane).await?) })
    }
}

/// One change a row, whatever a batch holds; in the order of the rows.
fn sums(events: &[LogEvent]) -> Result<BTreeMap<(Lane, Of), Total>, HandleError> {
    let mut sums: BTreeMap<(Lane, Of), Total> = BTreeMap::new();
    for event in events {
        let parsed = event.parse().map_err(|error| HandleError::Poison(error.to_string()))?;
        let Some((currency, transition, amount_minor)) = counted(&parsed.body) else { continue };
        let of = Of { day: Of::day_of(event.occurred_at), currency, transition };
        sums.entry((event.lane, of)).or_default().add(amount_minor.into());
    }
    Ok(sums)
}

fn counted(body: &EventBody) -> Option<(Currency, Transition, i64)> {
    match body {
        EventBody::PaymentCreated(e) => Some((e.currency, Transition::Created, e.amount.get())),
        EventBody::PaymentCompleted(e) => Some((e.currency, Transition::Completed, e.amount.get())),
        EventBody::PaymentCancelled(e) => Some((e.currency, Transition::Failed, e.amount.get())),
        EventBody::PaymentRefunded(e) => Some((e.currency, Transition::Refunded, e.refunded_amount.get())),
        EventBody::PaymentFlagged(_)
        | EventBody::MerchantCreated(_)
        | EventBody::MerchantUpdated(_)
        | EventBody::WithdrawalRequested(_)
        | EventBody::WithdrawalProcessing(_)
        | EventBody::WithdrawalCompleted(_)
        | EventBody::WithdrawalFailed(_)
        | EventBody::WithdrawalCancelled(_) => None,
    }
}
