//! What the relay and the consumers tell in metrics and traces.
//!
//! The span of a record's sending and that of its handling are parts of the trace of the request whose command made the
//! event, as the context that lies with the event says. A replay and a redrive are traces of their own, which name that one.

use std::time::Instant;

use domain::event::Stream;
use store::batch::LogEvent;
use telemetry::{
    metrics,
    metrics::{Consumer, DeadLetter, Handled, Outcome, Stream as StreamLabel},
    trace::{Kind, Span, TraceContext},
};

/// A Kafka transaction of the relay.
pub(crate) struct Publishing {
    began: Instant,
    spans: Vec<Span>,
    by_stream: [u64; 3],
    outcome: &'static str,
}

impl Publishing {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), spans: Vec::new(), by_stream: [0; 3], outcome: "failed" }
    }

    /// `topics` by the number of their stream.
    pub(crate) fn sends(&mut self, events: &[LogEvent], topics: &[String; 3]) {
        for event in events {
            let stream = event.stream.index();
            self.by_stream[stream] += 1;
            let trace = event.trace_context();
            if trace.is_sampled() && self.spans.len() < SPANS_A_TRANSACTION_MAX {
                let topic = &topics[stream];
                let mut span = Span::child(&trace, Kind::Producer, format!("send {topic}"));
                describe(&mut span, event, KAFKA, topic, "send");
                self.spans.push(span);
            }
        }
    }

    pub(crate) fn committed(mut self) {
        self.outcome = "committed";
        for (stream, count) in Stream::ALL.map(Stream::name).into_iter().zip(self.by_stream) {
            if count > 0 {
                metrics().events_published.get_or_create(&StreamLabel { stream }).inc_by(count);
            }
        }
        metrics().publish_duration.observe(self.began.elapsed());
    }
}

/// A transaction that was not committed is sent again: its spans say so.
impl Drop for Publishing {
    fn drop(&mut self) {
        metrics().publish_transactions.get_or_create(&Outcome { outcome: self.outcome }).inc();
        if self.outcome == "failed" {
            self.spans.iter_mut().for_each(|span| span.fail("the transaction was not committed"));
        }
    }
}

const KAFKA: &str = "kafka";
/// The conventions have no name for a log in a database.
const LOG: &str = "fintech";

/// What OpenTelemetry's conventions for messaging ask for.
fn describe(
    span: &mut Span,
    event: &LogEvent,
    system: &'static str,
    destination: &str,
    operation: &'static str,
) {
    span.set("messaging.system", system);
    span.set("messaging.operation.name", operation);
    span.set("messaging.operation.type", operation);
    span.set("messaging.destination.name", destination.to_owned());
    span.set("messaging.destination.partition.id", event.lane.0.to_string());
    span.set("messaging.message.id", event.event_id.to_string());
    span.set("fintech.event.type", event.event_type.clone());
    span.set("fintech.event.position", event.position);
}

/// Of one transaction; of a bulk request the first events speak for all.
const SPANS_A_TRANSACTION_MAX: usize = 256;

/// How a consumer comes to handle an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// For the first time, from the log: the event's trace goes on.
    FromLog,
    /// As that, from a topic.
    FromTopic,
    /// Once more, from the log: a trace of its own.
    Again,
}

impl How {
    const fn system(self) -> &'static str {
        match self {
            Self::FromTopic => KAFKA,
            Self::FromLog | Self::Again => LOG,
        }
    }
}

/// The spans of events that a consumer handles together. They tell of a failure unless their effects are committed.
pub(crate) struct Spans {
    spans: Vec<Span>,
    is_committed: bool,
}

impl Spans {
    pub(crate) fn begin(consumer: &'static str, events: &[LogEvent], how: How) -> Self {
        Self { spans: spans(consumer, events, how), is_committed: false }
    }

    pub(crate) fn committed(mut self) {
        self.is_committed = true;
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        if !self.is_committed {
            self.spans.iter_mut().for_each(|span| span.fail("the transaction was rolled back"));
        }
    }
}

fn spans(consumer: &'static str, events: &[LogEvent], how: How) -> Vec<Span> {
    let kept = events.iter().filter(|event| event.trace.is_some_and(|trace| trace.is_sampled()));
    let span = |event: &LogEvent| {
        let (stream, trace) = (event.stream.name(), event.trace_context());
        let name = format!("process {stream}");
        let mut span = match how {
            How::FromLog | How::FromTopic => Span::child(&trace, Kind::Consumer, name),
            How::Again => Span::linked(&[trace], Kind::Consumer, name),
        };
        describe(&mut span, event, how.system(), stream, "process");
        span.set("messaging.consumer.group.name", consumer);
        span
    };
    kept.take(SPANS_A_TRANSACTION_MAX).map(span).collect()
}

/// A consumer's transaction.
pub(crate) struct Handling {
    consumer: &'static str,
    began: Instant,
    spans: Spans,
    trace: Option<TraceContext>,
}

/// What became of a transaction's events.
#[derive(Default)]
pub(crate) struct Became {
    pub(crate) handled: usize,
    pub(crate) dead: usize,
    pub(crate) parked: usize,
    pub(crate) foreign: usize,
}

impl Handling {
    pub(crate) fn begin(consumer: &'static str, events: &[LogEvent], how: How) -> Self {
        let spans = Spans::begin(consumer, events, how);
        let trace = spans.spans.first().filter(|span| span.is_kept()).map(Span::context);
        Self { consumer, began: Instant::now(), spans, trace }
    }

    pub(crate) fn committed(mut self, became: &Became) {
        let (metrics, consumer) = (metrics(), self.consumer);
        let Became { handled, dead, parked, foreign } = *became;
        for (outcome, count) in
            [("handled", handled), ("dead", dead), ("parked", parked), ("foreign", foreign)]
        {
            if count > 0 {
                metrics.consumer_events.get_or_create(&Handled { consumer, outcome }).inc_by(count as u64);
            }
        }
        for (kind, count) in [("poison", dead), ("parked", parked), ("foreign", foreign)] {
            if count > 0 {
                metrics.dead_letters.get_or_create(&DeadLetter { consumer, kind }).inc_by(count as u64);
                metrics.dlq_messages.get_or_create(&Consumer { consumer }).inc_by(count as u64);
            }
        }
        let trace_id = self.trace.map(|trace| trace.trace_id_text());
        metrics.consumer_duration.observe(&Consumer { consumer }, self.began.elapsed(), trace_id);
        if dead > 0 {
            self.spans.spans.iter_mut().for_each(|span| span.fail("the event became a dead letter"));
        }
        self.spans.committed();
    }
}

/// An event whose handling failed.
pub(crate) fn retried(consumer: &'static str) {
    metrics().consumer_events.get_or_create(&Handled { consumer, outcome: "retried" }).inc();
}
