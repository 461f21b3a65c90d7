//! Messages as people look through them: those of Kafka's topics, or, without Kafka, the events of the log as the messages
//! that they would be.
//!
//! One look goes over a bounded number of messages, and says where to go on. Nothing is ever committed for a group.

pub mod filter;
pub mod kafka;
pub mod line;
pub mod log;
pub mod places;
pub mod source;
pub mod tail;

use domain::time::Timestamp;
use stream::kafka::browse::{Filter, Message, Order};

/// Which messages are wanted; what is `None` is not asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub partition: Option<u16>,
    pub order: Order,
    /// Not before this offset of each partition.
    pub from_offset: Option<i64>,
    /// Both inclusive.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub filter: Filter,
    /// Where the page before ended, as [`Found::next`] said it.
    pub after: Option<String>,
}

/// What one look found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// In the order of the look.
    pub messages: Vec<Message>,
    /// Where to go on; `None`: there is nothing more.
    pub next: Option<String>,
    pub looked_at: usize,
    /// The look ended at its bound, not because it had found enough.
    pub is_cut_short: bool,
    /// Partitions of which nothing is there, because they have no leader now.
    pub unavailable: Vec<i32>,
}

/// The first header of a name, where it is a text.
pub fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    let header = message.headers.iter().find(|header| header.name == name)?;
    header.value.as_deref().and_then(|value| std::str::from_utf8(value).ok())
}
