//! A collector that takes traces by OTLP over HTTP, as OpenTelemetry's own does: it reads what it is sent with
//! OpenTelemetry's own messages, and keeps it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;

use super::{eventually, listener::listen};

/// Listens until the test's process ends.
pub struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Kept>>>,
    is_slow: Arc<AtomicBool>,
}

/// A span as it was sent.
#[derive(Clone, Debug)]
pub struct Kept {
    pub service: String,
    pub trace_id: String,
    pub id: String,
    pub parent_id: String,
    pub name: String,
    pub kind: i32,
    pub is_failed: bool,
    pub attributes: BTreeMap<String, String>,
    /// The traces that it is joined to.
    pub links: Vec<String>,
    pub nanos: u64,
}

impl Collector {
    pub fn start() -> Self {
        let (spans, is_slow): (Arc<Mutex<Vec<Kept>>>, _) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (taken, is_stalled) = (Arc::clone(&spans), Arc::clone(&is_slow));
        let url = listen("application/x-protobuf", move |first, body| {
            assert!(first.starts_with("POST /v1/traces "), "{first}");
            while is_stalled.load(Ordering::SeqCst) {
                thread::park();
            }
            let request = ExportTraceServiceRequest::decode(body).expect("spans as OTLP has them");
            taken.lock().unwrap_or_else(PoisonError::into_inner).extend(kept(request));
        });
        Self { url, spans, is_slow }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on it takes connections and answers nothing.
    pub fn stall(&self) {
        self.is_slow.store(true, Ordering::SeqCst);
    }

    pub fn spans(&self) -> Vec<Kept> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first span that is so, once it is there.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_it: impl Fn(&Kept) -> bool) -> Kept {
        eventually(what, || self.spans().into_iter().find(|span| is_it(span)))
    }
}

fn kept(request: ExportTraceServiceRequest) -> Vec<Kept> {
    let mut found = Vec::new();
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.map(|resource| texts(resource.attributes)).unwrap_or_default();
        let service = resource.get("service.name").cloned().unwrap_or_default();
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            found.push(of(&service, span));
        }
    }
    found
}

fn of(service: &str, span: Span) -> Kept {
    Kept {
        service: service.to_owned(),
        trace_id: hex::encode(&span.trace_id),
        id: hex::encode(&span.span_id),
        parent_id: hex::encode(&span.parent_span_id),
        name: span.name,
        kind: span.kind,
        is_failed: span.status.is_some_and(|status| status.code == 2),
        attributes: texts(span.attributes),
        links: span.links.iter().map(|link| hex::encode(&link.trace_id)).collect(),
        nanos: span.end_time_unix_nano - span.start_time_unix_nano,
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(value) => value.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: &KeyValue| pair.value.clone().and_then(|value| value.value);
    attributes.iter().filter_map(|pair| Some((pair.key.clone(), text(value(pair)?)))).collect()
}
