//! What both event loggers do: one structured line an event, in the words of the first platform.

use domain::event::{Event, EventBody};
use store::batch::LogEvent;
use stream::consumer::HandleError;
use telemetry::trace::{self, Scope};

/// All of them or none: an event that cannot be read leaves no lines of those before it.
pub fn write_lines(events: &[LogEvent], sentence: &'static str) -> Result<(), HandleError> {
    let parsed: Result<Vec<Event>, _> = events.iter().map(LogEvent::parse).collect();
    let parsed = parsed.map_err(|error| HandleError::Poison(error.to_string()))?;
    for (event, parsed) in events.iter().zip(&parsed) {
        write_line(event, &parsed.body, sentence);
    }
    Ok(())
}

/// Bank details are masked in the event already; nothing else of it is personal.
fn write_line(event: &LogEvent, body: &EventBody, sentence: &'static str) {
    let (amount_minor, currency) = match body {
        EventBody::PaymentCreated(e) => (Some(e.amount.get()), Some(e.currency)),
        EventBody::PaymentCompleted(e) => (Some(e.amount.get()), Some(e.currency)),
        EventBody::PaymentCancelled(e) => (Some(e.amount.get()), Some(e.currency)),
        EventBody::PaymentRefunded(e) => (Some(e.refunded_amount.get()), Some(e.currency)),
        EventBody::PaymentFlagged(e) => (Some(e.amount.get()), Some(e.currency)),
        EventBody::WithdrawalRequested(e) => (Some(e.amount.get()), Some(e.currency)),
        EventBody::WithdrawalProcessing(e) => (Some(e.amount.get()), Some(e.currency)),
        EventBody::WithdrawalCompleted(e) => (Some(e.amount.get()), Some(e.currency)),
        EventBody::WithdrawalFailed(e) => (Some(e.amount.get()), Some(e.currency)),
        EventBody::WithdrawalCancelled(e) => (Some(e.amount.get()), Some(e.currency)),
        EventBody::MerchantCreated(_) | EventBody::MerchantUpdated(_) => (None, None),
    };
    trace::within_sync(Scope::of(event.trace_context()), || {
        tracing::info!(
            event_type = event.event_type,
            event_id = %event.event_id,
            merchant_id = %event.merchant_id,
            subject_id = %event.subject_id,
            amount_minor,
            currency = currency.map(tracing::field::display),
            lane = event.lane.0,
            position = event.position,
            occurred_at = %event.occurred_at,
            "{sentence}"
        );
    });
}
