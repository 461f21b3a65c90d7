//! Everything that dashboards, rules and runbooks ask, asked of the Prometheus that has seen it all.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::stack::{Stack, run};

/// What Grafana would take with a scrape a second.
const RATE_INTERVAL: &str = "10s";
/// Where alerts are: whose query gives nothing is the rule, and what fires is judged by name.
const RULES: &str = "deploy/prometheus/rules/";
/// How the names of metrics begin.
const PREFIXES: [&str; 9] =
    ["fintech_", "process_", "tokio_", "slo:", "kafka_", "dlq_", "payment_", "payments_", "up"];

pub struct Answer {
    pub from: String,
    pub series: usize,
    pub least: f64,
    pub greatest: f64,
}

/// Asks everything; each query is understood and names nothing unknown, and all but alerts have data.
#[track_caller]
pub fn all(stack: &Stack) -> Vec<Answer> {
    let known = stack.metrics();
    let printed = run("scripts/dashboard-queries", &["--rate-interval", RATE_INTERVAL]);
    let (mut answers, mut empty, mut unknown) = (Vec::new(), Vec::new(), BTreeSet::new());
    for line in printed.lines() {
        let query: Value = serde_json::from_str(line).unwrap();
        let text = |member: &str| query[member].as_str().unwrap().to_owned();
        let (from, expr) = (text("from"), text("expr"));
        unknown
            .extend(names(&expr).filter(|name| !known.contains(name)).map(|name| format!("{from}: {name}")));
        let found = stack.ever(&expr);
        let values = || found.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
        let is_alert = from.starts_with(RULES) && !from.contains(": slo:");
        if found.is_empty() && !is_alert {
            empty.push(format!("{from}: {expr}"));
        }
        answers.push(Answer {
            from,
            series: found.len(),
            least: values().fold(f64::INFINITY, f64::min),
            greatest: values().fold(f64::NEG_INFINITY, f64::max),
        });
    }
    assert!(unknown.is_empty(), "metrics that nobody has: {unknown:#?}");
    assert!(empty.is_empty(), "queries without data: {empty:#?}");
    assert!(answers.len() > 200, "{}", answers.len());
    answers
}

/// The metrics that an expression names.
fn names(expr: &str) -> impl Iterator<Item = String> {
    let mut is_text = false;
    // What stands between quotes is the value of a label.
    let bare: String = expr
        .chars()
        .map(|char| {
            is_text ^= char == '"';
            if is_text { ' ' } else { char }
        })
        .collect();
    let words = bare.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_' || char == ':'));
    let names = words.filter(|word| {
        PREFIXES.iter().any(|prefix| word.starts_with(prefix) && (*prefix != "up" || *word == "up"))
    });
    names.map(str::to_owned).collect::<Vec<_>>().into_iter()
}
