//! The simulator's own proof: ten thousand schedules break nothing, and each rule that is not kept is found.

// Everything here is a test: an unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use simulator::{Schedule, run, shrink};
#[cfg(debug_assertions)]
use store::fault::{self, Fault};

const SCHEDULES: u64 = 10_000;
/// A fault that so many schedules do not find is not found.
const SCHEDULES_A_FAULT_MAX: u64 = 3000;

/// Crashes, stalls, lost answers, cut connections, full disks, brokers away, topics made anew, expired records, clocks that
/// jump, expelled members, poison: the invariants of design.md §8 hold after every step, and at the end all of it comes to
/// rest, complete. Failure modes 1, 2, 3, 10, 35, 36, 43, 46, 48, 49, 54, 55, 63, 64, 68, 71, 83, 86, 88, 91, 99 and 106.
#[test]
fn ten_thousand_schedules_break_nothing() {
    let next = AtomicU64::new(0);
    let broken = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while broken.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SCHEDULES {
                        return;
                    }
                    let schedule = Schedule::from_seed(seed);
                    if let Some(violation) = run(&schedule).violation {
                        broken.lock().unwrap().get_or_insert((schedule, violation));
                    }
                }
            });
        }
    });
    if let Some((schedule, violation)) = broken.into_inner().unwrap() {
        let shortest = shrink(&schedule).map(|(kept, violation)| (schedule.with_steps(&kept), violation));
        let (shown, violation) = shortest.unwrap_or_else(|| (schedule.clone(), violation));
        panic!("{violation}\n{shown}again: cargo run -p simulator -- --seed {}", schedule.seed);
    }
}

/// A schedule runs the same way again, whatever was run before it on the same thread.
#[test]
fn a_seed_gives_the_same_again() {
    for seed in 0..40 {
        let schedule = Schedule::from_seed(seed);
        let (first, second) = (run(&schedule), run(&schedule));
        assert_eq!((first.violation, first.events), (second.violation, second.events), "seed {seed}");
    }
}

/// Each rule of the design that is deliberately not kept breaks something that is looked at, and what it would break.
#[test]
#[cfg(debug_assertions)]
fn every_deliberate_fault_is_found() {
    let missed: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| found_with(*fault).is_none()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// What a fault would do to the world, in words of the checks; one of them.
#[cfg(debug_assertions)]
const fn would_do(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::SkipLaneLock => &["invariant is broken"],
        Fault::SkipLookUp => &["that was refused took effect", "more than once", "invariant is broken"],
        Fault::AnswerBeforeCommit => &["acknowledged change is not in the log", "has not happened"],
        Fault::PublishBeforeCommit => &["of the topic is not in the log"],
        Fault::ForgetIdempotencyScope => &["key was used for another request"],
        Fault::ForgetIdempotencyKey => &["took effect more than once"],
        Fault::LetClockRunBack => &["the time is earlier"],
        Fault::SplitBatch => &["reconcile found"],
        Fault::PositionBeforeEffect => &["effects and dead letters are not what the position says"],
        Fault::EffectBeforePosition | Fault::SkipPositionCheck => &["an effect happened twice"],
        Fault::StoreOffsetItself => &["and has handled Some"],
        Fault::StoreOffsetRead => &["before which lies position"],
        Fault::SkipParking => &["took effect after a later one"],
        Fault::DeadLetterAfterPosition => &["effects and dead letters are not what the position says"],
        Fault::SkipGapCheck => &["effects and dead letters are not what the position says"],
        Fault::TrustNote | Fault::DropFencing => &["lies behind position"],
        Fault::NoteBeforePublish | Fault::ReadUncommitted => {
            &["the topic begins with", "lies behind position"]
        }
    }
}

/// The seed of the first schedule that finds it.
#[cfg(debug_assertions)]
fn found_with(fault: Fault) -> Option<u64> {
    fault::switch(Some(fault));
    let found = (0..SCHEDULES_A_FAULT_MAX).find_map(|seed| {
        let violation = run(&Schedule::from_seed(seed)).violation?;
        let is_meant = would_do(fault).iter().any(|words| violation.contains(words));
        if !is_meant {
            return None;
        }
        println!("{fault:?}: seed {seed}: {violation}");
        Some(seed)
    });
    fault::switch(None);
    found
}
