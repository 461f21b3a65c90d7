//! Runs schedules until one breaks something: `simulator --for 1h`, `simulator --seed 4711`.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use simulator::{Outcome, Schedule, run, shrink};
use tracing_subscriber::EnvFilter;

/// Simulates the platform under faults, one schedule a seed, and cuts what breaks something to the steps that do.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Run this schedule alone, and show it
    #[arg(long)]
    seed: Option<u64>,
    /// Of the schedule, only these steps
    #[arg(long, value_delimiter = ',', requires = "seed")]
    steps: Option<Vec<usize>>,
    /// Begin with this seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many schedules
    #[arg(long, default_value_t = 10_000)]
    schedules: u64,
    /// For how long, instead of how many: such as 90s, 5m, 1h
    #[arg(long = "for", value_parser = duration)]
    time: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("say a number and s, m or h, such as 90s".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "say a number and s, m or h, such as 90s".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

fn main() -> ExitCode {
    let options = Options::parse();
    // RUST_LOG=debug shows what the parts say, with --seed.
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).init();
    match options.seed {
        Some(seed) => one(seed, options.steps.as_deref()),
        None => many(&options),
    }
}

fn one(seed: u64, steps: Option<&[usize]>) -> ExitCode {
    let whole = Schedule::from_seed(seed);
    let schedule = steps.map_or_else(|| whole.clone(), |steps| whole.with_steps(steps));
    print!("{schedule}");
    let Outcome { violation, events, counts } = run(&schedule);
    println!("{events} events; {counts:?}");
    match violation {
        None => {
            println!("nothing is wrong");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("WRONG: {violation}");
            if steps.is_none() {
                tell_shortest(&whole);
            }
            ExitCode::FAILURE
        }
    }
}

fn tell_shortest(schedule: &Schedule) {
    if let Some((kept, violation)) = shrink(schedule) {
        let steps: Vec<String> = kept.iter().map(ToString::to_string).collect();
        print!("the shortest that was found, {}", schedule.with_steps(&kept));
        println!("WRONG: {violation}");
        println!("again: --seed {} --steps {}", schedule.seed, steps.join(","));
    }
}

fn many(options: &Options) -> ExitCode {
    let next = AtomicU64::new(options.from);
    let end = options.time.map_or_else(|| options.from + options.schedules, |_| u64::MAX);
    let until = options.time.map(|time| Instant::now() + time);
    let has_failed = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    let events = AtomicU64::new(0);
    let began = Instant::now();
    let work = || {
        while !has_failed.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let schedule = Schedule::from_seed(seed);
            let outcome = run(&schedule);
            done.fetch_add(1, Ordering::Relaxed);
            events.fetch_add(outcome.events as u64, Ordering::Relaxed);
            if let Some(violation) = outcome.violation
                && !has_failed.swap(true, Ordering::Relaxed)
            {
                println!("WRONG with seed {seed}: {violation}");
                tell_shortest(&schedule);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    println!(
        "{} schedules, {} events, {:.1} s",
        done.load(Ordering::Relaxed),
        events.load(Ordering::Relaxed),
        began.elapsed().as_secs_f64()
    );
    if has_failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
