//! A row of the comparison: what was measured, in every round, of the baseline and of the candidate.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// What one side came to in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    pub value: f64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// The most that was resident.
    pub memory_mib: Option<f64>,
}

impl Figure {
    pub fn of(value: f64) -> Self {
        Self { value, ..Self::default() }
    }
}

/// What a row is about; each is declared in the file of its scenario.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub name: &'static str,
    /// Empty: there is nothing to compare with.
    pub baseline: &'static str,
    pub unit: &'static str,
    pub target: Target,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    Nothing,
    /// The candidate is at least so many times the baseline.
    RatioMin(f64),
    RatioMax(f64),
    /// The same, and its p99 is at most so many milliseconds.
    RatioMinP99(f64, f64),
    /// Milliseconds.
    P50P99(f64, f64),
    ValueMax(f64),
}

/// One round of a row.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub spec: Spec,
    pub baseline: Option<Figure>,
    pub candidate: Figure,
}

/// For whoever waits.
impl Display for Sample {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Spec { name, baseline, unit, .. } = self.spec;
        write!(f, "{name}: {} {unit}", number(self.candidate.value))?;
        let Figure { p50_ms, p99_ms, memory_mib, .. } = self.candidate;
        if let Some((p50, p99)) = p50_ms.zip(p99_ms) {
            write!(f, ", p50 {p50:.1} ms, p99 {p99:.1} ms")?;
        }
        if let Some(mib) = memory_mib {
            write!(f, ", {mib:.0} MiB")?;
        }
        self.baseline.map_or(Ok(()), |theirs| {
            write!(
                f,
                "; {baseline} {}, ratio {:.2}",
                number(theirs.value),
                self.candidate.value / theirs.value
            )
        })
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    #[serde(flatten)]
    pub spec: Spec,
    /// Of each round.
    pub baselines: Vec<Figure>,
    pub candidates: Vec<Figure>,
    /// Candidate over baseline.
    pub ratio: Option<Spread>,
    pub reached: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of nothing. The median of an even number is the mean of the two in the middle.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { min, median, max })
    }
}

/// Rows in the order in which they were first measured.
#[derive(Debug, Default)]
pub struct Rows(Vec<Row>);

impl Rows {
    pub fn add(&mut self, sample: Sample) {
        let Sample { spec, baseline, candidate } = sample;
        let index = self.0.iter().position(|row| row.spec.name == spec.name).unwrap_or_else(|| {
            let (baselines, candidates) = (Vec::new(), Vec::new());
            self.0.push(Row { spec, baselines, candidates, ratio: None, reached: None });
            self.0.len() - 1
        });
        let row = &mut self.0[index];
        row.baselines.extend(baseline);
        row.candidates.push(candidate);
        row.judge();
    }

    pub fn into_rows(self) -> Vec<Row> {
        self.0
    }
}

impl Row {
    fn judge(&mut self) {
        let pairs = self.candidates.iter().zip(&self.baselines);
        let ratios = pairs.filter(|(_, baseline)| baseline.value > 0.0);
        self.ratio = Spread::of(ratios.map(|(candidate, baseline)| candidate.value / baseline.value));
        let ratio = self.ratio.map(|ratio| ratio.median);
        let (p50, p99) = (self.median(|figure| figure.p50_ms), self.median(|figure| figure.p99_ms));
        self.reached = match self.spec.target {
            Target::Nothing => None,
            Target::RatioMin(min) => ratio.map(|ratio| ratio >= min),
            Target::RatioMax(max) => ratio.map(|ratio| ratio <= max),
            Target::RatioMinP99(min, p99_max) => {
                ratio.zip(p99).map(|(ratio, p99)| ratio >= min && p99 <= p99_max)
            }
            Target::P50P99(p50_max, p99_max) => {
                p50.zip(p99).map(|(p50, p99)| p50 <= p50_max && p99 <= p99_max)
            }
            Target::ValueMax(max) => self.median(|figure| Some(figure.value)).map(|value| value <= max),
        };
    }

    /// Of the candidate, over all rounds.
    pub fn median(&self, of: impl Fn(&Figure) -> Option<f64>) -> Option<f64> {
        Spread::of(self.candidates.iter().filter_map(of)).map(|spread| spread.median)
    }

    fn memory_mib(&self) -> Option<f64> {
        Spread::of(self.candidates.iter().filter_map(|figure| figure.memory_mib)).map(|spread| spread.max)
    }
}

pub fn header(f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "| scenario | baseline | its figure | fintech | ratio min / median / max | p50 / p99 ms | memory MiB | target | reached |"
    )?;
    writeln!(f, "|---|---|---|---|---|---|---|---|---|")
}

/// A line of a Markdown table, figures being medians over the rounds.
impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Spec { name, baseline, unit, target } = self.spec;
        let median = |figures: &[Figure]| Spread::of(figures.iter().map(|figure| figure.value));
        let figure = |spread: Option<Spread>| {
            spread.map_or_else(String::new, |spread| format!("{} {unit}", number(spread.median)))
        };
        let ratio = self.ratio.map_or_else(String::new, |Spread { min, median, max }| {
            format!("{min:.2} / **{median:.2}** / {max:.2}")
        });
        let latency = match (self.median(|figure| figure.p50_ms), self.median(|figure| figure.p99_ms)) {
            (Some(p50), Some(p99)) => format!("{p50:.1} / {p99:.1}"),
            _ => String::new(),
        };
        let memory = self.memory_mib().map_or_else(String::new, |mib| format!("{mib:.0}"));
        let reached = match self.reached {
            None => "",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        write!(
            f,
            "| {name} | {baseline} | {} | {} | {ratio} | {latency} | {memory} | {target} | {reached} |",
            figure(median(&self.baselines)),
            figure(median(&self.candidates)),
        )
    }
}

/// Three digits are enough to compare with.
fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::RatioMin(min) => write!(f, "≥ {min:.2}x"),
            Self::RatioMax(max) => write!(f, "≤ {max:.2}x"),
            Self::RatioMinP99(min, p99) => write!(f, "≥ {min:.2}x, p99 ≤ {p99} ms"),
            Self::P50P99(p50, p99) => write!(f, "≤ {p50} / {p99} ms"),
            Self::ValueMax(max) => write!(f, "≤ {max}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(target: Target, baseline: f64, candidate: Figure) -> Sample {
        let spec = Spec { name: "row", baseline: "other", unit: "payments/s", target };
        Sample { spec, baseline: Some(Figure::of(baseline)), candidate }
    }

    fn row(samples: impl IntoIterator<Item = Sample>) -> Row {
        let mut rows = Rows::default();
        samples.into_iter().for_each(|sample| rows.add(sample));
        rows.into_rows().remove(0)
    }

    #[test]
    fn a_ratio_is_of_one_round_and_its_spread_of_all() {
        let target = Target::RatioMin(2.0);
        let rounds = [(100.0, 150.0), (100.0, 210.0), (200.0, 600.0)];
        let row = row(rounds.map(|(baseline, candidate)| sample(target, baseline, Figure::of(candidate))));
        assert_eq!(row.ratio, Some(Spread { min: 1.5, median: 2.1, max: 3.0 }));
        assert_eq!(row.reached, Some(true), "by the median");
    }

    #[test]
    fn a_target_may_ask_for_the_tail_too() {
        let slow = Figure { value: 300.0, p99_ms: Some(26.0), ..Figure::default() };
        let fast = Figure { p99_ms: Some(24.0), ..slow };
        let target = Target::RatioMinP99(3.0, 25.0);
        assert_eq!(row([sample(target, 100.0, slow)]).reached, Some(false));
        assert_eq!(row([sample(target, 100.0, fast)]).reached, Some(true));
        assert_eq!(row([sample(target, 100.0, Figure::of(300.0))]).reached, None, "nothing was measured");
    }

    #[test]
    fn a_median_of_two_is_their_mean() {
        assert_eq!(Spread::of([1.0, 2.0]).map(|spread| spread.median), Some(1.5));
        assert_eq!(Spread::of([]), None);
    }
}
