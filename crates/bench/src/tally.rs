//! Everything that is known so far of a load, behind one lock.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{
    books::Books,
    connection::{Answer, Verdict},
    journal::Journal,
    operation::Operation,
    recorder::Recorder,
};

/// Different reasons why requests were not answered with success; of more only the count is kept.
const REASONS_MAX: usize = 20;
const REASON_CHARS_MAX: usize = 300;

pub struct Tally(Mutex<Inner>);

pub struct Inner {
    pub warmup: Recorder,
    pub measured: Recorder,
    pub books: Books,
    pub journal: Option<Journal>,
    /// What became of a full disk or the like.
    pub journal_error: Option<io::Error>,
    /// Changes of which nobody knows whether they were made.
    pub unsettled: Vec<Operation>,
    pub repeats: Repeats,
    /// Requests that were sent again because they were not answered.
    pub retries: u64,
    /// Answers that do not fit what was asked.
    pub wrong_answers: u64,
    pub reasons: BTreeMap<String, u64>,
}

/// Requests that were sent again with the key of an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repeats {
    pub answered: u64,
    /// The answer was not the same.
    pub mismatches: u64,
}

/// A request that has ended.
pub struct Ended<'a> {
    pub operation: &'a Operation,
    pub answer: &'a Answer,
    /// The answer's digest, when it was asked before.
    pub answered_before: Option<u64>,
    pub latency: Duration,
    pub is_measured: bool,
}

impl Tally {
    pub fn new(journal: Option<Journal>) -> Self {
        Self(Mutex::new(Inner {
            warmup: Recorder::default(),
            measured: Recorder::default(),
            books: Books::default(),
            journal,
            journal_error: None,
            unsettled: Vec::new(),
            repeats: Repeats::default(),
            retries: 0,
            wrong_answers: 0,
            reasons: BTreeMap::new(),
        }))
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Enters a request of the load.
    pub fn ended(&mut self, ended: &Ended<'_>) {
        let Ended { operation, answer, .. } = ended;
        let recorder = if ended.is_measured { &mut self.measured } else { &mut self.warmup };
        recorder.add(operation.kind(), answer.verdict, answer.status.is_some(), ended.latency);
        match ended.answered_before {
            Some(digest) if answer.verdict == Verdict::Ok => {
                self.repeats.answered += 1;
                self.repeats.mismatches += u64::from(answer.digest != digest);
            }
            Some(_) => self.note(answer),
            None => self.answered(operation, answer),
        }
    }

    /// Enters an answer into the books and the journal.
    pub fn answered(&mut self, operation: &Operation, answer: &Answer) {
        match answer.verdict {
            Verdict::Ok => {
                if let Err(wrong) = self.books.enter(operation, answer) {
                    self.wrong_answers += 1;
                    self.count(&wrong);
                }
                if let Some(journal) = &mut self.journal
                    && let Err(error) = journal.write(operation, answer)
                {
                    self.journal_error.get_or_insert(error);
                }
            }
            Verdict::Unknown if operation.kind().is_change() => {
                self.note(answer);
                self.unsettled.push(operation.clone());
            }
            Verdict::Unknown | Verdict::Refused | Verdict::Busy | Verdict::Unavailable | Verdict::Unsent => {
                self.note(answer);
            }
        }
    }

    /// So that whoever reads it meanwhile, or after this process was killed, finds it.
    pub fn flush_journal(&mut self) {
        if let Some(Err(error)) = self.journal.as_mut().map(Journal::flush) {
            self.journal_error.get_or_insert(error);
        }
    }

    /// Counts why it was not answered with success.
    pub fn note(&mut self, answer: &Answer) {
        if let Some(reason) = &answer.reason {
            self.count(reason);
        }
    }

    fn count(&mut self, reason: &str) {
        let mut reason = without_ids(reason);
        if self.reasons.len() >= REASONS_MAX && !self.reasons.contains_key(&reason) {
            "others".clone_into(&mut reason);
        }
        *self.reasons.entry(reason).or_default() += 1;
    }
}

/// The same reason for each id is one reason.
fn without_ids(reason: &str) -> String {
    const ID_CHARS: usize = 36;
    let mut short = String::new();
    let mut rest: &str = reason;
    while let Some(next) = rest.chars().next() {
        if short.len() >= REASON_CHARS_MAX {
            break;
        }
        if rest.get(..ID_CHARS).is_some_and(|text| uuid::Uuid::try_parse(text).is_ok()) {
            short.push('…');
            rest = &rest[ID_CHARS..];
        } else {
            short.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_without_the_ids_in_it() {
        let reason = "There is no payment 019a0000-0000-7000-8000-000000000001 — of this merchant.";
        assert_eq!(without_ids(reason), "There is no payment … — of this merchant.");
        assert_eq!(without_ids("short"), "short");
    }
}
