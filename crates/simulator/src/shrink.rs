//! Cuts a schedule that breaks something down to the steps that are needed for it.

use crate::{Outcome, Schedule, run};

/// Runs that are spent on one schedule.
const RUNS_MAX: usize = 300;

/// The shortest schedule that was found, and what it breaks; `None` when the whole of it breaks nothing.
pub fn shrink(schedule: &Schedule) -> Option<(Vec<usize>, String)> {
    let mut runs = 0;
    let mut broken = |kept: &[usize]| {
        runs += 1;
        let Outcome { violation, .. } = run(&schedule.with_steps(kept));
        (runs <= RUNS_MAX).then_some(violation).flatten()
    };
    let mut kept: Vec<usize> = (0..schedule.steps.len()).collect();
    let mut violation = broken(&kept)?;
    let mut size = kept.len().div_ceil(2);
    loop {
        let mut begin = 0;
        let mut is_shorter = false;
        while begin < kept.len() {
            let end = (begin + size).min(kept.len());
            let tried: Vec<usize> = kept[..begin].iter().chain(&kept[end..]).copied().collect();
            match broken(&tried) {
                Some(found) => {
                    kept = tried;
                    violation = found;
                    is_shorter = true;
                }
                None => begin = end,
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if !is_shorter {
            return Some((kept, violation));
        }
    }
}
