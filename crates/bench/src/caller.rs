//! One of many callers: decides what it asks for next, from what it was answered so far. It spends only what it has
//! earned, so that the platform has no reason to refuse anything.

use std::{collections::VecDeque, sync::Arc};

use uuid::{Builder, Uuid};

use crate::{
    connection::{Answer, Verdict},
    mix::{Kind, Mix},
    operation::{Action, Operation},
    random::Random,
    spread::Draw,
};

/// Payments that a caller keeps in mind, of each state; of more it forgets some.
const HELD_MAX: usize = 4096;
/// Requests that may be sent again.
const RECENT_MAX: usize = 64;
const AMOUNT_MINOR_MAX: u64 = 10_000;

/// What all callers ask for.
#[derive(Clone)]
pub struct Work {
    pub asks: Asks,
    pub draw: Draw,
    pub merchants: Arc<[Uuid]>,
    /// Payments a request; `None`: each alone.
    pub bulk: Option<usize>,
    /// The share of requests that are earlier ones, sent again with the same key.
    pub repeats: f64,
}

#[derive(Clone)]
pub enum Asks {
    Mix(Mix),
    /// A path, again and again.
    Get(String),
}

pub struct Caller {
    work: Work,
    random: Random,
    pending: Vec<Held>,
    completed: Vec<Held>,
    /// Payments that may be read.
    known: Vec<(usize, Uuid)>,
    recent: VecDeque<(Operation, u64)>,
}

/// A payment.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub merchant: usize,
    pub payment: Uuid,
    pub amount_minor: i64,
}

pub struct Next {
    pub operation: Operation,
    /// The answer's digest, when it was asked before.
    pub answered: Option<u64>,
}

impl Caller {
    /// `held` are pending payments to begin with.
    pub fn new(work: Work, random: Random, held: Vec<Held>) -> Self {
        let known = held.iter().map(|held| (held.merchant, held.payment)).collect();
        Self { work, random, pending: held, completed: Vec::new(), known, recent: VecDeque::new() }
    }

    pub fn asks(&mut self) -> Next {
        if self.random.share() < self.work.repeats && !self.recent.is_empty() {
            let (operation, digest) = &self.recent[self.random.index(self.recent.len())];
            return Next { operation: operation.clone(), answered: Some(*digest) };
        }
        let (merchant, action) = match &self.work.asks {
            Asks::Get(path) => (0, Action::Get { path: path.clone() }),
            Asks::Mix(mix) => {
                let kind = mix.draw(&mut self.random);
                self.action(kind)
            }
        };
        // A version and a variant, so that it is a UUID to everybody.
        let bytes = (u128::from(self.random.next()) << 64) | u128::from(self.random.next());
        let operation = Operation {
            merchant,
            merchant_id: self.work.merchants.get(merchant).copied().unwrap_or_default(),
            key: Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid(),
            action,
        };
        Next { operation, answered: None }
    }

    /// Learns from an answer to something that was not asked before.
    pub fn answered(&mut self, operation: &Operation, answer: &Answer) {
        if answer.verdict != Verdict::Ok {
            return;
        }
        let merchant = operation.merchant;
        match &operation.action {
            Action::Create { .. } => {
                for created in &answer.resources {
                    let held = Held { merchant, payment: created.id, amount_minor: created.amount_minor };
                    keep(&mut self.known, (merchant, created.id), &mut self.random);
                    keep(&mut self.pending, held, &mut self.random);
                }
            }
            Action::Complete { payment } => {
                let amount_minor = answer.resources.iter().map(|one| one.amount_minor).sum();
                let held = Held { merchant, payment: *payment, amount_minor };
                keep(&mut self.completed, held, &mut self.random);
            }
            _ => {}
        }
        if operation.kind().is_change() && self.work.repeats > 0.0 {
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back((operation.clone(), answer.digest));
        }
    }

    /// What was drawn, or a new payment while there is none to do it with.
    fn action(&mut self, kind: Kind) -> (usize, Action) {
        let random = &mut self.random;
        let found = match kind {
            Kind::Complete => take(&mut self.pending, random)
                .map(|held| (held.merchant, Action::Complete { payment: held.payment })),
            Kind::Refund => take(&mut self.completed, random).map(|held| {
                let part = (held.amount_minor / 2).max(1);
                let amount_minor = if random.below(2) == 0 { held.amount_minor } else { part };
                (held.merchant, Action::Refund { payment: held.payment, amount_minor })
            }),
            // The payment is gone from what may be refunded, so its amount is there to be withdrawn.
            Kind::Withdraw => take(&mut self.completed, random)
                .map(|held| (held.merchant, Action::Withdraw { amount_minor: held.amount_minor })),
            Kind::Read => self
                .known
                .get(random.index(self.known.len()))
                .map(|(merchant, payment)| (*merchant, Action::Read { payment: *payment })),
            Kind::Balance => Some((self.work.draw.merchant(random), Action::Balance)),
            Kind::Create | Kind::Merchant | Kind::Get => None,
        };
        found.unwrap_or_else(|| self.create())
    }

    fn create(&mut self) -> (usize, Action) {
        let merchant = self.work.draw.merchant(&mut self.random);
        let amounts_minor = amounts(&mut self.random, self.work.bulk.unwrap_or(1));
        (merchant, Action::Create { amounts_minor, bulk: self.work.bulk.is_some() })
    }
}

pub fn amounts(random: &mut Random, count: usize) -> Vec<i64> {
    (0..count).map(|_| i64::try_from(1 + random.below(AMOUNT_MINOR_MAX)).unwrap_or(1)).collect()
}

fn keep<T>(held: &mut Vec<T>, one: T, random: &mut Random) {
    if held.len() < HELD_MAX {
        held.push(one);
    } else {
        let index = random.index(held.len());
        held[index] = one;
    }
}

fn take(held: &mut Vec<Held>, random: &mut Random) -> Option<Held> {
    (!held.is_empty()).then(|| held.swap_remove(random.index(held.len())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        books::Books,
        connection::{Holdings, Resource},
        spread::Spread,
    };

    fn caller(mix: &str, repeats: f64, seed: u64) -> Caller {
        let merchants: Arc<[Uuid]> = (1..=5).map(Uuid::from_u128).collect();
        let draw = Draw::new(Spread::Uniform, merchants.len());
        let asks = Asks::Mix(mix.parse().unwrap());
        let work = Work { asks, draw, merchants, bulk: None, repeats };
        Caller::new(work, Random::new(seed, 0), Vec::new())
    }

    /// A platform that refuses what is not covered, a merchant at a time.
    #[derive(Default)]
    struct Platform {
        made: u128,
        available_minor: [i64; 5],
        payments: std::collections::HashMap<Uuid, Resource>,
    }

    impl Platform {
        fn answer(&mut self, operation: &Operation) -> Answer {
            let available = &mut self.available_minor[operation.merchant];
            let resource = match &operation.action {
                Action::Create { amounts_minor, .. } => {
                    self.made += 1;
                    let id = Uuid::from_u128(1000 + self.made);
                    let made = Resource { id, amount_minor: amounts_minor[0], status: "Pending".to_owned() };
                    self.payments.insert(id, made.clone());
                    made
                }
                Action::Complete { payment } => {
                    let payment = self.payments.get_mut(payment).unwrap();
                    assert_eq!(payment.status, "Pending");
                    "Completed".clone_into(&mut payment.status);
                    *available += payment.amount_minor;
                    payment.clone()
                }
                Action::Refund { payment, amount_minor } => {
                    let payment = self.payments.get_mut(payment).unwrap();
                    assert_eq!(payment.status, "Completed");
                    assert!(*amount_minor <= payment.amount_minor);
                    *available -= amount_minor;
                    let is_whole = *amount_minor == payment.amount_minor;
                    (if is_whole { "Refunded" } else { "PartiallyRefunded" }).clone_into(&mut payment.status);
                    payment.clone()
                }
                Action::Withdraw { amount_minor } => {
                    *available -= amount_minor;
                    Resource { id: Uuid::nil(), amount_minor: *amount_minor, status: "Pending".to_owned() }
                }
                other => panic!("{other:?}"),
            };
            assert!(*available >= 0, "it is spent what was not earned");
            Answer {
                verdict: Verdict::Ok,
                status: Some(200),
                resources: vec![resource],
                digest: operation.key.as_u64_pair().0,
                reason: None,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// And the books of what it did are the platform's.
        #[test]
        fn a_caller_asks_for_nothing_that_must_be_refused(seed: u64) {
            let mut caller = caller("create=40,complete=30,refund=15,withdraw=15", 0.1, seed);
            let mut platform = Platform::default();
            let mut books = Books::open(&caller.work.merchants);
            for _ in 0..2000 {
                let Next { operation, answered: None } = caller.asks() else { continue };
                let answer = platform.answer(&operation);
                caller.answered(&operation, &answer);
                books.enter(&operation, &answer).unwrap();
            }
            prop_assert_eq!(u128::from(books.payments()), platform.made);
            for (index, available_minor) in platform.available_minor.into_iter().enumerate() {
                let found = Holdings { available_minor, entries_minor: available_minor.into(), ..Holdings::default() };
                let differing = books.compare(index, &found);
                prop_assert!(!differing.iter().any(|one| one.what.contains("available")), "{differing:?}");
            }
        }

        #[test]
        fn the_same_seed_asks_for_the_same(seed: u64) {
            let (mut one, mut other) = (caller("create=1,complete=1", 0.2, seed), caller("create=1,complete=1", 0.2, seed));
            let (mut platform, mut beside) = (Platform::default(), Platform::default());
            for _ in 0..100 {
                let (next, same) = (one.asks(), other.asks());
                prop_assert_eq!(&next.operation, &same.operation);
                prop_assert_eq!(next.answered, same.answered);
                if next.answered.is_none() {
                    one.answered(&next.operation, &platform.answer(&next.operation));
                    other.answered(&same.operation, &beside.answer(&same.operation));
                }
            }
        }
    }

    #[test]
    fn a_repeat_has_the_key_and_the_answer_of_the_first_time() {
        let mut caller = caller("create=1", 0.5, 7);
        let mut platform = Platform::default();
        let mut digests = std::collections::HashMap::new();
        let mut repeats = 0;
        for _ in 0..200 {
            let Next { operation, answered } = caller.asks();
            match answered {
                None => {
                    let answer = platform.answer(&operation);
                    caller.answered(&operation, &answer);
                    digests.insert(operation.key, answer.digest);
                }
                Some(digest) => {
                    repeats += 1;
                    assert_eq!(digests.get(&operation.key), Some(&digest));
                }
            }
        }
        assert!((60..140).contains(&repeats), "{repeats} of 200");
    }
}
