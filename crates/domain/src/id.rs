//! Ids, each of its own type so that one cannot stand for another.
//!
//! A command's id is a `UUIDv7` made where the request arrived. All that the command creates is
//! numbered from it ([`IdSource`]), so a command that is decided again creates the same ids.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            /// Hyphenated form only: one id has one spelling, as in keys and URLs.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let id: uuid::fmt::Hyphenated = text.parse()?;
                Ok(Self(id.into_uuid()))
            }
        }
    };
}

id!(
    /// One request to change something; the events that it causes carry it.
    CommandId
);
id!(MerchantId);
id!(PaymentId);
id!(WithdrawalId);
id!(
    /// Also the id of the ledger transaction that the event books, if it books one.
    EventId
);
id!(EntryId);

/// The low 62 bits of a UUID of RFC 9562: everything behind the variant.
const LOW_BITS: u128 = (1 << 62) - 1;

/// Hands out the ids of what one command creates: the command's id plus 1, 2, 3 ….
#[derive(Debug)]
pub struct IdSource {
    command: Uuid,
    handed_out: u128,
}

impl IdSource {
    pub fn new(command: CommandId) -> Self {
        Self { command: command.0, handed_out: 0 }
    }

    /// Version and variant bits stay; the random tail is counted up and wraps within itself.
    pub fn next_id(&mut self) -> Uuid {
        self.handed_out += 1;
        let base = self.command.as_u128();
        let tail = ((base & LOW_BITS) + self.handed_out) & LOW_BITS;
        Uuid::from_u128((base & !LOW_BITS) | tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_ids_are_distinct_and_keep_version_and_variant() {
        let command = CommandId(Uuid::from_u128(0x019a_0000_0000_7000_bfff_ffff_ffff_ffff));
        let mut ids = IdSource::new(command);
        let (first, second) = (ids.next_id(), ids.next_id());
        assert_ne!(first, second);
        assert_ne!(first, command.0);
        assert_eq!(first.get_version_num(), 7);
        assert_eq!(first.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(IdSource::new(command).next_id(), first);
    }

    #[test]
    fn only_the_hyphenated_spelling_is_an_id() {
        assert!("019a0000-0000-7000-8000-000000000001".parse::<PaymentId>().is_ok());
        assert!("019a0000000070008000000000000001".parse::<PaymentId>().is_err());
        assert!("{019a0000-0000-7000-8000-000000000001}".parse::<PaymentId>().is_err());
    }
}
