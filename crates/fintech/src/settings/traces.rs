//! Where traces go, and which.

use anyhow::bail;
use telemetry::trace;

use super::{
    Layers,
    table::{OTLP_ENDPOINT, TRACE_URL, TRACES_KEPT_PERCENT},
};

/// `None`: nobody wants spans.
pub fn settings(layers: &Layers) -> anyhow::Result<Option<trace::Settings>> {
    let Some(endpoint) = layers.optional_text(OTLP_ENDPOINT) else { return Ok(None) };
    if endpoint.starts_with("https://") {
        bail!(
            "{OTLP_ENDPOINT} must be http://…: spans are sent in clear, to a collector on this machine or in this network, \
             which may send them on encrypted"
        );
    }
    let rest = endpoint.strip_prefix("http://");
    if rest.is_none_or(|rest| rest.is_empty() || rest.contains(['@', '?', '#', ' '])) {
        bail!(
            "{OTLP_ENDPOINT} must be the address of a collector for OTLP over HTTP, such as http://localhost:4318, \
             without a user or a query"
        );
    }
    let percent = u32::try_from(layers.integer(TRACES_KEPT_PERCENT)).unwrap_or(100);
    Ok(Some(trace::Settings {
        endpoint,
        service_name: layers.text("Telemetry:ServiceName"),
        service_version: env!("CARGO_PKG_VERSION"),
        sample_ratio: f64::from(percent) / 100.0,
        traces_per_second_max: u32::try_from(layers.integer("Telemetry:TracesPerSecondMax"))
            .unwrap_or(u32::MAX),
    }))
}

/// Where the console links to for a trace.
pub fn url(layers: &Layers) -> anyhow::Result<Option<String>> {
    let Some(url) = layers.optional_text(TRACE_URL) else { return Ok(None) };
    if !(url.starts_with("http://") || url.starts_with("https://")) || !url.contains(console::TRACE_ID) {
        bail!(
            "{TRACE_URL} must begin with http:// or https:// and have {} where the trace's id belongs",
            console::TRACE_ID
        );
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::sources;

    fn of(variables: &[(&str, &str)]) -> anyhow::Result<Option<trace::Settings>> {
        let mut layers = Layers::defaults();
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        layers.add(sources::environment(variables)?)?;
        settings(&layers)
    }

    #[test]
    fn spans_go_nowhere_unless_somebody_says_where_to() {
        assert!(of(&[]).unwrap().is_none());
        let endpoint = ("Telemetry__OtlpEndpoint", "http://localhost:4318");
        let found = of(&[endpoint, ("Telemetry__TracesKeptPercent", "25")]).unwrap().unwrap();
        assert!((found.sample_ratio - 0.25).abs() < 1e-9);
        assert_eq!((found.service_name.as_str(), found.traces_per_second_max), ("fintech", 100));
    }

    #[test]
    fn what_is_no_address_of_a_collector_is_told() {
        for wrong in [
            "localhost:4318",
            "http://",
            "grpc://localhost:4317",
            "http://user:pass@localhost:4318",
            "https://localhost:4318",
        ] {
            let error = of(&[("Telemetry__OtlpEndpoint", wrong)]).unwrap_err().to_string();
            assert!(error.contains("Telemetry:OtlpEndpoint") && !error.contains("pass@"), "{error}");
        }
    }

    #[test]
    fn a_page_for_traces_has_a_place_for_their_ids() {
        let of = |value: &str| {
            let mut layers = Layers::defaults();
            let variables = std::iter::once(("Telemetry__TraceUrl".into(), value.into()));
            layers.add(sources::environment(variables)?)?;
            url(&layers)
        };
        let jaeger = "http://localhost:16686/trace/{traceId}";
        assert_eq!(of(jaeger).unwrap().as_deref(), Some(jaeger));
        for wrong in ["javascript:alert('{traceId}')", "http://localhost:16686/trace"] {
            assert!(of(wrong).unwrap_err().to_string().contains("Telemetry:TraceUrl"), "{wrong}");
        }
    }
}
