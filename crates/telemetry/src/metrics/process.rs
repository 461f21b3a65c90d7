//! The process and its runtime, looked at when somebody reads the metrics. The names are those of Prometheus' client
//! libraries.

use std::fmt::Error;

use procfs::process::Process;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use tokio::runtime::Handle;

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
        gauge(
            &mut encoder,
            "process_resident_memory",
            "Resident memory",
            Some("bytes"),
            stat.rss.saturating_mul(procfs::page_size()),
        )?;
        gauge(&mut encoder, "process_virtual_memory", "Virtual memory", Some("bytes"), stat.vsize)?;
        gauge(
            &mut encoder,
            "process_threads",
            "Threads",
            None,
            u64::try_from(stat.num_threads).unwrap_or(0),
        )?;
        let used = seconds(stat.utime + stat.stime, ticks_per_second);
        let help = "Processor time, in user and in kernel mode";
        encode(&mut encoder, "process_cpu", help, Some("seconds"), &ConstCounter::new(used))?;
        if let Ok(open) = process.fd_count() {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", None, open as u64)?;
        }
        if let Ok(limits) = process.limits()
            && let procfs::process::LimitValue::Value(max) = limits.max_open_files.soft_limit
        {
            gauge(&mut encoder, "process_max_fds", "File descriptors that may be open", None, max)?;
        }
        if let Ok(booted) = procfs::boot_time_secs() {
            let started = seconds_f64(booted) + seconds(stat.starttime, ticks_per_second);
            let help = "When the process started, in seconds since 1970";
            encode(&mut encoder, "process_start_time", help, Some("seconds"), &ConstGauge::new(started))?;
        }
        Ok(())
    }
}

/// What tokio tells of itself.
#[derive(Debug)]
struct OfRuntime;

impl Collector for OfRuntime {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Ok(runtime) = Handle::try_current() else { return Ok(()) };
        let metrics = runtime.metrics();
        let workers = metrics.num_workers();
        gauge(&mut encoder, "tokio_workers", "Threads that run tasks", None, workers as u64)?;
        let alive = metrics.num_alive_tasks() as u64;
        gauge(&mut encoder, "tokio_alive_tasks", "Tasks that have not ended", None, alive)?;
        let help = "Tasks that wait for any worker";
        gauge(&mut encoder, "tokio_global_queue_depth", help, None, metrics.global_queue_depth() as u64)?;
        let busy: f64 =
            (0..workers).map(|worker| metrics.worker_total_busy_duration(worker).as_secs_f64()).sum();
        let help = "Time that workers were busy, of all of them together";
        encode(&mut encoder, "tokio_workers_busy", help, Some("seconds"), &ConstCounter::new(busy))?;
        let parked = (0..workers).map(|worker| metrics.worker_park_count(worker)).sum::<u64>();
        encode(
            &mut encoder,
            "tokio_worker_parks",
            "Times that a worker had nothing to do",
            None,
            &ConstCounter::new(parked),
        )
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&str>,
    value: u64,
) -> Result<(), Error> {
    encode(encoder, name, help, unit, &ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&str>,
    metric: &impl EncodeMetric,
) -> Result<(), Error> {
    let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
    let encoder = encoder.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?;
    metric.encode(encoder)
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn seconds_f64(seconds: u64) -> f64 {
    seconds as f64
}

fn seconds(ticks: u64, ticks_per_second: u64) -> f64 {
    seconds_f64(ticks) / seconds_f64(ticks_per_second)
}
