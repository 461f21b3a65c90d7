//! Secrets: where they come from, how they are spelt, and what is kept of them.
//!
//! A key is `fk_live_` or `fk_test_`, 24 random bytes in base 62 and a check of both, so that a mistyped key is refused
//! without asking anybody, and one that lies in a repository is found by a pattern. 192 bits cannot be guessed, so one
//! SHA-256 of it is as good as a slow hash, at a thousandth of its cost.

use std::fmt;

use sha2::{Digest as _, Sha256};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LIVE: &str = "fk_live_";
const TEST: &str = "fk_test_";
const KEY_RANDOM_BYTES: usize = 24;
/// 62^33 > 2^192.
const KEY_RANDOM_CHARS: usize = 33;
/// 62^6 > 2^32.
const CHECK_CHARS: usize = 6;
const KEY_CHARS: usize = LIVE.len() + KEY_RANDOM_CHARS + CHECK_CHARS;
/// Of a key, that are shown again and again.
pub const PREFIX_CHARS: usize = 12;
const LAST_CHARS: usize = 4;
const TOKEN_BYTES: usize = 32;
/// 62^43 > 2^256.
const TOKEN_CHARS: usize = 43;

/// A text that is shown once: a key, or a session's token. Never in a log, because it does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

pub(crate) type Hash = [u8; 32];

pub(crate) fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// A token of 256 bits.
pub(crate) fn token() -> Secret {
    Secret(base62(random::<TOKEN_BYTES>(), TOKEN_CHARS))
}

/// A key that nobody had before.
pub(crate) fn new_key(is_live: bool) -> Secret {
    let mut text = if is_live { LIVE } else { TEST }.to_owned();
    text.push_str(&base62(random::<KEY_RANDOM_BYTES>(), KEY_RANDOM_CHARS));
    let check = check(text.as_bytes());
    text.extend(check.map(char::from));
    Secret(text)
}

/// The hash of what may be a key; `None` when it certainly is none.
pub(crate) fn key_hash(presented: &str) -> Option<Hash> {
    let bytes = presented.as_bytes();
    if bytes.len() != KEY_CHARS || !(presented.starts_with(LIVE) || presented.starts_with(TEST)) {
        return None;
    }
    let (before, stated) = bytes.split_at(KEY_CHARS - CHECK_CHARS);
    (check(before) == stated).then(|| hash(presented))
}

/// What is shown of a key for good: how it begins, and how it ends.
pub(crate) fn ends(key: &Secret) -> (&str, &str) {
    let text = key.reveal();
    // Ours are ASCII.
    (text.get(..PREFIX_CHARS).unwrap_or(text), text.get(text.len() - LAST_CHARS..).unwrap_or(text))
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

fn check(before: &[u8]) -> [u8; CHECK_CHARS] {
    let mut rest = crc32c::crc32c(before);
    let mut digits = [b'0'; CHECK_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// The bytes as one number in base 62, with leading zeros.
fn base62<const N: usize>(mut number: [u8; N], chars: usize) -> String {
    let mut digits = Vec::with_capacity(chars);
    for _ in 0..chars {
        let mut rest = 0;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("the rest is below 62");
            rest = value % 62;
        }
        digits.push(char::from(BASE62[rest as usize]));
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_shown_by_its_ends_and_found_by_its_hash() {
        let key = new_key(true);
        let (prefix, last4) = ends(&key);
        assert!(key.reveal().starts_with("fk_live_") && key.reveal().len() == 47, "{}", key.reveal());
        assert!(key.reveal().starts_with(prefix) && prefix.len() == 12);
        assert!(key.reveal().ends_with(last4) && last4.len() == 4);
        assert_eq!(key_hash(key.reveal()), Some(hash(key.reveal())));
        assert!(new_key(false).reveal().starts_with("fk_test_"));
        assert_eq!(format!("{key:?}"), "Secret(…)");
    }

    #[test]
    fn base_62_writes_the_whole_number() {
        assert_eq!(base62([0, 0], 3), "000");
        assert_eq!(base62([0, 61], 3), "00z");
        assert_eq!(base62([0, 62], 3), "010");
        assert_eq!(base62([0xff, 0xff], 3), "H31");
        assert_eq!(base62([0xff; KEY_RANDOM_BYTES], KEY_RANDOM_CHARS).len(), KEY_RANDOM_CHARS);
        // One digit less would not hold it.
        assert_ne!(&base62([0xff; KEY_RANDOM_BYTES], KEY_RANDOM_CHARS)[..1], "0");
        assert_ne!(&base62([0xff; TOKEN_BYTES], TOKEN_CHARS)[..1], "0");
    }

    #[test]
    fn secrets_differ() {
        let made: HashSet<String> = (0..1000).map(|_| token().reveal().to_owned()).collect();
        assert_eq!(made.len(), 1000);
    }

    proptest! {
        /// CRC-32C finds every single wrong character, and two that changed places.
        #[test]
        fn a_mistyped_key_is_none(place in 0usize..47, typed in "[0-9A-Za-z]", swap in 8usize..46) {
            let key = new_key(true).reveal().to_owned();
            let mut mistyped = key.clone();
            mistyped.replace_range(place..=place, &typed);
            prop_assert_eq!(key_hash(&mistyped).is_some(), mistyped == key);
            let mut bytes = key.clone().into_bytes();
            bytes.swap(swap, swap + 1);
            let swapped = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(key_hash(&swapped).is_some(), swapped == key);
        }

        #[test]
        fn any_text_may_be_presented(text in "\\PC{0,60}|fk_live_\\PC{39}|fk_live_[0-9A-Za-z]{39}|fk_live_[é0]{20,39}") {
            prop_assert_eq!(key_hash(&text), None);
        }
    }
}
