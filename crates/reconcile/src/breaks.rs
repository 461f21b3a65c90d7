//! What can be wrong, and what to do about it.

use std::fmt;

/// The kinds of breaks. Their names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Something that the log says is not there.
    Missing,
    /// Something is there twice.
    Duplicate,
    /// Something is not what it was when it was written.
    Altered,
    /// Something lies behind what it should lie before.
    OutOfOrder,
    /// A balance is not the sum of its entries.
    DriftedBalance,
    /// The entries of a ledger transaction do not sum to zero.
    UnbalancedTransaction,
    /// Something is there that no event speaks of.
    Foreign,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Duplicate => "duplicate",
            Self::Altered => "altered",
            Self::OutOfOrder => "out of order",
            Self::DriftedBalance => "drifted balance",
            Self::UnbalancedTransaction => "unbalanced transaction",
            Self::Foreign => "foreign",
        }
    }

    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Missing => {
                "stop the program; restore what is missing from a backup, or from the log where the log has it"
            }
            Self::Duplicate => "stop the program; keep the one that the log speaks of",
            Self::Altered => {
                "find out who wrote to the database; where the log is whole, its value is the right one"
            }
            Self::OutOfOrder => "find out who wrote to the database; compare with a backup",
            Self::DriftedBalance => {
                "stop withdrawals of this account; the entries are the truth as long as they agree with the log"
            }
            Self::UnbalancedTransaction => {
                "stop withdrawals of its accounts; compare the entries with the event"
            }
            Self::Foreign => "find out who wrote to the database; the log knows nothing of it",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A difference that is no matter of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    pub kind: Kind,
    /// Where it is: a table and a key, or a place in the log.
    pub place: String,
    /// What the log says, or what follows from the one before.
    pub expected: String,
    pub found: String,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, place, expected, found } = self;
        write!(f, "{kind}: {place}: expected {expected}, found {found}; {}", kind.remedy())
    }
}
