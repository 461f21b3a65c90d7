//! What was seen, for people.

use std::fmt::Write as _;

use crate::{Fault, queries::Answer, stack::Stack, witness::Witness};

const BOARDS: &str = "deploy/grafana/dashboards/";

/// Into the file of `FINTECH_WATCHED_REPORT`, and the alerts onto standard output.
pub fn write(faults: &[Fault], witness: &Witness, stack: &Stack, answers: &[Answer]) {
    let alerts = alerts(faults, stack);
    let (payments, late) = witness.seen();
    println!("{alerts}\n{late} of a customer's {payments} payments were late or not made");
    if let Some(path) = std::env::var_os("FINTECH_WATCHED_REPORT") {
        std::fs::write(path, format!("{alerts}\n{}", panels(answers))).unwrap();
    }
}

fn alerts(faults: &[Fault], stack: &Stack) -> String {
    let fired = stack.fired();
    let mut text = String::from(
        "| what was done | alert | who is told | fired after | at the latest |\n|---|---|---|---|---|\n",
    );
    for fault in faults {
        for (alert, within) in &fault.alerts {
            let after = fired[alert] - fault.begun;
            let (what, name, severity, within) = (fault.what, &alert.name, &alert.severity, within.as_secs());
            writeln!(text, "| {what} | {name} | {severity} | {after:.0} s | {within} s |").unwrap();
        }
    }
    text
}

/// What the panels of the dashboards showed, from the least to the greatest value of the run.
fn panels(answers: &[Answer]) -> String {
    let mut text = String::from("| dashboard | panel | lines | least | greatest |\n|---|---|---|---|---|\n");
    for answer in answers {
        let Some(panel) = answer.from.strip_prefix(BOARDS) else { continue };
        let (board, title) = panel.split_once(".json: ").unwrap();
        let Answer { series, least, greatest, .. } = answer;
        writeln!(text, "| {board} | {title} | {series} | {} | {} |", shown(*least), shown(*greatest))
            .unwrap();
    }
    text
}

fn shown(value: f64) -> String {
    let digits = if value.fract().abs() < f64::EPSILON { 0 } else { 4 };
    format!("{value:.digits$}")
}
