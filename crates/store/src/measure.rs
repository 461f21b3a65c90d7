//! What the writers tell in metrics and traces.

use std::time::{Instant, SystemTime};

use domain::{command::Action, currency::Currency, event::EventBody, lane::Lane, money::AmountMinor};
use telemetry::{
    metrics,
    metrics::{
        Command, CommandName, Currency as CurrencyLabel, Event, Lane as LaneLabel, Letters, Outcome,
        PaymentsOf,
    },
    trace::{Kind, Span, TraceContext},
};

use crate::{
    batch::{Reply, Writes},
    error::SubmitError,
    request::Request,
};

/// Of an event, what is counted once it is committed.
#[derive(Clone, Debug)]
pub struct Counted {
    event_type: &'static str,
    lane: Lane,
    state: Option<(Of, &'static str, Currency, AmountMinor)>,
}

#[derive(Clone, Copy, Debug)]
enum Of {
    Payment,
    Withdrawal,
}

impl Counted {
    pub fn of(lane: Lane, body: &EventBody) -> Self {
        let state = match body {
            EventBody::PaymentCreated(e) => Some((Of::Payment, "created", e.currency, e.amount)),
            EventBody::PaymentCompleted(e) => Some((Of::Payment, "completed", e.currency, e.amount)),
            EventBody::PaymentCancelled(e) => Some((Of::Payment, "cancelled", e.currency, e.amount)),
            EventBody::PaymentRefunded(e) => Some((Of::Payment, "refunded", e.currency, e.refunded_amount)),
            EventBody::PaymentFlagged(e) => Some((Of::Payment, "flagged", e.currency, e.amount)),
            EventBody::WithdrawalRequested(e) => Some((Of::Withdrawal, "requested", e.currency, e.amount)),
            EventBody::WithdrawalProcessing(e) => Some((Of::Withdrawal, "processing", e.currency, e.amount)),
            EventBody::WithdrawalCompleted(e) => Some((Of::Withdrawal, "completed", e.currency, e.amount)),
            EventBody::WithdrawalFailed(e) => Some((Of::Withdrawal, "failed", e.currency, e.amount)),
            EventBody::WithdrawalCancelled(e) => Some((Of::Withdrawal, "cancelled", e.currency, e.amount)),
            EventBody::MerchantCreated(_) | EventBody::MerchantUpdated(_) => None,
        };
        Self { event_type: body.event_type(), lane, state }
    }

    fn count(&self) {
        let metrics = metrics();
        metrics.events.get_or_create(&Event { event_type: self.event_type }).inc();
        metrics.lane_events.get_or_create(&LaneLabel { lane: self.lane.0 }).inc();
        let Some((of, status, currency, amount)) = self.state else { return };
        let currency = Letters::of(currency.code());
        let labels = PaymentsOf { status, currency };
        let amount = amount.get().unsigned_abs();
        match of {
            Of::Withdrawal => drop(metrics.withdrawals.get_or_create(&labels).inc()),
            Of::Payment => {
                metrics.payments.get_or_create(&labels).inc();
                metrics.payments_processed.get_or_create(&labels).inc();
                match status {
                    "completed" => {
                        metrics.payments_volume.get_or_create(&CurrencyLabel { currency }).inc_by(amount);
                    }
                    "refunded" => {
                        metrics.refunds_volume.get_or_create(&CurrencyLabel { currency }).inc_by(amount);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// As the metrics and the spans name it.
pub const fn name(action: &Action) -> &'static str {
    match action {
        Action::CreateMerchant { .. } => "create_merchant",
        Action::UpdateMerchant { .. } => "update_merchant",
        Action::CreatePayments(new) => {
            if new.len() > 1 {
                "create_payments"
            } else {
                "create_payment"
            }
        }
        Action::CompletePayment { .. } => "complete_payment",
        Action::CancelPayment { .. } => "cancel_payment",
        Action::RefundPayment { .. } => "refund_payment",
        Action::FlagPayment { .. } => "flag_payment",
        Action::RequestWithdrawal(_) => "request_withdrawal",
        Action::ProcessWithdrawal { .. } => "process_withdrawal",
        Action::CompleteWithdrawal { .. } => "complete_withdrawal",
        Action::FailWithdrawal { .. } => "fail_withdrawal",
        Action::CancelWithdrawal { .. } => "cancel_withdrawal",
    }
}

/// A command as its caller waits for it, until it is dropped: also by one who goes away before the answer.
pub(crate) struct Waited {
    command: &'static str,
    is_of_payment: bool,
    began: Instant,
    span: Option<Span>,
    /// Whether it is told how long it took. What is turned away at once says nothing about how long commands take.
    is_told: bool,
    is_answered: bool,
}

impl Waited {
    /// Its events become part of the span.
    pub(crate) fn begin(request: &mut Request) -> Self {
        let command = name(&request.command.action);
        let span = request.trace.as_ref().map(|parent| Span::child(parent, Kind::Internal, command));
        if let Some(span) = &span {
            request.trace = Some(span.context());
        }
        let is_of_payment = command.contains("_payment");
        Self { command, is_of_payment, began: Instant::now(), span, is_told: false, is_answered: false }
    }

    pub(crate) const fn taken(&mut self) {
        self.is_told = true;
    }

    pub(crate) fn answered<T>(mut self, answer: &Result<T, SubmitError>) {
        self.is_answered = true;
        let Err(error) = answer else { return };
        let is_decided = matches!(error, SubmitError::Refused(_) | SubmitError::KeyReused);
        // Without a durable answer it is neither in time nor late: that it failed is told by the counter of commands.
        self.is_told &= is_decided;
        match &mut self.span {
            Some(span) if is_decided => span.set("fintech.command.refused", error.to_string()),
            Some(span) => span.fail(error.to_string()),
            None => {}
        }
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        if let Some(span) = self.span.as_mut().filter(|_| !self.is_answered) {
            span.fail("the caller went away");
        }
        if !self.is_told {
            return;
        }
        let waited = self.began.elapsed();
        let kept = self.span.as_ref().filter(|span| span.is_kept());
        let trace_id = kept.map(|span| span.context().trace_id_text());
        metrics().command_duration.observe(&CommandName { command: self.command }, waited, trace_id);
        if self.is_of_payment {
            metrics().payment_processing_duration.observe(waited);
        }
    }
}

/// Counts a command by the answer that its caller gets.
pub(crate) fn answered(request: &Request, reply: &Result<Reply, SubmitError>) {
    let (outcome, of_key) = match reply {
        Ok(Reply::Answer(answer)) if !answer.replayed => ("done", Some("first")),
        Ok(_) => ("replayed", Some("replayed")),
        Err(SubmitError::KeyReused) => ("refused", Some("reused")),
        Err(SubmitError::Refused(_)) => ("refused", None),
        Err(_) => ("failed", None),
    };
    let command = name(&request.command.action);
    metrics().commands.get_or_create(&Command { command, outcome }).inc();
    if let Some(outcome) = of_key.filter(|_| request.claim.is_some()) {
        metrics().idempotency.get_or_create(&Outcome { outcome }).inc();
    }
}

/// What took effect.
pub(crate) fn count(writes: &Writes) {
    writes.counted.iter().for_each(Counted::count);
}

/// A transaction of a writer.
pub(crate) struct Measured {
    began: Instant,
    began_at: SystemTime,
    commands: usize,
    /// Of commands whose traces are kept.
    traces: Vec<TraceContext>,
    span: Span,
    outcome: &'static str,
}

impl Measured {
    pub(crate) fn begin(requests: &[Request], system: &'static str) -> Self {
        let kept = |request: &Request| request.trace.filter(TraceContext::is_sampled);
        let traces: Vec<_> = requests.iter().filter_map(kept).collect();
        let mut span = Span::linked(&traces, Kind::Client, "commit batch");
        span.set("db.system.name", system);
        span.set("db.operation.batch.size", i64::try_from(requests.len()).unwrap_or(i64::MAX));
        let (began, began_at) = (Instant::now(), SystemTime::now());
        Self { began, began_at, commands: requests.len(), traces, span, outcome: "failed" }
    }

    pub(crate) fn committed(mut self) {
        metrics().batch_commands.observe(self.commands);
        metrics().batch_duration.observe(self.began.elapsed());
        self.outcome = "committed";
    }

    /// Ended otherwise than by a failure.
    pub(crate) fn ended(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

/// Each command's trace shows how long its batch took, and which one that was.
impl Drop for Measured {
    fn drop(&mut self) {
        let outcome = self.outcome;
        metrics().batches.get_or_create(&Outcome { outcome }).inc();
        if outcome == "failed" || outcome == "unknown" {
            self.span.fail(outcome);
        }
        for trace in &self.traces {
            let mut part = Span::child_at(trace, Kind::Internal, "batch", Some(self.began_at));
            part.link(&self.span.context());
            part.set("fintech.batch.outcome", outcome);
        }
    }
}
