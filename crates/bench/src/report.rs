//! What a load came to: one structure, as JSON for machines and as a table for people.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use serde::Serialize;

use crate::{
    check::{Agreement, Ledger},
    machine::{Machine, Usage},
    recorder::{Latency, Line, Recorder},
    tally::Repeats,
};

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub machine: Machine,
    pub connections: usize,
    pub seed: u64,
    pub measured: Part,
    pub payments_per_second: f64,
    pub warmup: Part,
    /// Requests that could not be started in time, of what was measured.
    pub dropped: u64,
    pub retries: u64,
    pub repeats: Repeats,
    pub wrong_answers: u64,
    /// Why requests were not answered with success, and how often.
    pub reasons: BTreeMap<String, u64>,
    pub processes: Vec<Usage>,
    /// `None`: nothing was changed.
    pub ledger: Option<Ledger>,
    pub journal_error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    pub seconds: f64,
    pub ok_per_second: f64,
    pub kinds: Vec<Line>,
    /// Of all kinds together.
    #[serde(rename = "latencyMs")]
    pub latency: Latency,
}

impl Part {
    pub fn new(recorder: &Recorder, seconds: f64) -> Self {
        Self {
            seconds,
            ok_per_second: rate(recorder.ok(), seconds),
            kinds: recorder.lines(),
            latency: recorder.latency(),
        }
    }
}

impl Report {
    /// Whether the platform did what it acknowledged; `None`: that could not be found out.
    pub fn is_right(&self) -> Option<bool> {
        if self.wrong_answers > 0 || self.repeats.mismatches > 0 {
            return Some(false);
        }
        match self.ledger.as_ref().map(|ledger| ledger.verdict) {
            None | Some(Agreement::Agrees) => Some(true),
            Some(Agreement::Differs) => Some(false),
            Some(Agreement::CouldNotBeFoundOut) => None,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // For people.
pub fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        if !self.warmup.kinds.is_empty() {
            writeln!(
                f,
                "\nwarm-up, {:.1} s: {:.0} requests/s",
                self.warmup.seconds, self.warmup.ok_per_second
            )?;
        }
        writeln!(
            f,
            "\n{} connections, {:.1} s: {:.0} requests/s, {:.0} new payments/s",
            self.connections, self.measured.seconds, self.measured.ok_per_second, self.payments_per_second
        )?;
        lines(f, &self.measured.kinds)?;
        writeln!(
            f,
            "dropped {}, sent again {}, repeats {} ({} answered otherwise), wrong answers {}",
            self.dropped, self.retries, self.repeats.answered, self.repeats.mismatches, self.wrong_answers
        )?;
        for (reason, count) in &self.reasons {
            writeln!(f, "{count} times: {reason}")?;
        }
        writeln!(f)?;
        for Usage { role, processes, cpu_percent, memory_peak_mib } in &self.processes {
            let several = match processes.len() {
                1 => String::new(),
                count => format!(" ({count} processes)"),
            };
            writeln!(
                f,
                "{role}{several}: CPU {cpu_percent:.0} % of a core, memory at most {memory_peak_mib:.0} MiB"
            )?;
        }
        if let Some(error) = &self.journal_error {
            writeln!(f, "the journal is not whole: {error}")?;
        }
        self.ledger.as_ref().map_or(Ok(()), |ledger| write!(f, "\n{ledger}"))
    }
}

fn lines(f: &mut Formatter<'_>, lines: &[Line]) -> fmt::Result {
    writeln!(
        f,
        "{:<9} {:>9} {:>8} {:>6} {:>11} {:>7}   {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "ok", "refused", "busy", "unavailable", "failed", "p50 ms", "p90", "p99", "p99.9", "max"
    )?;
    for Line { kind, counts, latency } in lines {
        let Latency { p50, p90, p99, p999, max, mean: _ } = latency;
        writeln!(
            f,
            "{kind:<9} {:>9} {:>8} {:>6} {:>11} {:>7}   {p50:>8.2} {p90:>8.2} {p99:>8.2} {p999:>8.2} {max:>8.2}",
            counts.ok, counts.refused, counts.busy, counts.unavailable, counts.failed
        )?;
    }
    Ok(())
}

impl Display for Ledger {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { merchants, payments, differences, differences_total, unsettled, unread, .. } = self;
        let verdict = match self.verdict {
            Agreement::Agrees => "the ledger agrees".to_owned(),
            Agreement::Differs => format!("THE LEDGER DOES NOT AGREE: {differences_total} differences"),
            Agreement::CouldNotBeFoundOut => format!(
                "whether the ledger agrees could not be found out: {unsettled} changes may have been made or not, \
                 {unread} merchants could not be read"
            ),
        };
        writeln!(f, "{payments} payments of {merchants} merchants were acknowledged: {verdict}.")?;
        if let Some(reason) = &self.unread_reason {
            writeln!(f, "  {reason}")?;
        }
        for difference in differences {
            writeln!(
                f,
                "  merchant {}: {} should be {} and is {}",
                difference.merchant_id, difference.what, difference.acknowledged, difference.found
            )?;
        }
        Ok(())
    }
}
