//! Spans on their way to a collector: OTLP over HTTP, in batches, from a thread of the SDK.

use std::{
    fmt::{self, Debug},
    sync::atomic::Ordering,
    time::Duration,
};

use bytes::Bytes;
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanId, TraceId, TracerProvider as _},
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, Sampler, SdkTracerProvider,
        Span, SpanData, SpanExporter as Exporter, SpanProcessor,
    },
};
use uuid::Uuid;

use super::{PENDING, QUEUE_SPANS_MAX, Sampling, TRACING, Tracing};
use crate::metrics;

/// A request to the collector; it may be as slow as it likes, payments do not wait for it.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);
const EXPORT_SPANS_MAX: usize = 512;
/// A batch is joined to as many commands as it has.
const LINKS_MAX: u32 = 512;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the collector, without `/v1/traces`.
    pub endpoint: String,
    pub service_name: String,
    pub service_version: &'static str,
    /// Of traces that begin here.
    pub sample_ratio: f64,
    /// Also of those that callers want kept.
    pub traces_per_second_max: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("spans cannot be sent to {endpoint}: {error}")]
    Exporter { endpoint: String, error: ExporterBuildError },
    #[error("traces were begun already")]
    Twice,
}

/// Ends with [`Exporting::stop`], which sends what waits.
pub struct Exporting(SdkTracerProvider);

/// Has spans sent from now on.
pub fn start(settings: &Settings) -> Result<Exporting, StartError> {
    let url = format!("{}/v1/traces", settings.endpoint.trim_end_matches('/'));
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(EXPORT_TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .new_agent();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client(agent))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| StartError::Exporter { endpoint: settings.endpoint.clone(), error })?;
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(EXPORT_SPANS_MAX)
        .with_scheduled_delay(EXPORT_INTERVAL)
        .build();
    let processor = Bounded(BatchSpanProcessor::builder(Counted(exporter)).with_batch_config(config).build());
    let resource = Resource::builder_empty()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", settings.service_version))
        .with_attribute(KeyValue::new("service.instance.id", Uuid::now_v7().to_string()))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        // What is handed over was decided to be kept.
        .with_sampler(Sampler::AlwaysOn)
        .with_id_generator(Ids::default())
        .with_max_links_per_span(LINKS_MAX)
        .with_resource(resource)
        .build();
    let sampling = Sampling::new(settings.sample_ratio, settings.traces_per_second_max);
    let tracer = provider.tracer("fintech");
    TRACING.set(Tracing { tracer, sampling }).map_err(|_| StartError::Twice)?;
    Ok(Exporting(provider))
}

impl Exporting {
    /// Sends what waits, within this time.
    pub async fn stop(self, timeout: Duration) {
        let stopped = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(timeout)).await;
        match stopped {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not sent"),
            Err(error) => tracing::error!(%error, "sending the last spans ended by a panic"),
        }
    }
}

/// A trace's id is a UUID of version 7, so that a command can have the same.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from_bytes(*Uuid::now_v7().as_bytes())
    }

    fn new_span_id(&self) -> SpanId {
        self.0.new_span_id()
    }
}

/// Knows how many spans wait. The queue behind it has as much room, so nothing is dropped there without being counted.
#[derive(Debug)]
struct Bounded(BatchSpanProcessor);

impl SpanProcessor for Bounded {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if take_place() {
            self.0.on_end(span);
        } else {
            metrics().spans_lost.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Whether there was room for one more span.
fn take_place() -> bool {
    let more = |waiting| (waiting < QUEUE_SPANS_MAX).then_some(waiting + 1);
    PENDING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

/// Counts what was sent and what was not.
#[derive(Debug)]
struct Counted(SpanExporter);

impl Exporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        PENDING.fetch_sub(spans, Ordering::Relaxed);
        let sent = self.0.export(batch).await;
        let (exported, lost) = (&metrics().spans_exported, &metrics().spans_lost);
        if sent.is_ok() { exported } else { lost }.inc_by(spans as u64);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// Blocks the SDK's thread, which is there for that: a client of tokio's would have no reactor on it.
struct Client(ureq::Agent);

impl Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let answer = self.0.run(http::Request::from_parts(parts, body.to_vec()))?;
        let (parts, mut body) = answer.into_parts();
        let read = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(http::Response::from_parts(parts, read.into()))
    }
}

/// What a collector answers is at most a message of what it did not take.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use opentelemetry::trace::{Span as _, Tracer as _};

    use super::*;

    /// Takes nothing until it is told to.
    #[derive(Clone, Debug, Default)]
    struct Stalled(Arc<(Mutex<bool>, Condvar)>);

    impl Exporter for Stalled {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let (may_go_on, changed) = &*self.0;
            let guard = changed.wait_while(may_go_on.lock().unwrap(), |may_go_on| !*may_go_on);
            drop(guard.unwrap());
            PENDING.fetch_sub(batch.len(), Ordering::Relaxed);
            Ok(())
        }
    }

    /// A burst is cut, counted, and forgotten: traces are kept again when the collector is back.
    #[test]
    fn what_is_too_much_is_lost_and_counted_and_leaves_no_trace() {
        let _alone = super::super::ALONE.lock().unwrap();
        let exporter = Stalled::default();
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE_SPANS_MAX).build();
        let processor =
            Bounded(BatchSpanProcessor::builder(exporter.clone()).with_batch_config(config).build());
        let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
        let tracer = provider.tracer("test");
        let lost_before = metrics().spans_lost.get();
        let burst = 2 * QUEUE_SPANS_MAX;
        for _ in 0..burst {
            tracer.start("burst").end();
        }
        assert_eq!(PENDING.load(Ordering::Relaxed), QUEUE_SPANS_MAX);
        let lost = metrics().spans_lost.get() - lost_before;
        assert_eq!(lost, (burst - QUEUE_SPANS_MAX) as u64);
        let (may_go_on, changed) = &*exporter.0;
        *may_go_on.lock().unwrap() = true;
        changed.notify_all();
        provider.shutdown().unwrap();
        assert_eq!(PENDING.load(Ordering::Relaxed), 0);
    }
}
