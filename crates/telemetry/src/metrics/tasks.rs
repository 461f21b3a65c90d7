//! The tasks that have names ([`crate::tasks`]), looked at when somebody reads the metrics.

use std::fmt::Error;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
    registry::{Registry, Unit},
};
use tokio_metrics::TaskMetrics;

use super::{Kind, Labels as _, Metric, TaskOf};
use crate::tasks::Task;

macro_rules! declared {
    ($($text:literal $(in $unit:literal)?, $value:expr, $help:literal;)*) => {
        /// What the runtime tells of tasks by their names.
        pub const TASKS: &[Metric] = &[$(Metric {
            group: "Tasks",
            name: $text,
            unit: declared!(@unit $($unit)?),
            kind: Kind::Counter,
            labels: TaskOf::NAMES,
            help: $help,
        }),*];

        /// In the same order.
        const VALUES: &[fn(&TaskMetrics) -> f64] = &[$($value),*];
    };
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
}

declared! {
    "fintech_task_polls", |task| count(task.total_poll_count),
        "Times that a task ran until it had to wait for something";
    "fintech_task_polled" in "seconds", |task| task.total_poll_duration.as_secs_f64(),
        "Time that a task ran and kept its thread; of a writer on SQLite, which has a thread of its own, with its waiting for the disk";
    "fintech_task_slow_polls", |task| count(task.total_slow_poll_count),
        "Polls of ten milliseconds or more, in which nobody else ran on that thread";
    "fintech_task_wakes", |task| count(task.total_scheduled_count),
        "Times that what a task waited for was there";
    "fintech_task_scheduled" in "seconds", |task| task.total_scheduled_duration.as_secs_f64(),
        "Time that a task could have run and waited for a thread; by fintech_task_wakes_total the mean delay";
}

pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(OfTasks));
}

#[derive(Debug)]
struct OfTasks;

impl Collector for OfTasks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let of_tasks: Vec<(Task, TaskMetrics)> =
            Task::ALL.into_iter().filter_map(|task| Some((task, task.metrics()?))).collect();
        for (metric, value) in TASKS.iter().zip(VALUES) {
            let unit = metric.unit.map(|unit| Unit::Other(unit.to_owned()));
            let mut family =
                encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), MetricType::Counter)?;
            for (task, metrics) in &of_tasks {
                let labels = TaskOf { task: task.name() };
                ConstCounter::new(value(metrics)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn count(times: u64) -> f64 {
    times as f64
}
