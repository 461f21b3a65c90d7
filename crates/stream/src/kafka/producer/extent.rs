//! Where the records of a transaction lie.

use std::collections::BTreeMap;

use super::Place;

/// The offsets of the first and the last record of a transaction in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub first: i64,
    pub last: i64,
}

impl Extent {
    pub fn add(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

pub type Extents = BTreeMap<Place, Extent>;
