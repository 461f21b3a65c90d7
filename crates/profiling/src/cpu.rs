//! A processor profile: the kernel interrupts whichever thread runs, so many times a second of processor time that the
//! process uses, and the handler notes its stack.
//!
//! The handler neither allocates nor waits for a lock: the tables by which stacks are walked (`.eh_frame`) are read before the
//! first interrupt, and an address is asked for by a system call before it is read. That is what `framehop-unwinder` is for;
//! the unwinder of the C runtime may meet the lock that the interrupted code holds, and walking frame pointers leaves the
//! function out that was interrupted. What librdkafka's own threads use, which take no signals, is put down to another thread.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use pprof::ProfilerGuardBuilder;
use tokio::sync::Semaphore;

use crate::{
    ProfileError, Turn,
    encode::{Kind, Stack, encode},
    on_a_thread,
};

/// Longer ones say little more; a minute is what a connection's other end may be expected to wait for.
pub const SECONDS: RangeInclusive<u64> = 1..=60;
pub const SECONDS_DEFAULT: u64 = 30;
/// Times a second of processor time. Ninety-nine is not in step with what happens a hundred times a second.
pub const HERTZ: RangeInclusive<u32> = 1..=500;
pub const HERTZ_DEFAULT: u32 = 99;

/// There is one timer and one handler in a process.
static ONE: Semaphore = Semaphore::const_new(1);

pub fn turn() -> Result<Turn, ProfileError> {
    Turn::of(&ONE)
}

/// Takes a profile of `duration`, with `hertz` samples a second of processor time. Whoever drops this ends it.
pub async fn take(turn: Turn, duration: Duration, hertz: u32) -> Result<Vec<u8>, ProfileError> {
    // Dropped with this future.
    let (_wanted, unwanted) = mpsc::channel::<()>();
    on_a_thread(turn, move || record(duration, hertz, &unwanted)).await
}

fn record(duration: Duration, hertz: u32, unwanted: &mpsc::Receiver<()>) -> Result<Vec<u8>, ProfileError> {
    let failed = |error: pprof::Error| ProfileError::Failed(error.to_string());
    let frequency = i32::try_from(hertz).unwrap_or(i32::MAX);
    let running = ProfilerGuardBuilder::default().frequency(frequency).build().map_err(failed)?;
    if unwanted.recv_timeout(duration) == Err(RecvTimeoutError::Disconnected) {
        return Err(ProfileError::Failed("nobody waits for it any more".to_owned()));
    }
    let report = running.report().build_unresolved().map_err(failed)?;
    drop(running);
    let nanoseconds = 1_000_000_000 / i64::from(hertz.max(1));
    // Two stacks that are told apart by the function alone may be the same by addresses.
    let mut counts: HashMap<Stack, i64> = HashMap::new();
    for (sample, count) in report.data {
        let mut addresses: Vec<usize> = sample.frames.iter().map(|frame| frame.ip).collect();
        // Of the others it is known where they go on; this one was about to do what stands there.
        if let Some(interrupted) = addresses.first_mut() {
            *interrupted += 1;
        }
        let thread = String::from_utf8_lossy(&sample.thread_name[..sample.thread_name_length]);
        let thread = Some(thread.trim_end_matches('\0').to_owned());
        *counts.entry(Stack { addresses, thread }).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
    }
    let kind = Kind {
        values: &[("samples", "count"), ("cpu", "nanoseconds")],
        period: nanoseconds,
        duration: report.timing.duration,
        drop_frames: "",
    };
    encode(&kind, counts.into_iter().map(|(stack, count)| (stack, vec![count, count * nanoseconds])))
}

#[cfg(test)]
mod tests {
    use std::{
        hint::black_box,
        sync::atomic::{AtomicBool, Ordering},
        thread,
        time::Instant,
    };

    use super::*;
    use crate::proto::Profile;

    const DEADLINE: Duration = Duration::from_mins(1);

    #[inline(never)]
    fn burns_the_processor(is_done: &AtomicBool) {
        let mut number = 1_u64;
        while !is_done.load(Ordering::Relaxed) {
            number = black_box(number.wrapping_mul(3));
        }
    }

    /// One test, because there is one profiler in the process.
    #[test]
    fn a_profile_names_what_runs_and_is_one_at_a_time_and_ends_when_nobody_waits() {
        static IS_DONE: AtomicBool = AtomicBool::new(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let burning = thread::Builder::new()
            .name("burning".to_owned())
            .spawn(|| burns_the_processor(&IS_DONE))
            .unwrap();
        runtime.block_on(async {
            let first = take(turn().unwrap(), Duration::from_secs(1), 200);
            assert_eq!(turn().unwrap_err(), ProfileError::Busy);
            let profile = Profile::read(&first.await.unwrap()).unwrap();
            let burnt = profile.value_in("burns_the_processor", "cpu").unwrap();
            // A machine that is busy with other things gives it less than the whole second.
            assert!(burnt >= 50_000_000, "{burnt} ns");
            assert!(profile.threads().any(|name| name == "burning"));
            assert!(profile.duration_nanos >= 1_000_000_000, "{}", profile.duration_nanos);

            let taken = take(turn().unwrap(), DEADLINE, 99);
            assert!(tokio::time::timeout(Duration::from_millis(1), taken).await.is_err());
            let began = Instant::now();
            while turn().is_err() {
                assert!(began.elapsed() < DEADLINE, "it goes on for nobody");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        IS_DONE.store(true, Ordering::Relaxed);
        burning.join().unwrap();
    }
}
