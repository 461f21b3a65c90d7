//! Where a list of messages goes on: a text for addresses, such as `newest:0-1200.3-77`.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// A cursor of a topic with more partitions is not read.
const PLACES_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The newest messages first.
    Newest,
    /// The oldest messages first.
    Oldest,
}

impl Order {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }
}

impl FromStr for Order {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        match text {
            "newest" => Ok(Self::Newest),
            "oldest" => Ok(Self::Oldest),
            _ => Err(CursorError),
        }
    }
}

/// How far a list has come in each partition; one that is not named has been read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub order: Order,
    /// By partition, the next offset to read; of the newest first, the one behind it.
    pub(super) places: BTreeMap<i32, i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not where a list of messages goes on")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.order.name())?;
        for (number, (partition, offset)) in self.places.iter().enumerate() {
            let dot = if number == 0 { "" } else { "." };
            write!(f, "{dot}{partition}-{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (order, places) = text.split_once(':').ok_or(CursorError)?;
        let place = |text: &str| {
            let (partition, offset) = text.split_once('-')?;
            let (partition, offset) = (partition.parse::<i32>().ok()?, offset.parse::<i64>().ok()?);
            (partition >= 0 && offset >= 0).then_some((partition, offset))
        };
        let places: Option<BTreeMap<i32, i64>> = places.split('.').take(PLACES_MAX).map(place).collect();
        Ok(Self { order: order.parse()?, places: places.ok_or(CursorError)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = Cursor { order: Order::Newest, places: [(0, 1200), (3, i64::MAX)].into() };
        assert_eq!(cursor.to_string(), "newest:0-1200.3-9223372036854775807");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let wrong =
            ["", "newest", "newest:", "latest:0-1", "oldest:0", "oldest:0-", "oldest:-1-5", "oldest:0--5"];
        let more = ["oldest:0-1.", "oldest:0-9223372036854775808", "oldest:2147483648-1", "newest:0-1.x-2"];
        for text in wrong.into_iter().chain(more) {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
