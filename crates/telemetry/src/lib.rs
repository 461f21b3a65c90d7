//! Metrics: every name in one place ([`names`]), their values in a [`Registry`], and the text that Prometheus reads
//! (exposition format 0.0.4).
//!
//! The values of labels are constants of the program, so their number is limited by its text.

pub mod names;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use names::{Kind, Metric};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The values of one process.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    values: Arc<Mutex<Values>>,
}

/// By the name of the metric and the value of its label.
type Values = BTreeMap<(&'static str, &'static str), f64>;

impl Registry {
    /// Of a metric without a label.
    pub fn set(&self, metric: &Metric, value: f64) {
        self.set_of(metric, "", value);
    }

    pub fn set_of(&self, metric: &Metric, label: &'static str, value: f64) {
        self.values().insert((metric.name, label), value);
    }

    /// Of a metric without a label.
    pub fn add(&self, metric: &Metric, value: f64) {
        self.add_of(metric, "", value);
    }

    pub fn add_of(&self, metric: &Metric, label: &'static str, value: f64) {
        *self.values().entry((metric.name, label)).or_default() += value;
    }

    /// All that has a value, in the order of [`names::ALL`].
    pub fn render(&self) -> String {
        let values = self.values();
        let mut text = String::new();
        for Metric { name, kind, label, help } in names::ALL {
            let own = values.iter().filter(|((of, _), _)| of == name);
            for (number, ((_, label_value), value)) in own.enumerate() {
                if number == 0 {
                    // Writing to a text does not fail.
                    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
                }
                let _ = match label {
                    Some(label) => writeln!(text, "{name}{{{label}=\"{label_value}\"}} {value}"),
                    None => writeln!(text, "{name} {value}"),
                };
            }
        }
        text
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_value_is_shown_with_its_help_and_type() {
        let registry = Registry::default();
        assert_eq!(registry.render(), "");
        registry.add_of(&names::RECONCILIATION_RUNS, "clean", 1.0);
        registry.add_of(&names::RECONCILIATION_RUNS, "clean", 1.0);
        registry.set(&names::RECONCILIATION_LAST_RUN, 1_700_000_000.5);
        let text = registry.render();
        assert!(text.contains("# TYPE fintech_reconciliation_runs_total counter\n"), "{text}");
        assert!(text.contains("\nfintech_reconciliation_runs_total{outcome=\"clean\"} 2\n"), "{text}");
        assert!(
            text.ends_with("\nfintech_reconciliation_last_run_timestamp_seconds 1700000000.5\n"),
            "{text}"
        );
    }

    /// What Prometheus takes: names of letters, digits and underscores, counters that end in `_total`, each once.
    #[test]
    fn names_are_those_that_prometheus_expects() {
        let mut seen = std::collections::BTreeSet::new();
        for Metric { name, kind, label, help } in names::ALL {
            for word in [Some(*name), *label].into_iter().flatten() {
                assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{word}");
            }
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(name.starts_with("fintech_") && !help.contains(['\n', '\\']), "{name}");
            assert!(seen.insert(name), "{name} twice");
        }
    }
}
