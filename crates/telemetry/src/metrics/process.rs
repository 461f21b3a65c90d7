//! The process and its runtime, looked at when somebody reads the metrics. The names are those of Prometheus' client
//! libraries.

use std::fmt::Error;

use procfs::process::{LimitValue, Process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use tokio::runtime::{Handle, RuntimeMetrics};

use super::{Kind, Metric};

macro_rules! declared {
    ($(#[$doc:meta])* $all:ident in $group:literal { $($name:ident = $kind:ident $text:literal $(in $unit:literal)?, $help:literal;)* }) => {
        $(const $name: Metric = Metric {
            group: $group,
            name: $text,
            unit: declared!(@unit $($unit)?),
            kind: Kind::$kind,
            labels: &[],
            help: $help,
        };)*

        $(#[$doc])*
        pub const $all: &[Metric] = &[$($name),*];
    };
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
}

declared! {
    /// What there is only where there is a `/proc`.
    PROCESS in "Process" {
        RESIDENT_MEMORY = Gauge "process_resident_memory" in "bytes", "Resident memory";
        VIRTUAL_MEMORY = Gauge "process_virtual_memory" in "bytes", "Virtual memory";
        THREADS = Gauge "process_threads", "Threads";
        CPU = Counter "process_cpu" in "seconds", "Processor time, in user and in kernel mode";
        OPEN_FDS = Gauge "process_open_fds", "Open file descriptors";
        MAX_FDS = Gauge "process_max_fds", "File descriptors that may be open";
        START_TIME = Gauge "process_start_time" in "seconds", "When the process started, in seconds since 1970";
    }
}

declared! {
    /// What tokio tells of itself.
    RUNTIME in "Runtime" {
        WORKERS = Gauge "tokio_workers", "Threads that run tasks";
        ALIVE_TASKS = Gauge "tokio_alive_tasks", "Tasks that have not ended";
        QUEUE_DEPTH = Gauge "tokio_global_queue_depth", "Tasks that wait for any worker";
        WORKERS_BUSY = Counter "tokio_workers_busy" in "seconds",
            "Time that workers were busy, of all of them together";
        WORKER_PARKS = Counter "tokio_worker_parks", "Times that a worker had nothing to do";
        LOCAL_QUEUES = Gauge "tokio_local_queue_depth", "Tasks that wait for one worker, of all workers together";
        POLLS = Counter "tokio_polls", "Times that workers ran a task until it had to wait";
        MEAN_POLL = Gauge "tokio_mean_poll" in "seconds",
            "How long a worker runs a task at a time, a mean that forgets; of the slowest worker";
        STEALS = Counter "tokio_steals", "Tasks that a worker took from another one's queue";
        FORCED_YIELDS = Counter "tokio_forced_yields",
            "Times that a task was made to stand back because it could have gone on for ever";
        SPAWNED_TASKS = Counter "tokio_spawned_tasks", "Tasks that were begun";
        BLOCKING_THREADS = Gauge "tokio_blocking_threads", "Threads for what blocks, the idle ones among them";
        BLOCKING_QUEUE = Gauge "tokio_blocking_queue_depth", "What blocks and waits for a thread";
    }
}

pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(OfProcess));
    registry.register_collector(Box::new(OfRuntime));
}

#[derive(Debug)]
struct OfProcess;

impl Collector for OfProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        // Without /proc there is nothing to say.
        let Ok(process) = Process::myself() else { return Ok(()) };
        let Ok(stat) = process.stat() else { return Ok(()) };
        let ticks_per_second = procfs::ticks_per_second();
        gauge(&mut encoder, &RESIDENT_MEMORY, stat.rss.saturating_mul(procfs::page_size()))?;
        gauge(&mut encoder, &VIRTUAL_MEMORY, stat.vsize)?;
        gauge(&mut encoder, &THREADS, u64::try_from(stat.num_threads).unwrap_or(0))?;
        let used = seconds(stat.utime + stat.stime, ticks_per_second);
        encode(&mut encoder, &CPU, &ConstCounter::new(used))?;
        if let Ok(open) = process.fd_count() {
            gauge(&mut encoder, &OPEN_FDS, open as u64)?;
        }
        if let Ok(limits) = process.limits()
            && let LimitValue::Value(max) = limits.max_open_files.soft_limit
        {
            gauge(&mut encoder, &MAX_FDS, max)?;
        }
        if let Ok(booted) = procfs::boot_time_secs() {
            let started = seconds_f64(booted) + seconds(stat.starttime, ticks_per_second);
            encode(&mut encoder, &START_TIME, &ConstGauge::new(started))?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct OfRuntime;

impl Collector for OfRuntime {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Ok(runtime) = Handle::try_current() else { return Ok(()) };
        let metrics = runtime.metrics();
        let workers = metrics.num_workers();
        gauge(&mut encoder, &WORKERS, workers as u64)?;
        gauge(&mut encoder, &ALIVE_TASKS, metrics.num_alive_tasks() as u64)?;
        gauge(&mut encoder, &QUEUE_DEPTH, metrics.global_queue_depth() as u64)?;
        let busy: f64 =
            (0..workers).map(|worker| metrics.worker_total_busy_duration(worker).as_secs_f64()).sum();
        encode(&mut encoder, &WORKERS_BUSY, &ConstCounter::new(busy))?;
        let parked = (0..workers).map(|worker| metrics.worker_park_count(worker)).sum::<u64>();
        encode(&mut encoder, &WORKER_PARKS, &ConstCounter::new(parked))?;
        encode_unstable(&mut encoder, &metrics)
    }
}

/// What tokio may tell otherwise in another version.
fn encode_unstable(encoder: &mut DescriptorEncoder<'_>, metrics: &RuntimeMetrics) -> Result<(), Error> {
    let of_all = |of: &dyn Fn(usize) -> u64| (0..metrics.num_workers()).map(of).sum::<u64>();
    gauge(encoder, &LOCAL_QUEUES, of_all(&|worker| metrics.worker_local_queue_depth(worker) as u64))?;
    let polls = of_all(&|worker| metrics.worker_poll_count(worker));
    encode(encoder, &POLLS, &ConstCounter::new(polls))?;
    let mean = (0..metrics.num_workers()).map(|worker| metrics.worker_mean_poll_time(worker)).max();
    encode(encoder, &MEAN_POLL, &ConstGauge::new(mean.unwrap_or_default().as_secs_f64()))?;
    let stolen = of_all(&|worker| metrics.worker_steal_count(worker));
    encode(encoder, &STEALS, &ConstCounter::new(stolen))?;
    encode(encoder, &FORCED_YIELDS, &ConstCounter::new(metrics.budget_forced_yield_count()))?;
    encode(encoder, &SPAWNED_TASKS, &ConstCounter::new(metrics.spawned_tasks_count()))?;
    gauge(encoder, &BLOCKING_THREADS, metrics.num_blocking_threads() as u64)?;
    gauge(encoder, &BLOCKING_QUEUE, metrics.blocking_queue_depth() as u64)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, metric: &Metric, value: u64) -> Result<(), Error> {
    encode(encoder, metric, &ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    value: &impl EncodeMetric,
) -> Result<(), Error> {
    let unit = metric.unit.map(|unit| Unit::Other(unit.to_owned()));
    let encoder = encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), value.metric_type())?;
    value.encode(encoder)
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn seconds_f64(seconds: u64) -> f64 {
    seconds as f64
}

fn seconds(ticks: u64, ticks_per_second: u64) -> f64 {
    seconds_f64(ticks) / seconds_f64(ticks_per_second)
}
