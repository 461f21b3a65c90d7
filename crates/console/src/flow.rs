//! How much goes on, and how much of it goes wrong, in the last minute and the last fifteen. Taken from what all processes
//! write, so every process tells the same, from the moment at which it starts.
//!
//! Payments are counted by the events in their stream, which is the difference of two positions in each lane: nothing is
//! counted one by one, however many there are. Requests are those of the record ([`store::request_log`]), with the numbers
//! of those that it left out.

use std::time::Duration;

use domain::{event::Stream, time::Timestamp};
use store::{Store, browse, error::ReadError, log, recent, request_log};

/// Of payments, as far as they are counted one by one.
pub const PAYMENTS_COUNTED_MAX: usize = 10_000;
const MINUTE: Duration = Duration::from_mins(1);
const QUARTER: Duration = Duration::from_mins(15);

/// What went on until a moment.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub at: Timestamp,
    /// In the last minute; [`PAYMENTS_COUNTED_MAX`] means that many or more.
    pub payments_made: usize,
    pub minute: Window,
    pub quarter: Window,
}

#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub micros: i64,
    /// Payments made, completed, cancelled, refunded, flagged: each is one.
    pub payment_events: i64,
    /// Answered by the API since this long ago: the record's bound may be reached before the window's end.
    pub requests_micros: i64,
    pub requests: i64,
    /// Of them with a status of 400 or above.
    pub errors: i64,
    /// Of those in the record with one of 500 or above. Which of the others have one is not known.
    pub server_errors: i64,
}

impl Window {
    /// In thousandths.
    pub fn payment_events_a_second_milli(&self) -> i64 {
        self.payment_events.saturating_mul(1_000_000_000) / self.micros.max(1)
    }

    /// `0.4 %`; `None`: there were no requests.
    pub fn error_rate(&self) -> Option<String> {
        if self.requests == 0 {
            return None;
        }
        let permille = self.errors.saturating_mul(1000) / self.requests;
        Some(match (self.errors, permille) {
            (0, _) => "0 %".to_owned(),
            (_, 0) => "< 0.1 %".to_owned(),
            _ => format!("{}.{} %", permille / 10, permille % 10),
        })
    }
}

pub async fn flow(store: Store) -> Result<Flow, ReadError> {
    let (db, at) = (store.reads(), store.now());
    let since = Timestamp::from_micros(at.as_micros() - micros(MINUTE));
    Ok(Flow {
        at,
        payments_made: browse::payments_since(db, since, PAYMENTS_COUNTED_MAX).await?,
        minute: window(&store, at, MINUTE).await?,
        quarter: window(&store, at, QUARTER).await?,
    })
}

async fn window(store: &Store, at: Timestamp, span: Duration) -> Result<Window, ReadError> {
    let (db, micros) = (store.reads(), micros(span));
    let since = Timestamp::from_micros(at.as_micros() - micros);
    let heads = log::heads(db).await?;
    let tally = request_log::tally(db, since).await?;
    Ok(Window {
        micros,
        payment_events: recent::since(db, &heads, Stream::Payments, since).await?,
        requests_micros: at.as_micros() - tally.since.as_micros(),
        requests: tally.requests,
        errors: tally.errors,
        server_errors: tally.server_errors,
    })
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(requests: i64, errors: i64) -> Window {
        let micros = micros(MINUTE);
        Window { micros, payment_events: 90, requests_micros: micros, requests, errors, server_errors: 0 }
    }

    #[test]
    fn a_rate_is_shown_without_being_better_than_it_is() {
        let shown = |requests, errors| window(requests, errors).error_rate();
        assert_eq!(shown(0, 0), None);
        assert_eq!(shown(7, 0).unwrap(), "0 %");
        assert_eq!(shown(3000, 1).unwrap(), "< 0.1 %");
        assert_eq!(shown(1000, 4).unwrap(), "0.4 %");
        assert_eq!(shown(3, 3).unwrap(), "100.0 %");
        assert_eq!(window(1, 0).payment_events_a_second_milli(), 1500);
    }
}
