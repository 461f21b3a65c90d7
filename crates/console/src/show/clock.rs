//! Moments: how long ago, and exactly when.

use domain::time::Timestamp;

/// What moments are shown against.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub now: Timestamp,
}

/// A moment as a person reads it.
#[derive(Clone, Debug)]
pub struct When {
    /// RFC 3339 with microseconds, in UTC.
    pub exact: String,
    /// `2026-11-26 10:24:01 UTC`
    pub text: String,
    /// `3 min ago`
    pub ago: String,
}

const MICROS_A_SECOND: i64 = 1_000_000;

impl Clock {
    pub fn when(self, moment: Timestamp) -> When {
        let exact = moment.to_string();
        let text = format!("{} {} UTC", &exact[..10], &exact[11..19]);
        When { text, ago: self.ago(moment), exact }
    }

    fn ago(self, moment: Timestamp) -> String {
        let micros = self.now.as_micros() - moment.as_micros();
        let span = span(micros.abs());
        match micros {
            _ if micros.abs() < MICROS_A_SECOND => "now".to_owned(),
            ..0 => format!("in {span}"),
            _ => format!("{span} ago"),
        }
    }
}

/// A length of time in its largest unit: `3 min`.
pub fn span(micros: i64) -> String {
    let seconds = micros / MICROS_A_SECOND;
    let (count, unit) = match seconds {
        ..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{count} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_exactly_and_by_its_age() {
        let moment = Timestamp::parse("2026-11-26T10:24:01.000001Z").unwrap();
        for (later, ago) in [
            (0, "now"),
            (1, "1 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (7200, "2 h ago"),
            (200_000, "2 days ago"),
            (-90, "in 1 min"),
        ] {
            let clock = Clock { now: Timestamp::from_micros(moment.as_micros() + later * MICROS_A_SECOND) };
            let when = clock.when(moment);
            assert_eq!(when.ago, ago);
            assert_eq!(when.text, "2026-11-26 10:24:01 UTC");
            assert_eq!(when.exact, "2026-11-26T10:24:01.000001Z");
        }
    }
}
