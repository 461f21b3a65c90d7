//! What can be wrong, where, and what to do about it.

use std::fmt;

/// The kinds of breaks. Their names and numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Something that the log says is not there.
    Missing = 1,
    /// Something is there twice.
    Duplicate = 2,
    /// Something is not what it was when it was written.
    Altered = 3,
    /// Something lies behind what it should lie before.
    OutOfOrder = 4,
    /// A balance is not the sum of its entries.
    DriftedBalance = 5,
    /// The entries of a ledger transaction do not sum to zero.
    UnbalancedTransaction = 6,
    /// Something is there that no event speaks of.
    Foreign = 7,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Missing,
        Self::Duplicate,
        Self::Altered,
        Self::OutOfOrder,
        Self::DriftedBalance,
        Self::UnbalancedTransaction,
        Self::Foreign,
    ];

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

    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i64 == number)
    }

    /// The place in an array that holds something for each kind.
    pub const fn index(self) -> usize {
        self as usize - 1
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The table that a break is in, or the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    Events,
    LaneHeads,
    Merchants,
    Payments,
    Withdrawals,
    Accounts,
    Entries,
    Keys,
    Positions,
    Cursors,
    Topic,
}

impl Area {
    const ALL: [Self; 11] = [
        Self::Events,
        Self::LaneHeads,
        Self::Merchants,
        Self::Payments,
        Self::Withdrawals,
        Self::Accounts,
        Self::Entries,
        Self::Keys,
        Self::Positions,
        Self::Cursors,
        Self::Topic,
    ];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|area| area.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::LaneHeads => "lane_heads",
            Self::Merchants => "merchants",
            Self::Payments => "payments",
            Self::Withdrawals => "withdrawals",
            Self::Accounts => "accounts",
            Self::Entries => "ledger_entries",
            Self::Keys => "idempotency_keys",
            Self::Positions => "consumer_positions",
            Self::Cursors => "relay_cursors",
            Self::Topic => "topic",
        }
    }

    /// A place in it.
    pub fn at(self, place: impl fmt::Display) -> Place {
        Place { area: self, place: place.to_string() }
    }
}

/// Where a break is. With the kind it is what a break is known by from one run to the next, so it holds nothing that
/// goes on changing beside a running system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub area: Area,
    /// A key of the table, a place in the log, or a partition and what lies in it.
    pub place: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.area.name(), self.place)
    }
}

/// A difference that is no matter of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    pub kind: Kind,
    pub place: Place,
    /// What the log says, or what follows from the one before.
    pub expected: String,
    pub found: String,
}

impl Break {
    pub const fn remedy(&self) -> &'static str {
        remedy(self.kind, self.place.area)
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, place, expected, found } = self;
        write!(f, "{kind}: {place}: expected {expected}, found {found}; {}", self.remedy())
    }
}

/// What to do about a break of a kind in a place.
pub const fn remedy(kind: Kind, area: Area) -> &'static str {
    match area {
        Area::Events => of_the_log(kind),
        Area::LaneHeads => {
            "stop the program, which would go on from a wrong end; bring the head back to the last event that \
             verifies, or restore the events behind it from a backup"
        }
        Area::Merchants | Area::Payments | Area::Withdrawals => of_a_row(kind),
        Area::Accounts | Area::Entries => of_the_ledger(kind),
        Area::Keys => {
            "delete the key: the request that it belongs to is decided anew when it is repeated, so look first \
             whether its payment is there"
        }
        Area::Positions => {
            "stop the consumer, which would pass events over; fintech replay takes it back to a position that the \
             log has"
        }
        Area::Cursors => "delete the note: the relay finds out from the topics how far it came",
        Area::Topic => of_a_topic(kind),
    }
}

const fn of_the_log(kind: Kind) -> &'static str {
    match kind {
        Kind::Missing => {
            "stop the program and restore the events from a backup, or from the topic where that still has them; \
             nothing else in the database can make them again"
        }
        Kind::Duplicate | Kind::Foreign => {
            "find out who wrote to the database; what the chain does not lead to was not written by the program"
        }
        Kind::Altered | Kind::OutOfOrder | Kind::DriftedBalance | Kind::UnbalancedTransaction => {
            "find out who wrote to the database, and put back what a backup or the topic has; the hash of the right \
             event follows from the one before it"
        }
    }
}

const fn of_a_row(kind: Kind) -> &'static str {
    match kind {
        Kind::Missing => "insert the row as the log has it, which is what is expected here",
        Kind::Foreign | Kind::Duplicate => {
            "find out who wrote to the database; no event made this row, so nothing of it was ever promised to anybody"
        }
        Kind::Altered | Kind::OutOfOrder | Kind::DriftedBalance | Kind::UnbalancedTransaction => {
            "find out who wrote to the database; set the row to what is expected here: the log is whole where no \
             break of events is told"
        }
    }
}

const fn of_the_ledger(kind: Kind) -> &'static str {
    match kind {
        Kind::Missing => {
            "stop withdrawals of this account; write what the event books, and the numbers and balances that follow"
        }
        Kind::Duplicate => {
            "stop withdrawals of this account; keep the entry with the number that its event gave"
        }
        Kind::DriftedBalance => {
            "stop withdrawals of this account; the balance is the sum of its entries, as far as these agree with the log"
        }
        Kind::UnbalancedTransaction => {
            "stop withdrawals of both accounts; the amount that the event says is the right one"
        }
        Kind::Foreign => {
            "stop withdrawals of this account, and find out who wrote to the database; no event books this entry"
        }
        Kind::Altered | Kind::OutOfOrder => {
            "stop withdrawals of this account, and find out who wrote to the database; what the event books is right"
        }
    }
}

const fn of_a_topic(kind: Kind) -> &'static str {
    match kind {
        Kind::Missing => {
            "what is missing at a topic's end the relay publishes again when it is started anew; of a gap in the middle, \
             delete the topic and fill it with fintech topics rebuild; our consumers read from the log what they miss"
        }
        Kind::OutOfOrder | Kind::Duplicate => {
            "find out who else writes to the topic; our consumers go by positions, others must be told; to make it \
             right, delete the topic and fill it with fintech topics rebuild"
        }
        Kind::Altered | Kind::Foreign | Kind::DriftedBalance | Kind::UnbalancedTransaction => {
            "find out who else writes to the topic and take the right away; our consumers set it aside as a dead \
             letter, others must be told; to make it right, delete the topic and fill it with fintech topics rebuild"
        }
    }
}
