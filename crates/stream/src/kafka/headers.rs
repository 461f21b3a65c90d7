//! The headers of a record, one by one. By the protocol a name is a text; a broker takes any bytes, and the client gives up
//! on a name that is not UTF-8 with a panic. Whoever may write to a topic must not be able to end its readers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::Headers;

/// In the place of a name that cannot be shown. Its value cannot be had, either.
pub const NAME_NOT_UTF8: &str = "(a name that is not UTF-8)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub name: &'a str,
    pub value: Option<&'a [u8]>,
}

pub fn each<H: Headers>(headers: &H) -> impl Iterator<Item = Header<'_>> {
    (0..headers.count()).filter_map(|number| {
        match catch_unwind(AssertUnwindSafe(|| headers.try_get(number))) {
            Ok(found) => found.map(|found| Header { name: found.key, value: found.value }),
            Err(_) => Some(Header { name: NAME_NOT_UTF8, value: None }),
        }
    })
}
