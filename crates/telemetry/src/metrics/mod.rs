//! Metrics: declared in [`catalogue`], kept here, and written as Prometheus reads them (OpenMetrics 1.0).
//!
//! The values of labels are constants of the program or numbers with a limit, so how many series there are is limited by its
//! text: ten thousand merchants make none.

mod catalogue;
mod labels;
mod page;
mod process;
mod tasks;

use std::{
    fmt::Debug,
    sync::{Arc, LazyLock, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text},
    metrics::{
        MetricType, counter::Counter as PlainCounter, exemplar::HistogramWithExemplars, family::Family,
        gauge::Gauge as PlainGauge, histogram::Histogram as PlainHistogram,
    },
    registry::{Registry, Unit},
};

pub use self::{
    catalogue::{ALL, Metrics},
    labels::*,
    page::page,
    process::{PROCESS, RUNTIME},
    tasks::TASKS,
};

/// OpenMetrics, which Prometheus asks for by itself.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a tenth of a millisecond, what a commit takes, to ten seconds, at which callers have given up.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Of batches: from one to more than any has.
const SIZES: [f64; 14] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Those of this process.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

/// What there is to know of a metric without its value.
#[derive(Debug)]
pub struct Metric {
    pub group: &'static str,
    /// Without its unit, and without `_total`.
    pub name: &'static str,
    pub unit: Option<&'static str>,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, but for a restart.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Metric {
    /// As dashboards and rules name it; of a histogram there are `_bucket`, `_sum` and `_count`.
    pub fn full_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name)
    }
}

/// The names of a set of labels.
pub trait Labels: Clone + Debug + std::hash::Hash + Eq + EncodeLabelSet + Send + Sync + 'static {
    const NAMES: &'static [&'static str];
}

/// What is declared of a metric by its type.
trait Declared {
    const KIND: Kind;
    const LABELS: &'static [&'static str];
}

macro_rules! declared {
    ($($name:ty => $kind:ident;)*) => {$(
        impl Declared for $name {
            const KIND: Kind = Kind::$kind;
            const LABELS: &'static [&'static str] = &[];
        }
    )*};
}

declared! {
    Counter => Counter;
    Gauge => Gauge;
    LateGauge => Gauge;
    Moment => Gauge;
    Durations => Histogram;
    Sizes => Histogram;
}

pub type Counter = PlainCounter;
pub type Gauge = PlainGauge;
/// Seconds since 1970, or a length in seconds.
pub type Moment = PlainGauge<f64, AtomicU64>;
pub type Counters<L> = Family<L, Counter>;
pub type Gauges<L> = Family<L, Gauge>;
pub type Moments<L> = Family<L, Moment>;

impl<L: Labels> Declared for Counters<L> {
    const KIND: Kind = Kind::Counter;
    const LABELS: &'static [&'static str] = L::NAMES;
}

impl<L: Labels> Declared for Gauges<L> {
    const KIND: Kind = Kind::Gauge;
    const LABELS: &'static [&'static str] = L::NAMES;
}

impl<L: Labels> Declared for Moments<L> {
    const KIND: Kind = Kind::Gauge;
    const LABELS: &'static [&'static str] = L::NAMES;
}

impl<L: Labels> Declared for DurationsOf<L> {
    const KIND: Kind = Kind::Histogram;
    const LABELS: &'static [&'static str] = L::NAMES;
}

/// A gauge that is not shown until it has a value: of what some processes do not have, zero would be a claim.
#[derive(Clone, Debug, Default)]
pub struct LateGauge(Arc<OnceLock<Gauge>>);

impl LateGauge {
    pub fn set(&self, value: i64) {
        self.0.get_or_init(Gauge::default).set(value);
    }
}

impl EncodeMetric for LateGauge {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.get().map_or(Ok(()), |gauge| gauge.encode(encoder))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// What joins a value of a histogram to a trace.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Exemplar {
    pub trace_id: String,
}

/// How long things took.
#[derive(Clone, Debug)]
pub struct Durations(PlainHistogram);

impl Default for Durations {
    fn default() -> Self {
        Self(PlainHistogram::new(SECONDS))
    }
}

impl Durations {
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }

    fn encoded(&self) -> PlainHistogram {
        self.0.clone()
    }
}

/// How large things were.
#[derive(Clone, Debug)]
pub struct Sizes(PlainHistogram);

impl Default for Sizes {
    fn default() -> Self {
        Self(PlainHistogram::new(SIZES))
    }
}

impl Sizes {
    /// Exact up to 2^53.
    #[allow(clippy::cast_precision_loss)]
    pub fn observe(&self, size: usize) {
        self.0.observe(size as f64);
    }

    fn encoded(&self) -> PlainHistogram {
        self.0.clone()
    }
}

type WithExemplars = HistogramWithExemplars<Exemplar>;

/// How long things took, by labels, with the trace of one of them.
#[derive(Clone, Debug)]
pub struct DurationsOf<L: Labels>(Family<L, WithExemplars>);

impl<L: Labels> Default for DurationsOf<L> {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| WithExemplars::new(SECONDS.into_iter())))
    }
}

impl<L: Labels> DurationsOf<L> {
    /// Of a trace that is kept somewhere, its id.
    pub fn observe(&self, labels: &L, duration: Duration, trace_id: Option<String>) {
        let exemplar = trace_id.map(|trace_id| Exemplar { trace_id });
        self.0.get_or_create(labels).observe(duration.as_secs_f64(), exemplar, None);
    }

    /// Has a series begin at zero.
    pub fn touch(&self, labels: &L) {
        drop(self.0.get_or_create(labels));
    }

    fn encoded(&self) -> Family<L, WithExemplars> {
        self.0.clone()
    }
}

/// What a registry takes of a metric.
trait Encoded {
    type As: prometheus_client::registry::Metric;
    fn shared(&self) -> Self::As;
}

macro_rules! encoded {
    ($([$($generic:tt)*] $name:ty => $as:ty, $shared:ident;)*) => {$(
        impl<$($generic)*> Encoded for $name {
            type As = $as;
            fn shared(&self) -> Self::As {
                self.$shared()
            }
        }
    )*};
}

encoded! {
    [] Counter => Self, clone;
    [] Gauge => Self, clone;
    [] LateGauge => Self, clone;
    [] Moment => Self, clone;
    [] Durations => PlainHistogram, encoded;
    [] Sizes => PlainHistogram, encoded;
    [L: Labels] Counters<L> => Self, clone;
    [L: Labels] Gauges<L> => Self, clone;
    [L: Labels] Moments<L> => Self, clone;
    [L: Labels] DurationsOf<L> => Family<L, WithExemplars>, encoded;
}

/// Registers one metric under its name and gives it.
fn register<M: Default + Encoded>(registry: &mut Registry, name: &str, unit: Option<&str>, help: &str) -> M {
    let metric = M::default();
    match unit {
        Some(unit) => registry.register_with_unit(name, help, Unit::Other(unit.to_owned()), metric.shared()),
        None => registry.register(name, help, metric.shared()),
    }
    metric
}

impl Metrics {
    /// What Prometheus reads.
    pub fn render(&self) -> String {
        let mut written = String::new();
        text::encode(&mut written, self.registry()).expect("writing to a text does not fail");
        written
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_has_a_value_is_written_with_its_help_type_and_unit() {
        let metrics = Metrics::new();
        metrics.reconciliation_runs.get_or_create(&Outcome { outcome: "clean" }).inc_by(2);
        metrics.reconciliation_last_run.set(1_700_000_000.5);
        let route = Route { method: "GET", route: "/api/merchants" };
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        metrics.http_request_duration.observe(&route, Duration::from_millis(3), Some(trace_id.to_owned()));
        let text = metrics.render();
        for expected in [
            "# TYPE fintech_reconciliation_runs counter\n",
            "\nfintech_reconciliation_runs_total{outcome=\"clean\"} 2\n",
            "\nfintech_reconciliation_last_run_timestamp_seconds 1700000000.5\n",
            "# UNIT fintech_http_request_duration_seconds seconds\n",
            "le=\"0.005\",method=\"GET\",route=\"/api/merchants\"} 1 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.003",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    /// Without Kafka nobody may be told that it is away.
    #[test]
    fn what_is_not_known_is_not_shown() {
        let metrics = Metrics::new();
        assert!(!metrics.render().contains("\nfintech_kafka_up "), "{}", metrics.render());
        metrics.kafka_up.set(0);
        assert!(metrics.render().contains("\nfintech_kafka_up 0\n"), "{}", metrics.render());
    }

    /// What Prometheus takes: names of letters, digits and underscores, base units, each once.
    #[test]
    fn names_are_those_that_prometheus_expects() {
        let mut seen = BTreeSet::new();
        for metric in ALL.iter().chain(PROCESS).chain(RUNTIME).chain(TASKS) {
            let name = metric.full_name();
            for word in metric.labels.iter().chain([&metric.name]) {
                assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{word}");
            }
            for not_here in ["_total", "_seconds", "_bytes", "_ms", "_milliseconds"] {
                assert!(!metric.name.ends_with(not_here), "{name}: the unit and _total are added");
            }
            assert!(!metric.help.contains(['\n', '\\']) && !metric.help.ends_with('.'), "{name}");
            assert!(seen.insert(name.clone()), "{name} twice");
        }
    }

    /// A metric that nobody registers would be declared and never shown.
    #[test]
    fn everything_that_is_declared_is_registered() {
        let text = Metrics::new().render();
        for metric in ALL.iter().filter(|metric| metric.labels.is_empty()).chain(PROCESS) {
            let unit = metric.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
            let line = format!("# TYPE {}{unit} {}\n", metric.name, metric.kind.word());
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
