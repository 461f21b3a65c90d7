//! When requests begin: each at its moment, whatever became of those before it (open loop), or as soon as a
//! connection is free (closed loop).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// A request that could not be started this long after its moment is dropped.
pub const DROP_AFTER: Duration = Duration::from_secs(1);
/// The kernel's own timers are about this exact.
const SLEEP_MIN: Duration = Duration::from_micros(100);

/// The moments of an open loop, evenly spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// A thousandth of a request a second.
    rate_milli: u64,
}

const NANOS_A_KILOSECOND: u128 = 1_000_000_000_000;

impl Arrivals {
    /// `None` for a rate that is not above zero.
    pub fn at_rate(per_second: f64) -> Option<Self> {
        let milli = (per_second * 1000.0).round();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The bounds are looked at.
        (1.0..=1e12).contains(&milli).then_some(Self { rate_milli: milli as u64 })
    }

    /// How long after the beginning the request of this number begins.
    pub fn moment(self, number: u64) -> Duration {
        let nanos = u128::from(number) * NANOS_A_KILOSECOND / u128::from(self.rate_milli);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many requests should have begun this long after the beginning.
    pub fn due(self, elapsed: Duration) -> u64 {
        let due = ((elapsed.as_nanos() + 1) * u128::from(self.rate_milli)).div_ceil(NANOS_A_KILOSECOND);
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// How many begin earlier than this long after the beginning.
    fn before(self, elapsed: Duration) -> u64 {
        elapsed.checked_sub(Duration::from_nanos(1)).map_or(0, |before| self.due(before))
    }
}

/// How long the load lasts.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub warmup: Duration,
    /// Behind the warm-up.
    pub end: End,
}

#[derive(Clone, Copy, Debug)]
pub enum End {
    After(Duration),
    Requests(u64),
}

/// A request's turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// When it should have begun: latency counts from here.
    pub intended: Instant,
    pub is_measured: bool,
}

/// Hands out turns to all connections.
pub struct Pace {
    begun: Instant,
    measured_from: Instant,
    end: End,
    arrivals: Option<Arrivals>,
    /// Open loop: turns that are due. Closed when there will be no more.
    due: Semaphore,
    /// Turns handed out; of a closed loop only those that are measured.
    taken: AtomicU64,
    dropped: AtomicU64,
    is_stopped: AtomicBool,
}

impl Pace {
    /// The load begins now.
    pub fn start(span: Span, arrivals: Option<Arrivals>) -> std::io::Result<Arc<Self>> {
        let begun = Instant::now();
        let pace = Arc::new(Self {
            begun,
            measured_from: begun + span.warmup,
            end: span.end,
            arrivals,
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
        });
        if let Some(arrivals) = arrivals {
            let ticking = pace.clone();
            thread::Builder::new().name("pace".to_owned()).spawn(move || ticking.tick(arrivals))?;
        }
        Ok(pace)
    }

    pub const fn measured_from(&self) -> Instant {
        self.measured_from
    }

    /// Of what was measured.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// No more turns, whatever the span says.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.due.close();
    }

    /// Waits for the next turn; `None` when there is none any more.
    pub async fn next(&self) -> Option<Turn> {
        match self.arrivals {
            Some(arrivals) => self.next_due(arrivals).await,
            None => self.next_at_once(),
        }
    }

    async fn next_due(&self, arrivals: Arrivals) -> Option<Turn> {
        loop {
            self.due.acquire().await.ok()?.forget();
            let intended = self.begun + arrivals.moment(self.taken.fetch_add(1, Ordering::Relaxed));
            let is_measured = intended >= self.measured_from;
            if intended.elapsed() <= DROP_AFTER {
                return Some(Turn { intended, is_measured });
            }
            if is_measured {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn next_at_once(&self) -> Option<Turn> {
        let intended = Instant::now();
        let is_measured = intended >= self.measured_from;
        let has_time = || match self.end {
            End::After(duration) => intended < self.measured_from + duration,
            End::Requests(max) => self.taken.fetch_add(1, Ordering::Relaxed) < max,
        };
        let goes_on = !self.is_stopped.load(Ordering::Relaxed) && (!is_measured || has_time());
        goes_on.then_some(Turn { intended, is_measured })
    }

    /// Makes turns due, each at its moment, and ends when the last was taken or is too late.
    fn tick(&self, arrivals: Arrivals) {
        let warmup = self.measured_from - self.begun;
        let total = match self.end {
            End::After(duration) => arrivals.before(warmup + duration),
            End::Requests(max) => arrivals.before(warmup).saturating_add(max),
        };
        let mut issued = 0;
        while issued < total && !self.is_stopped.load(Ordering::Relaxed) {
            let due = arrivals.due(self.begun.elapsed()).min(total);
            self.due.add_permits(usize::try_from(due - issued).unwrap_or(0));
            issued = due;
            let next = arrivals.moment(issued).saturating_sub(self.begun.elapsed());
            thread::sleep(next.max(SLEEP_MIN));
        }
        let last = self.begun + arrivals.moment(total) + DROP_AFTER;
        while self.due.available_permits() > 0 && Instant::now() < last && !self.due.is_closed() {
            thread::sleep(SLEEP_MIN);
        }
        let left = self.due.forget_permits(usize::MAX >> 4);
        self.due.close();
        // What was not begun because somebody stopped the load was not late.
        if !self.is_stopped.load(Ordering::Relaxed) {
            self.dropped.fetch_add(left as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_above_zero() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Arrivals::at_rate(rate), None, "{rate}");
        }
        assert!(Arrivals::at_rate(0.5).is_some());
    }

    #[test]
    fn moments_are_evenly_spaced_and_drift_nowhere() {
        let arrivals = Arrivals::at_rate(3.0).unwrap();
        assert_eq!(arrivals.moment(0), Duration::ZERO);
        assert_eq!(arrivals.moment(1), Duration::from_nanos(333_333_333));
        assert_eq!(arrivals.moment(3_000_000), Duration::from_secs(1_000_000));
    }

    proptest! {
        #[test]
        fn a_request_is_due_at_its_moment_and_not_before(rate in 0.01_f64..1e6, number in 0_u64..1_000_000_000) {
            let arrivals = Arrivals::at_rate(rate).unwrap();
            let moment = arrivals.moment(number);
            prop_assert!(arrivals.due(moment) > number);
            if let Some(before) = moment.checked_sub(Duration::from_nanos(1)) {
                prop_assert!(arrivals.due(before) <= number);
            }
        }
    }

    #[tokio::test]
    async fn a_closed_loop_hands_out_as_many_turns_as_were_said() {
        let span = Span { warmup: Duration::ZERO, end: End::Requests(3) };
        let pace = Pace::start(span, None).unwrap();
        for _ in 0..3 {
            assert!(pace.next().await.unwrap().is_measured);
        }
        assert!(pace.next().await.is_none());
    }

    /// Failure mode of load generators, not of ours: a slow answer must not slow the load down.
    #[tokio::test]
    async fn an_open_loop_counts_from_the_moment_that_was_meant() {
        let span = Span { warmup: Duration::ZERO, end: End::Requests(20) };
        let arrivals = Arrivals::at_rate(1000.0).unwrap();
        let pace = Pace::start(span, Some(arrivals)).unwrap();
        let first = pace.next().await.unwrap().intended;
        let mut turns = 1;
        while let Some(turn) = pace.next().await {
            assert_eq!(turn.intended - first, Duration::from_millis(turns));
            turns += 1;
        }
        assert_eq!(turns, 20);
        assert_eq!(pace.dropped(), 0);
    }

    #[tokio::test]
    async fn nothing_begins_when_the_load_is_stopped() {
        let span = Span { warmup: Duration::ZERO, end: End::After(Duration::from_hours(1)) };
        for arrivals in [None, Arrivals::at_rate(1000.0)] {
            let pace = Pace::start(span, arrivals).unwrap();
            assert!(pace.next().await.is_some());
            pace.stop();
            assert!(pace.next().await.is_none());
            assert_eq!(pace.dropped(), 0);
        }
    }

    #[tokio::test]
    async fn what_nobody_starts_is_dropped() {
        let span = Span { warmup: Duration::ZERO, end: End::After(Duration::from_millis(5)) };
        let pace = Pace::start(span, Arrivals::at_rate(1000.0)).unwrap();
        // Nobody takes a turn until the time for all of them is over.
        tokio::task::spawn_blocking({
            let pace = pace.clone();
            move || {
                while !pace.due.is_closed() {
                    thread::sleep(SLEEP_MIN);
                }
            }
        })
        .await
        .unwrap();
        assert!(pace.next().await.is_none());
        assert_eq!(pace.dropped(), 5);
    }
}
