//! What a process does.

// Each is played or not, whatever the others are.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    pub api: bool,
    pub relay: bool,
    pub consumers: bool,
    pub reconcile: bool,
    pub registry: bool,
}

impl Roles {
    pub fn from_words(words: &[&str]) -> Self {
        let has = |role: &str| words.contains(&role);
        Self {
            api: has("api"),
            relay: has("relay"),
            consumers: has("consumers"),
            reconcile: has("reconcile"),
            registry: has("registry"),
        }
    }

    /// All that write or wait for commits, so that nobody else need be told of them.
    pub const fn are_all(self) -> bool {
        self.api && self.relay && self.consumers
    }
}
