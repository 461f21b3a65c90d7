//! What a caller holds: a way to ask for something and to get an answer, over HTTP ([`crate::http`]) or in
//! this process ([`crate::in_process`]).

use uuid::Uuid;

use crate::operation::Operation;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// By the platform's rules. Nothing was changed.
    Refused,
    /// Too much was waiting. Nothing was changed.
    Busy,
    /// The database is away. Nothing was changed.
    Unavailable,
    /// There was no answer that says what happened: only asking again with the same key tells.
    Unknown,
    /// It was never sent.
    Unsent,
}

impl Verdict {
    /// Whether nothing will change about it by asking again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Ok | Self::Refused)
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub verdict: Verdict,
    /// Of HTTP; what it would be, in process. `None`: there was no answer.
    pub status: Option<u16>,
    /// What a change created or changed.
    pub resources: Vec<Resource>,
    /// Of all that was answered: two answers with the same one are the same.
    pub digest: u64,
    /// For people, when it is not [`Verdict::Ok`].
    pub reason: Option<String>,
}

impl Answer {
    pub fn without(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, status: None, resources: Vec::new(), digest: 0, reason: Some(reason.into()) }
    }
}

/// A payment, a withdrawal or a merchant, as the answer shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub id: Uuid,
    /// 0 for a merchant.
    pub amount_minor: i64,
    /// `Completed` and the like; empty for a merchant.
    pub status: String,
}

/// What the platform says of one merchant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    pub available_minor: i64,
    pub pending_minor: i64,
    /// The sum of the ledger's entries in the available account.
    pub entries_minor: i128,
    pub payments: Payments,
}

/// How many payments there are, by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payments {
    pub pending: u64,
    pub completed: u64,
    pub partially_refunded: u64,
    pub refunded: u64,
    pub failed: u64,
}

/// One of many, each with one request at a time.
pub trait Connection: Send + 'static {
    fn send(&mut self, operation: &Operation) -> impl Future<Output = Answer> + Send;

    /// Reads what is said of a merchant; an error is a sentence.
    fn holdings(&mut self, merchant: Uuid) -> impl Future<Output = Result<Holdings, String>> + Send;
}
