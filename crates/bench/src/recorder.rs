//! Latencies and counts, by what was asked for.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{connection::Verdict, mix::Kind};

/// A latency beyond it counts as it.
const LATENCY_MAX: Duration = Duration::from_mins(10);
/// Three digits: a latency is exact to a thousandth of itself.
const DIGITS: u8 = 3;

#[derive(Debug, Default)]
pub struct Recorder {
    kinds: BTreeMap<Kind, Recorded>,
}

#[derive(Debug)]
struct Recorded {
    counts: Counts,
    /// Of what was answered with success, in microseconds.
    latency: Histogram<u64>,
}

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub ok: u64,
    /// By the platform's rules.
    pub refused: u64,
    /// Too much was waiting.
    pub busy: u64,
    /// The platform says that it cannot, or does not know whether it has.
    pub unavailable: u64,
    /// No answer.
    pub failed: u64,
}

impl Counts {
    fn add(&mut self, verdict: Verdict, is_answered: bool) {
        let count = match verdict {
            Verdict::Ok => &mut self.ok,
            Verdict::Refused => &mut self.refused,
            Verdict::Busy => &mut self.busy,
            Verdict::Unavailable => &mut self.unavailable,
            Verdict::Unknown if is_answered => &mut self.unavailable,
            Verdict::Unknown | Verdict::Unsent => &mut self.failed,
        };
        *count += 1;
    }
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub mean: f64,
}

/// A kind's line in the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub kind: &'static str,
    #[serde(flatten)]
    pub counts: Counts,
    #[serde(rename = "latencyMs")]
    pub latency: Latency,
}

impl Recorder {
    pub fn add(&mut self, kind: Kind, verdict: Verdict, is_answered: bool, latency: Duration) {
        let recorded = self.kinds.entry(kind).or_insert_with(Recorded::new);
        recorded.counts.add(verdict, is_answered);
        if verdict == Verdict::Ok {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            recorded.latency.saturating_record(micros.max(1));
        }
    }

    pub fn ok(&self) -> u64 {
        self.kinds.values().map(|recorded| recorded.counts.ok).sum()
    }

    pub fn ok_of(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind).map_or(0, |recorded| recorded.counts.ok)
    }

    pub fn not_ok(&self) -> u64 {
        let all = |Counts { ok: _, refused, busy, unavailable, failed }: Counts| {
            refused + busy + unavailable + failed
        };
        self.kinds.values().map(|recorded| all(recorded.counts)).sum()
    }

    /// A line a kind, and one for all together when there are several.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> =
            self.kinds.iter().map(|(kind, recorded)| recorded.line(kind.name())).collect();
        if lines.len() > 1 {
            lines.push(self.total().line("all"));
        }
        lines
    }

    /// Of all kinds together.
    pub fn latency(&self) -> Latency {
        self.total().line("all").latency
    }

    fn total(&self) -> Recorded {
        let mut total = Recorded::new();
        for recorded in self.kinds.values() {
            let Counts { ok, refused, busy, unavailable, failed } = recorded.counts;
            total.counts.ok += ok;
            total.counts.refused += refused;
            total.counts.busy += busy;
            total.counts.unavailable += unavailable;
            total.counts.failed += failed;
            total.latency.add(&recorded.latency).expect("all histograms have the same bounds");
        }
        total
    }
}

/// Of microseconds, up to [`LATENCY_MAX`].
pub fn histogram() -> Histogram<u64> {
    let micros_max = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
    Histogram::new_with_max(micros_max, DIGITS).expect("the bounds of the histogram are constants")
}

impl Recorded {
    fn new() -> Self {
        Self { counts: Counts::default(), latency: histogram() }
    }

    fn line(&self, kind: &'static str) -> Line {
        let milliseconds = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1000.0;
        let at = |quantile| milliseconds(self.latency.value_at_quantile(quantile));
        let latency = Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(self.latency.max()),
            mean: self.latency.mean() / 1000.0,
        };
        Line { kind, counts: self.counts, latency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_of_successes_and_counts_of_all() {
        let mut recorder = Recorder::default();
        for millisecond in 1..=100 {
            recorder.add(Kind::Create, Verdict::Ok, true, Duration::from_millis(millisecond));
        }
        recorder.add(Kind::Create, Verdict::Busy, true, Duration::from_secs(9));
        recorder.add(Kind::Create, Verdict::Unknown, true, Duration::from_secs(9));
        recorder.add(Kind::Create, Verdict::Unknown, false, Duration::from_secs(9));
        let lines = recorder.lines();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line.counts, Counts { ok: 100, refused: 0, busy: 1, unavailable: 1, failed: 1 });
        assert!((line.latency.p50 - 50.0).abs() < 0.1, "{line:?}");
        assert!((line.latency.p99 - 99.0).abs() < 0.1, "{line:?}");
        assert!((line.latency.max - 100.0).abs() < 0.2, "{line:?}");
    }

    /// A histogram whose bounds nobody gave would hold each of these for 2 µs.
    #[test]
    fn a_latency_beyond_milliseconds_is_kept_as_it_is() {
        let mut latency = histogram();
        for micros in [5_000, 8_000, 40_000, 599_000_000] {
            latency.saturating_record(micros);
        }
        assert!(latency.value_at_quantile(0.5).abs_diff(8_000) < 10);
        assert!(latency.max().abs_diff(599_000_000) < 600_000);
    }

    #[test]
    fn all_kinds_together_have_a_line_of_their_own() {
        let mut recorder = Recorder::default();
        recorder.add(Kind::Create, Verdict::Ok, true, Duration::from_millis(1));
        recorder.add(Kind::Read, Verdict::Refused, true, Duration::from_millis(1));
        let kinds: Vec<&str> = recorder.lines().iter().map(|line| line.kind).collect();
        assert_eq!(kinds, ["create", "read", "all"]);
        assert_eq!((recorder.ok(), recorder.not_ok()), (1, 1));
    }
}
