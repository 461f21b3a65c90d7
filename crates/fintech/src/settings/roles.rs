//! What a process does.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    pub api: bool,
    pub relay: bool,
    pub consumers: bool,
}

impl Roles {
    pub fn from_words(words: &[&str]) -> Self {
        let has = |role: &str| words.contains(&role);
        Self { api: has("api"), relay: has("relay"), consumers: has("consumers") }
    }

    pub const fn are_all(self) -> bool {
        self.api && self.relay && self.consumers
    }
}
