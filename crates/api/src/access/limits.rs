//! How fast: a rate for each key, told in the headers of draft-ietf-httpapi-ratelimit-headers, and a pause for addresses
//! that present what is no key. A key that works is let in from any address, so that nobody behind the same proxy is
//! locked out by somebody else's guesses; that guessing is in vain, the 192 bits of a key see to.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use ::access::{
    VerifiedKey,
    throttle::{Limiter, Slowdown, Verdict},
};
use axum::{
    http::{HeaderName, HeaderValue, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};

use crate::{problem::Problem, problem_kind::RATE_LIMITED};

pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

pub struct Limits {
    keys: Limiter,
    addresses: Slowdown,
    requests_per_second_max: Option<u32>,
}

/// How a key stands to its rate after a request was counted; nothing when it has none.
pub struct Standing(Option<Verdict>);

impl Limits {
    pub fn new(requests_per_second_max: Option<u32>) -> Self {
        Self { keys: Limiter::default(), addresses: Slowdown::default(), requests_per_second_max }
    }

    /// Counts a request of a key; an error is the answer to one too many.
    pub fn count(&self, key: &VerifiedKey) -> Result<Standing, Box<Response>> {
        let Some(rate) = key.requests_per_second.or(self.requests_per_second_max) else {
            return Ok(Standing(None));
        };
        let verdict = self.keys.check(key.id, rate, Instant::now());
        let standing = Standing(Some(verdict));
        match verdict.wait {
            None => Ok(standing),
            Some(wait) => {
                let told = format!("This key may make {rate} requests a second; try again in a moment.");
                let mut response = slowed(told, wait);
                standing.show(&mut response);
                Err(Box::new(response))
            }
        }
    }

    /// Notes that an address presented what is no key; gives the answer when it has to wait.
    pub fn count_failure(&self, address: IpAddr) -> Option<Response> {
        let now = Instant::now();
        if let Some(wait) = self.addresses.wait(address, now) {
            let told = "Too many keys that do not work came from this address; try again later.";
            return Some(slowed(told.to_owned(), wait));
        }
        self.addresses.failed(address, now);
        None
    }
}

impl Standing {
    /// Tells the caller.
    pub fn show(&self, response: &mut Response) {
        let Some(Verdict { limit, remaining, reset, .. }) = self.0 else { return };
        let headers = response.headers_mut();
        headers.insert(RATE_LIMIT_POLICY, value(&format!("\"key\";q={limit};w=1")));
        headers.insert(RATE_LIMIT, value(&format!("\"key\";r={remaining};t={}", whole_seconds(reset))));
    }
}

fn slowed(told: String, wait: Duration) -> Response {
    let mut response = Problem::new(RATE_LIMITED, told).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait).max(1)));
    response
}

/// Rounded up: who waits so long has waited long enough.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("numbers and quotes are visible ASCII")
}

#[cfg(test)]
mod tests {
    use ::access::{Caller, Role, Scope};
    use uuid::Uuid;

    use super::*;

    fn key(requests_per_second: Option<u32>) -> VerifiedKey {
        let caller = Caller { name: "test".to_owned(), scope: Scope::Platform, role: Role::Read };
        VerifiedKey { id: Uuid::nil(), caller, requests_per_second }
    }

    #[test]
    fn the_rate_of_a_key_is_its_own_or_that_of_all() {
        let limit = |limits: &Limits, own| {
            let mut response = ().into_response();
            limits.count(&key(own)).ok()?.show(&mut response);
            let policy = response.headers().get(RATE_LIMIT_POLICY)?;
            Some(policy.to_str().unwrap().to_owned())
        };
        assert_eq!(limit(&Limits::new(None), None), None);
        assert_eq!(limit(&Limits::new(Some(50)), None).as_deref(), Some("\"key\";q=50;w=1"));
        assert_eq!(limit(&Limits::new(Some(50)), Some(7)).as_deref(), Some("\"key\";q=7;w=1"));
    }

    #[test]
    fn one_request_too_many_is_told_how_long_to_wait() {
        let limits = Limits::new(Some(1));
        assert!(limits.count(&key(None)).is_ok());
        let refused = limits.count(&key(None)).err().unwrap();
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()[RETRY_AFTER], "1");
        assert_eq!(refused.headers()[RATE_LIMIT], "\"key\";r=0;t=1");
    }

    #[test]
    fn an_address_that_goes_on_failing_has_to_wait() {
        let limits = Limits::new(None);
        let address = IpAddr::from([192, 0, 2, 7]);
        let slowed = (0..100).find_map(|_| limits.count_failure(address)).unwrap();
        assert_eq!(slowed.status(), 429);
        assert!(slowed.headers().contains_key(RETRY_AFTER));
        assert!(limits.count_failure(IpAddr::from([192, 0, 2, 8])).is_none());
    }
}
