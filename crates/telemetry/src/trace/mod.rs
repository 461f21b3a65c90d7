//! Traces: where the time of one request went, from its first byte to what its events did.
//!
//! What a trace is part of is decided once, where a request comes in: a caller's `traceparent` is continued, and anything
//! else begins a trace. Whether its spans are kept is decided there, too, and carried along in the context, through the log
//! and through Kafka. A span of a trace that is not kept costs nothing but a copy of its context.
//!
//! Spans are handed to OpenTelemetry's SDK, which sends them by OTLP over HTTP from a thread of its own. While the collector
//! is slow or away, no new trace is kept, and payments do not notice.

mod context;
mod export;
mod scope;

use std::{
    borrow::Cow,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
        TraceFlags, TraceId, TraceState,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};
use uuid::Uuid;

pub use self::{
    context::TraceContext,
    export::{Exporting, Settings, StartError, start},
    scope::{Scope, command_id, current, within, within_sync},
};
use crate::metrics;

/// Spans that wait for the collector; more are lost, and counted. Half of it is left to traces that are being kept already.
const QUEUE_SPANS_MAX: usize = 8192;

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// Spans that have ended and that no export has taken.
static PENDING: AtomicUsize = AtomicUsize::new(0);

/// What decides which traces are kept, and takes their spans.
struct Tracing {
    tracer: SdkTracer,
    sampling: Sampling,
}

/// Each trace with a probability, and not more than so many a second.
struct Sampling {
    /// Of 2^32.
    below: u64,
    per_second_max: u32,
    /// The second in the upper half, the traces that were kept in it in the lower.
    kept: AtomicU64,
}

impl Sampling {
    fn new(ratio: f64, per_second_max: u32) -> Self {
        // Exact enough: a ratio has a few digits.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let below = (ratio.clamp(0.0, 1.0) * (1_u64 << 32) as f64) as u64;
        Self { below, per_second_max, kept: AtomicU64::new(0) }
    }

    /// Decided by the trace alone, but for the limit.
    fn takes(&self, trace_id: Uuid, now: SystemTime) -> bool {
        let (_, random) = trace_id.as_u64_pair();
        // What is before counts up within a millisecond.
        random & 0xffff_ffff < self.below && self.has_room(now)
    }

    fn has_room(&self, now: SystemTime) -> bool {
        if PENDING.load(Ordering::Relaxed) > QUEUE_SPANS_MAX / 2 {
            metrics().traces_not_kept.inc();
            return false;
        }
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let counted = self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| {
            let count = if kept >> 32 == second & 0xffff_ffff { kept & 0xffff_ffff } else { 0 };
            (count < u64::from(self.per_second_max)).then_some(second << 32 | (count + 1))
        });
        counted.is_ok()
    }
}

/// What a span is to its trace, as OpenTelemetry has it.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Server,
    Internal,
    Client,
    Producer,
    Consumer,
}

impl Kind {
    const fn of_sdk(self) -> SpanKind {
        match self {
            Self::Server => SpanKind::Server,
            Self::Internal => SpanKind::Internal,
            Self::Client => SpanKind::Client,
            Self::Producer => SpanKind::Producer,
            Self::Consumer => SpanKind::Consumer,
        }
    }
}

/// A part of a trace, from its making to its end, which is when it is dropped.
#[derive(Debug)]
pub struct Span {
    context: TraceContext,
    /// Began here: no caller's trace is continued.
    is_root: bool,
    kept: Option<Box<SdkSpan>>,
}

impl Span {
    /// Of a request that comes in, with its `traceparent`.
    pub fn server(traceparent: Option<&str>, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        let parent = traceparent.and_then(TraceContext::parse);
        let tracing = TRACING.get();
        if let Some(parent) = parent {
            let is_kept =
                parent.is_sampled() && tracing.is_some_and(|it| it.sampling.has_room(SystemTime::now()));
            if let Some(tracing) = tracing.filter(|_| is_kept) {
                let builder = SpanBuilder::from_name(name()).with_kind(SpanKind::Server);
                return Self::kept(tracing, builder, Some(&parent), false);
            }
            // The caller's spans are kept where the caller has them. Without a collector here another process may have one for
            // what comes of it; what is above the limit is kept nowhere.
            let context = if tracing.is_some() { parent.not_sampled() } else { parent };
            return Self { context, is_root: false, kept: None };
        }
        let trace_id = Uuid::now_v7();
        match tracing.filter(|tracing| tracing.sampling.takes(trace_id, SystemTime::now())) {
            Some(tracing) => {
                let builder = SpanBuilder::from_name(name()).with_kind(SpanKind::Server);
                Self::kept(tracing, builder, None, true)
            }
            None => Self { context: unkept(trace_id), is_root: true, kept: None },
        }
    }

    /// Within a span of this process or of another.
    pub fn child(parent: &TraceContext, kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        Self::child_at(parent, kind, name, None)
    }

    /// Which began at this moment.
    pub fn child_at(
        parent: &TraceContext,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
        began: Option<SystemTime>,
    ) -> Self {
        match TRACING.get().filter(|_| parent.is_sampled()) {
            Some(tracing) => {
                let mut builder = SpanBuilder::from_name(name).with_kind(kind.of_sdk());
                builder.start_time = began;
                Self::kept(tracing, builder, Some(parent), false)
            }
            None => Self { context: *parent, is_root: false, kept: None },
        }
    }

    /// Of a trace of its own that has come of others: of many, as a batch has, or of an earlier one, as a redrive has. It is
    /// kept when one of them is.
    pub fn linked(links: &[TraceContext], kind: Kind, name: impl Into<Cow<'static, str>>) -> Self {
        let kept: Vec<Link> = links.iter().filter(|link| link.is_sampled()).map(link).collect();
        match TRACING.get().filter(|_| !kept.is_empty()) {
            Some(tracing) => {
                let builder = SpanBuilder::from_name(name).with_kind(kind.of_sdk()).with_links(kept);
                Self::kept(tracing, builder, None, true)
            }
            None => Self { context: unkept(Uuid::now_v7()), is_root: true, kept: None },
        }
    }

    fn kept(tracing: &Tracing, builder: SpanBuilder, parent: Option<&TraceContext>, is_root: bool) -> Self {
        let parent = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(span_context(parent))
        });
        let span = builder.start_with_context(&tracing.tracer, &parent);
        let context = span.span_context();
        let context = TraceContext::new(context.trace_id().to_bytes(), context.span_id().to_bytes(), true);
        match context {
            Some(context) => Self { context, is_root, kept: Some(Box::new(span)) },
            // The program ends, and takes no more spans.
            None => Self { context: unkept(Uuid::now_v7()), is_root, kept: None },
        }
    }

    pub const fn context(&self) -> TraceContext {
        self.context
    }

    /// The trace's id where the trace began with this span.
    pub fn root(&self) -> Option<Uuid> {
        self.is_root.then(|| Uuid::from_bytes(self.context.trace_id()))
    }

    /// Whether setting anything is worth the work.
    pub const fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.kept {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// What it came of, beside what it is a part of.
    pub fn link(&mut self, to: &TraceContext) {
        if let Some(span) = self.kept.as_mut().filter(|_| to.is_sampled()) {
            span.add_link(span_context(to), Vec::new());
        }
    }

    pub fn fail(&mut self, reason: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.kept {
            span.set_status(Status::error(reason));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(span) = &mut self.kept {
            span.end();
        }
    }
}

/// A context without a span: the trace is only a name that log lines share.
fn unkept(trace_id: Uuid) -> TraceContext {
    let bytes = *trace_id.as_bytes();
    let span_id = bytes.last_chunk().expect("sixteen bytes end in eight");
    TraceContext::new(bytes, *span_id, false).expect("a UUID has its version and its variant")
}

fn span_context(context: &TraceContext) -> SpanContext {
    let flags = if context.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace_id, span_id) =
        (TraceId::from_bytes(context.trace_id()), SpanId::from_bytes(context.span_id()));
    SpanContext::new(trace_id, span_id, flags, true, TraceState::default())
}

fn link(context: &TraceContext) -> Link {
    Link::new(span_context(context), Vec::new(), 0)
}

/// Tests of what waits for the collector, which is one number a process.
#[cfg(test)]
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_share_of_the_traces_is_kept_and_not_more_than_so_many_a_second() {
        let _alone = ALONE.lock().unwrap();
        let now = UNIX_EPOCH + Duration::from_hours(500_000);
        let half = Sampling::new(0.5, u32::MAX);
        let kept = (0..4_000).filter(|_| half.takes(Uuid::now_v7(), now)).count();
        assert!((1_700..2_300).contains(&kept), "{kept}");
        let (all, none) = (Sampling::new(1.0, 10), Sampling::new(0.0, 10));
        assert_eq!((0..100).filter(|_| all.takes(Uuid::now_v7(), now)).count(), 10);
        assert!(all.takes(Uuid::now_v7(), now + Duration::from_secs(1)));
        assert!(!none.takes(Uuid::now_v7(), now));
    }

    #[test]
    fn without_a_collector_a_trace_is_a_name_that_is_carried_on() {
        let root = Span::server(None, || unreachable!("nobody sees the name"));
        assert_eq!(root.root().map(|id| *id.as_bytes()), Some(root.context().trace_id()));
        assert_eq!(root.root().unwrap().get_version_num(), 7);
        let child = Span::child(&root.context(), Kind::Internal, "child");
        assert_eq!((child.context(), child.root()), (root.context(), None));
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let continued = Span::server(Some(sent), || unreachable!("nobody sees the name"));
        assert_eq!((continued.context().to_string().as_str(), continued.root()), (sent, None));
    }
}
