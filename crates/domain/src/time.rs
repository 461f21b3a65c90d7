//! A moment in UTC with microsecond precision: what both databases store exactly.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00Z. Written and read as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// 9999-12-31T00:00:00Z: every moment up to it has a four-digit year in RFC 3339.
const MICROS_MAX: i64 = 253_402_214_400_000_000;

impl Timestamp {
    /// Clamped to the years 1970 to 9999, so that every value can be written as RFC 3339.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < 0 {
            Self(0)
        } else if micros > MICROS_MAX {
            Self(MICROS_MAX)
        } else {
            Self(micros)
        }
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// RFC 3339 with an offset or `Z`; anything finer than a microsecond is cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        let micros = parsed.as_microsecond();
        (0..=MICROS_MAX).contains(&micros).then_some(Self(micros))
    }

    /// The calendar day in UTC, as `2026-11-23`.
    pub fn date_utc(self) -> String {
        let mut text = self.to_string();
        text.truncate(10);
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_microsecond(self.0)
            .expect("a Timestamp lies between the years 1970 and 9999");
        write!(f, "{moment:.6}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("expected a time as RFC 3339, such as 2026-11-23T12:00:00Z")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_rfc_3339_with_microseconds_and_read_back() {
        let moment = Timestamp::from_micros(1_795_435_200_000_001);
        assert_eq!(moment.to_string(), "2026-11-23T12:00:00.000001Z");
        assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        assert_eq!(moment.date_utc(), "2026-11-23");
    }

    #[test]
    fn an_offset_is_converted_and_nonsense_is_not_a_time() {
        assert_eq!(Timestamp::parse("1970-01-01T01:00:00+01:00"), Some(Timestamp::from_micros(0)));
        for bad in ["", "2026-11-23", "2026-13-01T00:00:00Z", "now", "1969-12-31T23:59:59Z"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }
}
