//! What slows callers down: a rate a key, and a pause for addresses that present what is no key. In memory, so each
//! process counts what it sees itself; the time is handed in.
//!
//! The rate is the generic cell rate algorithm (ITU-T I.371): one moment a key, at which the requests so far would be
//! paid off at the key's rate. A key may be a second ahead of its rate, so a second's requests may come at once.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

/// Keys whose requests are counted at once.
pub const LIMITED_KEYS_MAX: usize = 50_000;
/// How far a key may be ahead of its rate.
const WINDOW: Duration = Duration::from_secs(1);
/// Addresses whose failures are remembered at once.
pub const ADDRESSES_MAX: usize = 10_000;
/// Of one address, that have no consequence.
pub const FAILURES_WITHOUT_PAUSE: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_millis(250);
pub const PAUSE_MAX: Duration = Duration::from_secs(30);
/// After so long without a failure, nothing is remembered of an address.
pub const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// A full table is looked through no more often.
const SWEPT_EVERY: Duration = WINDOW;

/// What is said of one request, in the words of the `RateLimit` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `None`: it may go on. Otherwise it would be allowed after this.
    pub wait: Option<Duration>,
    /// Requests a second.
    pub limit: u32,
    /// Requests that would be allowed at this moment.
    pub remaining: u32,
    /// Until all of `limit` would be allowed at once.
    pub reset: Duration,
}

impl Verdict {
    pub const fn is_allowed(self) -> bool {
        self.wait.is_none()
    }

    /// For `Retry-After`: whole seconds, at least one.
    pub fn wait_seconds(self) -> u64 {
        seconds_up(self.wait.unwrap_or_default())
    }

    /// For `RateLimit-Reset`.
    pub fn reset_seconds(self) -> u64 {
        seconds_up(self.reset)
    }
}

fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A rate a key.
pub struct Limiter(Mutex<Table<Uuid, Instant>>);

impl Default for Limiter {
    fn default() -> Self {
        Self(Mutex::new(Table::new(LIMITED_KEYS_MAX)))
    }
}

impl Limiter {
    /// Counts a request, if it is allowed. At a rate of 0 it counts as 1.
    pub fn check(&self, key: Uuid, per_second: u32, now: Instant) -> Verdict {
        let limit = per_second.max(1);
        let mut table = lock(&self.0);
        let paid_off_at = table.entries.get(&key).copied().unwrap_or(now).max(now);
        let (verdict, paid_off_at) = decide(limit, paid_off_at, now);
        // A key for which there is no room is let through: those that are counted fill the table within one second,
        // and each of them is somebody's.
        if verdict.is_allowed() && table.has_room(&key, now, |paid_off_at| *paid_off_at <= now) {
            table.entries.insert(key, paid_off_at);
        }
        verdict
    }

    /// How many keys are counted.
    pub fn keys(&self) -> usize {
        lock(&self.0).entries.len()
    }
}

/// The verdict, and when all that was allowed is paid off.
fn decide(limit: u32, paid_off_at: Instant, now: Instant) -> (Verdict, Instant) {
    // A second is a whole number of them, or a little more: never is more than the limit allowed at once.
    let cost = (WINDOW + Duration::from_nanos(u64::from(limit) - 1)) / limit;
    let ahead = paid_off_at - now;
    let after = ahead + cost;
    let room = cost * limit;
    let of = |ahead: Duration| {
        let fit = room.saturating_sub(ahead).as_nanos() / cost.as_nanos();
        u32::try_from(fit).unwrap_or(limit).min(limit)
    };
    match after.checked_sub(room).filter(|wait| !wait.is_zero()) {
        wait @ Some(_) => (Verdict { wait, limit, remaining: of(ahead), reset: ahead }, paid_off_at),
        None => (Verdict { wait: None, limit, remaining: of(after), reset: after }, paid_off_at + cost),
    }
}

/// A pause for addresses that present wrong keys or passwords. Of an IPv6 address the network (/64) counts: whoever has one
/// address there has all.
pub struct Slowdown(Mutex<Table<IpAddr, Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Default for Slowdown {
    fn default() -> Self {
        Self(Mutex::new(Table::new(ADDRESSES_MAX)))
    }
}

impl Slowdown {
    /// How long an address has still to wait before what it presents is looked at; `None`: not at all.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = *lock(&self.0).entries.get(&network(address))?;
        let since = now.saturating_duration_since(failures.last);
        failures.pause().checked_sub(since).filter(|wait| !wait.is_zero())
    }

    /// Notes a failure; gives the pause that follows.
    pub fn failed(&self, address: IpAddr, now: Instant) -> Duration {
        let address = network(address);
        let mut table = lock(&self.0);
        let before = table.entries.get(&address).filter(|failures| !failures.is_forgotten(now));
        let count = before.map_or(0, |failures| failures.count).saturating_add(1);
        if !table.has_room(&address, now, |failures| failures.is_forgotten(now)) {
            // Whoever has so many networks is not slowed down by this; the table stays as big as it is.
            let any = table.entries.keys().next().copied();
            any.and_then(|any| table.entries.remove(&any));
        }
        let failures = Failures { count, last: now };
        table.entries.insert(address, failures);
        failures.pause()
    }

    /// How many addresses are remembered.
    pub fn addresses(&self) -> usize {
        lock(&self.0).entries.len()
    }
}

impl Failures {
    fn pause(self) -> Duration {
        match self.count.checked_sub(FAILURES_WITHOUT_PAUSE + 1) {
            None => Duration::ZERO,
            Some(doublings) => PAUSE_FIRST.saturating_mul(1 << doublings.min(16)).min(PAUSE_MAX),
        }
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGOTTEN_AFTER
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

struct Table<K, V> {
    entries: HashMap<K, V>,
    entries_max: usize,
    swept_at: Option<Instant>,
}

impl<K: Eq + std::hash::Hash, V> Table<K, V> {
    fn new(entries_max: usize) -> Self {
        Self { entries: HashMap::new(), entries_max, swept_at: None }
    }

    /// Whether an entry may be written; a full table is rid of what means nothing any more.
    fn has_room(&mut self, key: &K, now: Instant, is_past: impl Fn(&V) -> bool) -> bool {
        if self.entries.len() < self.entries_max || self.entries.contains_key(key) {
            return true;
        }
        if self.swept_at.is_none_or(|at| now.saturating_duration_since(at) >= SWEPT_EVERY) {
            self.swept_at = Some(now);
            self.entries.retain(|_, value| !is_past(value));
        }
        self.entries.len() < self.entries_max
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: Uuid = Uuid::from_u128(1);

    #[test]
    fn a_seconds_requests_may_come_at_once_and_then_one_after_the_other() {
        let (limiter, begin) = (Limiter::default(), Instant::now());
        for left in (0..10).rev() {
            let verdict = limiter.check(KEY, 10, begin);
            assert_eq!((verdict.is_allowed(), verdict.remaining, verdict.limit), (true, left, 10));
        }
        let refused = limiter.check(KEY, 10, begin);
        assert_eq!(refused.wait, Some(Duration::from_millis(100)));
        assert_eq!((refused.remaining, refused.reset, refused.wait_seconds()), (0, WINDOW, 1));
        let at = begin + Duration::from_millis(100);
        assert!(limiter.check(KEY, 10, at).is_allowed());
        assert!(!limiter.check(KEY, 10, at).is_allowed());
        assert!(limiter.check(Uuid::from_u128(2), 10, at).is_allowed(), "another key has a rate of its own");
    }

    proptest! {
        /// Whenever the requests come: in no span of time are more allowed than the rate and a second's worth, one that
        /// was told to wait is allowed when it has waited, and one that keeps to its rate is never refused.
        #[test]
        fn no_more_is_allowed_than_the_rate(
            rate in prop_oneof![1u32..20, 1u32..2_000, 1u32..=1_000_000],
            gaps in prop::collection::vec(0u64..400_000_000, 1..200),
        ) {
            let (limiter, begin) = (Limiter::default(), Instant::now());
            let mut now = begin;
            let mut allowed: Vec<u128> = Vec::new();
            for gap in gaps {
                now += Duration::from_nanos(gap / u64::from(rate).min(1000));
                let verdict = limiter.check(KEY, rate, now);
                prop_assert!(verdict.remaining <= rate);
                if verdict.is_allowed() {
                    allowed.push((now - begin).as_nanos());
                } else {
                    let wait = verdict.wait.unwrap();
                    prop_assert!(wait > Duration::ZERO && wait <= WINDOW);
                    let early = wait.checked_sub(Duration::from_nanos(1)).unwrap();
                    prop_assert!(!limiter.check(KEY, rate, now + early).is_allowed());
                    prop_assert!(limiter.check(KEY, rate, now + wait).is_allowed());
                    now += wait;
                    allowed.push((now - begin).as_nanos());
                }
            }
            for (index, from) in allowed.iter().enumerate() {
                for (count, to) in allowed[index..].iter().enumerate() {
                    let most = (to - from) * u128::from(rate) / 1_000_000_000 + u128::from(rate);
                    prop_assert!((count as u128) < most + 1, "{count} more after {} ns", to - from);
                }
            }
        }

        #[test]
        fn who_keeps_to_the_rate_is_never_refused(rate in 1u32..=1_000_000, count in 1u32..500) {
            let (limiter, begin) = (Limiter::default(), Instant::now());
            let cost = Duration::from_nanos(1_000_000_000u64.div_ceil(u64::from(rate)));
            for number in 0..count {
                prop_assert!(limiter.check(KEY, rate, begin + cost * number).is_allowed());
            }
        }

        /// Ever longer, never beyond the limit, and forgotten in the end.
        #[test]
        fn pauses_grow_and_end(count in 1u32..100, later in 0u64..2_000_000) {
            let (slowdown, begin) = (Slowdown::default(), Instant::now());
            let address = IpAddr::from([203, 0, 113, 7]);
            let pauses: Vec<Duration> = (0..count).map(|_| slowdown.failed(address, begin)).collect();
            prop_assert!(pauses.is_sorted());
            prop_assert!(pauses.iter().take(FAILURES_WITHOUT_PAUSE as usize).all(Duration::is_zero));
            let last = *pauses.last().unwrap();
            prop_assert!(last <= PAUSE_MAX);
            let later = Duration::from_millis(later);
            let expected = last.checked_sub(later).filter(|wait| !wait.is_zero());
            prop_assert_eq!(slowdown.wait(address, begin + later), expected);
            if later >= FORGOTTEN_AFTER {
                prop_assert_eq!(slowdown.failed(address, begin + later), Duration::ZERO);
            }
        }
    }

    #[test]
    fn the_pause_follows_the_sixth_failure_of_a_network() {
        let (slowdown, now) = (Slowdown::default(), Instant::now());
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let pauses: Vec<u128> = (1..9).map(|last| slowdown.failed(address(last), now).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 0, 0, 250, 500, 1000]);
        assert_eq!(slowdown.wait(address(99), now), Some(Duration::from_secs(1)));
        assert_eq!(slowdown.wait(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]), now), None);
        // The same host by its other spelling.
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        for _ in 0..=FAILURES_WITHOUT_PAUSE {
            slowdown.failed(mapped, now);
        }
        assert!(slowdown.wait(IpAddr::from([192, 0, 2, 1]), now).is_some());
        assert_eq!(slowdown.addresses(), 2);
    }

    #[test]
    fn the_tables_stay_within_their_limits() {
        let (limiter, slowdown, now) = (Limiter::default(), Slowdown::default(), Instant::now());
        for number in 0..LIMITED_KEYS_MAX + 100 {
            assert!(limiter.check(Uuid::from_u128(number as u128), 1, now).is_allowed());
        }
        assert_eq!(limiter.keys(), LIMITED_KEYS_MAX);
        // A second later all are paid off, and a new one has room.
        let later = now + Duration::from_secs(2);
        assert!(limiter.check(Uuid::from_u128(u128::MAX), 1, later).is_allowed());
        assert_eq!(limiter.keys(), 1);
        for number in 0..u32::try_from(ADDRESSES_MAX + 100).unwrap() {
            slowdown.failed(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(slowdown.addresses(), ADDRESSES_MAX);
        slowdown.failed(IpAddr::from([255, 0, 0, 1]), now + FORGOTTEN_AFTER);
        assert_eq!(slowdown.addresses(), 1);
    }
}
