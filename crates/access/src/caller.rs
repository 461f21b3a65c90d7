//! Who asks, and how far a key reaches.

use std::{fmt, str::FromStr};

use domain::id::MerchantId;

/// Of an API key; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads what its scope holds.
    Read,
    /// Creates and changes payments, withdrawals and the merchant.
    Write,
    /// Does what operators do: reviews, processes withdrawals, looks at and controls consumers.
    Operate,
    /// Makes and revokes keys.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Operate, Self::Admin];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Operate => 3,
            Self::Admin => 4,
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.number() == number)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no role {name}; there are {known}")]
pub struct UnknownRole {
    pub name: String,
    pub known: String,
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| unknown(text, &Self::ALL.map(Self::name)))
    }
}

pub(crate) fn unknown(name: &str, known: &[&str]) -> UnknownRole {
    UnknownRole { name: name.to_owned(), known: known.join(", ") }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// What belongs to this merchant, and nothing else.
    Merchant(MerchantId),
    /// Everything.
    Platform,
}

impl Scope {
    /// Whether something that belongs to a merchant may be seen at all.
    pub fn includes(self, merchant: MerchantId) -> bool {
        match self {
            Self::Platform => true,
            Self::Merchant(own) => own == merchant,
        }
    }

    pub const fn merchant(self) -> Option<MerchantId> {
        match self {
            Self::Platform => None,
            Self::Merchant(id) => Some(id),
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// As the audit log has it: `key fk_live_ab12`, `operator anna`, `open access`.
    pub name: String,
    pub scope: Scope,
    pub role: Role,
}

impl Caller {
    /// Whoever asks while access is open.
    pub fn open() -> Self {
        Self { name: "open access".to_owned(), scope: Scope::Platform, role: Role::Admin }
    }
}

/// Whether it has to be said who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everybody may do everything: on a loopback address only.
    Open,
    Required,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn roles_are_ordered_and_read_by_their_names() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(Role::from_number(role.number()), Some(role));
        }
        let error = "Admin".parse::<Role>().unwrap_err();
        assert_eq!(error.to_string(), "there is no role Admin; there are read, write, operate, admin");
    }

    #[test]
    fn a_merchants_scope_is_that_merchant() {
        let (one, other) = (MerchantId(Uuid::from_u128(1)), MerchantId(Uuid::from_u128(2)));
        assert!(Scope::Platform.includes(one));
        assert!(Scope::Merchant(one).includes(one));
        assert!(!Scope::Merchant(one).includes(other));
    }
}
