//! Every metric, once.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, but for a restart.
    Counter,
    Gauge,
}

impl Kind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub label: Option<&'static str>,
    pub help: &'static str,
}

pub const RECONCILIATION_BREAKS: Metric = Metric {
    name: "fintech_reconciliation_breaks",
    kind: Kind::Gauge,
    label: Some("kind"),
    help: "Breaks that the last complete run of this process found.",
};

pub const RECONCILIATION_RUNS: Metric = Metric {
    name: "fintech_reconciliation_runs_total",
    kind: Kind::Counter,
    label: Some("outcome"),
    help: "Runs of this process: clean, broken, or failed to find out.",
};

pub const RECONCILIATION_EVENTS: Metric = Metric {
    name: "fintech_reconciliation_events_total",
    kind: Kind::Counter,
    label: None,
    help: "Events of the log, rows and records that were looked at.",
};

pub const RECONCILIATION_LAST_RUN: Metric = Metric {
    name: "fintech_reconciliation_last_run_timestamp_seconds",
    kind: Kind::Gauge,
    label: None,
    help: "When the last complete run of this process ended.",
};

pub const RECONCILIATION_DURATION: Metric = Metric {
    name: "fintech_reconciliation_last_run_duration_seconds",
    kind: Kind::Gauge,
    label: None,
    help: "How long the last complete run of this process took.",
};

/// In the order in which they are shown.
pub const ALL: &[Metric] = &[
    RECONCILIATION_BREAKS,
    RECONCILIATION_RUNS,
    RECONCILIATION_EVENTS,
    RECONCILIATION_LAST_RUN,
    RECONCILIATION_DURATION,
];
