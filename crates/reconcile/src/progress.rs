//! How far a run has come, so that another process can go on from there.
//!
//! A run goes on at a lane or a page of the log, at a row of the tables, or at a partition of the topics; only the
//! idempotency keys, and the second look where sums differ, begin anew. That is sound because the log before the
//! watermark does not change, and what is written behind it is left to the next run anyway.

use std::collections::BTreeSet;

use domain::{
    chain::Hash,
    currency::Currency,
    lane::Lane,
    ledger::{AccountKey, AccountKind, Owner},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use store::{
    batch::LaneHead,
    log::Verifier,
    tables::{AccountPlace, EntryPlace},
};
use uuid::Uuid;

use crate::Summary;

/// Raised when a checkpoint means something else than before: an older one is begun anew.
const FORMAT: u32 = 1;

/// Everything but the sums.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    format: u32,
    /// The watermark.
    heads: Vec<Head>,
    pub summary: Summary,
    pub phase: Phase,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Log { lanes_done: usize },
    Appended(Appended),
    Suspects { lanes: Vec<u16> },
    Rows { after: Option<Uuid> },
    Entries { after: Option<EntryCursor> },
    Accounts { after: Option<AccountCursor> },
    Differing,
    Keys,
    Positions,
    Topics { partitions_done: usize },
}

/// How far the walk over the log in the order of appending has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    pub number: i64,
    lanes: Vec<Head>,
    pub suspects: BTreeSet<u16>,
}

/// An entry that was passed, and the one before the next: number and balance of the last one that could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryCursor {
    account: AccountCursor,
    created_at: i64,
    number: i64,
    pub last: Option<Last>,
}

/// The last entry of an account so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    account: AccountCursor,
    number: i64,
    balance_minor: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCursor {
    owner: Uuid,
    kind: i64,
    currency: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    lane: u16,
    sequence: i64,
    clock: i64,
    streams: [(i64, Hash); 3],
}

impl Checkpoint {
    pub fn new(heads: &[LaneHead], summary: Summary, phase: Phase) -> Self {
        Self { format: FORMAT, heads: heads.iter().map(Head::new).collect(), summary, phase }
    }

    /// One that this program understands.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|checkpoint: &Self| checkpoint.format == FORMAT)
    }

    pub fn heads(&self) -> Vec<LaneHead> {
        self.heads.iter().map(Head::read).collect()
    }
}

impl Head {
    const fn new(head: &LaneHead) -> Self {
        let LaneHead { lane: Lane(lane), sequence, clock, streams } = *head;
        Self { lane, sequence, clock: clock.as_micros(), streams }
    }

    const fn read(&self) -> LaneHead {
        let Self { lane, sequence, clock, streams } = *self;
        LaneHead { lane: Lane(lane), sequence, clock: Timestamp::from_micros(clock), streams }
    }
}

impl Appended {
    pub fn new(number: i64, lanes: &[Verifier], suspects: BTreeSet<u16>) -> Self {
        let lanes = lanes.iter().map(|verifier| Head::new(verifier.reached())).collect();
        Self { number, lanes, suspects }
    }

    pub fn verifiers(&self) -> Vec<Verifier> {
        self.lanes.iter().map(|head| Verifier::behind(head.read())).collect()
    }
}

impl AccountCursor {
    pub fn new(place: &AccountPlace) -> Self {
        Self { owner: place.owner, kind: place.kind, currency: place.currency.clone() }
    }

    pub fn place(&self) -> AccountPlace {
        AccountPlace { owner: self.owner, kind: self.kind, currency: self.currency.clone() }
    }
}

impl Last {
    pub fn new((key, number, balance_minor): (AccountKey, i64, i64)) -> Self {
        let (kind, currency) = (i64::from(key.kind.number()), key.currency.code().to_owned());
        let account = AccountCursor { owner: key.owner.to_uuid(), kind, currency };
        Self { account, number, balance_minor }
    }

    pub fn read(&self) -> Option<(AccountKey, i64, i64)> {
        let AccountCursor { owner, kind, currency } = &self.account;
        let (kind, currency) = AccountKind::from_number(*kind).zip(Currency::parse(currency))?;
        let key = AccountKey { owner: Owner::from_uuid(*owner), kind, currency };
        Some((key, self.number, self.balance_minor))
    }
}

impl EntryCursor {
    pub fn new(place: &EntryPlace, last: Option<Last>) -> Self {
        let EntryPlace { account, created_at, number } = place;
        Self { account: AccountCursor::new(account), created_at: *created_at, number: *number, last }
    }

    pub fn place(&self) -> EntryPlace {
        EntryPlace { account: self.account.place(), created_at: self.created_at, number: self.number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let place = EntryPlace {
            account: AccountPlace { owner: Uuid::from_u128(7), kind: 1, currency: "USD".to_owned() },
            created_at: 5,
            number: 3,
        };
        let account = AccountCursor::new(&place.account);
        let last = Some(Last { account, number: 2, balance_minor: -9 });
        let entries = Phase::Entries { after: Some(EntryCursor::new(&place, last)) };
        let mut head = LaneHead::empty(Lane(4));
        head.streams[1] = (8, [200; 32]);
        let appended = Appended::new(77, &[Verifier::behind(head.clone())], [4].into());
        assert_eq!(appended.verifiers()[0].reached(), &head);
        for phase in [entries, Phase::Appended(appended)] {
            let heads = std::slice::from_ref(&head);
            let written = Checkpoint::new(heads, Summary { events: 6, ..Summary::default() }, phase.clone());
            let read = Checkpoint::read(&serde_json::to_string(&written).unwrap()).unwrap();
            assert_eq!((read.heads(), read.phase, read.summary.events), (heads.to_vec(), phase, 6));
        }
    }

    #[test]
    fn a_checkpoint_of_another_format_is_none() {
        let mut written = Checkpoint::new(&[], Summary::default(), Phase::Keys);
        written.format += 1;
        assert!(Checkpoint::read(&serde_json::to_string(&written).unwrap()).is_none());
        assert!(Checkpoint::read("{}").is_none());
    }
}
