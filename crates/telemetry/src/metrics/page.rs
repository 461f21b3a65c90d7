//! `docs/metrics.md`: every metric with its type, its labels and what it says, made of the catalogue.

use super::{ALL, Kind, Metric, PROCESS, RUNTIME, TASKS};

const HEAD: &str = "# Metrics

Every process shows these at `/metrics` on the port of operations, as OpenMetrics 1.0. A metric with labels is shown once it has
a value. Of a histogram there are `_bucket`, `_sum` and `_count`; where a trace is kept, a bucket names one as an exemplar.

Labels never take a merchant, a payment or a path: their values are those of the program and of its settings, so the number of
series does not grow with the number of merchants.

What is said *of the whole platform* is looked up in the database every fifteen seconds by every process, and each process says
the same: take the `max` over processes. Everything else is of one process: take the `sum`.

This page is printed by `fintech metrics`, and made of `crates/telemetry/src/metrics/catalogue.rs`; a test holds them together
and writes the page: `UPDATE_DOCUMENTS=1 cargo test -p telemetry page`.
";

/// The page, in Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut group = "";
    for metric in ALL.iter().chain(PROCESS).chain(RUNTIME).chain(TASKS) {
        if metric.group != group {
            group = metric.group;
            page.extend(["\n## ", group, "\n\n| name | type | labels | what it says |\n|---|---|---|---|\n"]);
        }
        page += &row(metric);
    }
    page
}

fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let (name, kind, labels) = (metric.full_name(), metric.kind.word(), labels.join(", "));
    let exemplars =
        if metric.kind == Kind::Histogram && !metric.labels.is_empty() { ", exemplars" } else { "" };
    format!("| `{name}` | {kind}{exemplars} | {labels} | {} |\n", metric.help.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    /// Set, it makes the test write the file instead, as it does for the documents of the events.
    const UPDATE: &str = "UPDATE_DOCUMENTS";

    #[test]
    fn the_page_is_what_the_catalogue_says() {
        if env::var_os(UPDATE).is_some() {
            fs::write(FILE, page()).unwrap();
        }
        assert!(
            fs::read_to_string(FILE).is_ok_and(|found| found == page()),
            "docs/metrics.md is not what the catalogue says: write it by {UPDATE}=1 cargo test -p telemetry page"
        );
    }

    /// A group that comes twice would have two headings of one name.
    #[test]
    fn each_metric_stands_in_the_page_once_and_each_group_has_one_table() {
        let page = page();
        for metric in ALL.iter().chain(PROCESS).chain(RUNTIME).chain(TASKS) {
            let name = metric.full_name();
            assert_eq!(page.matches(&format!("| `{name}` |")).count(), 1, "{name}");
            assert_eq!(page.matches(&format!("\n## {}\n", metric.group)).count(), 1, "{}", metric.group);
        }
    }
}
