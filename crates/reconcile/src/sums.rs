//! Sums of hashes, by which two large sets are compared without holding either: equal sets have equal sums in any
//! order, and sets that differ have different ones but for a chance of 1 in 2^128 (Bellare and Micciancio, "A New
//! Paradigm for Collision-free Hashing", 1997, the additive form). Buckets say roughly where they differ.

use domain::{
    event::Event,
    ledger::{AccountKey, Entry, Leg, Posting},
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A power of two; 64 KiB of sums.
const BUCKETS: usize = 4096;

pub struct Sums {
    buckets: Vec<u128>,
}

/// An entry as its event says it: without number and balance, which follow from the entries before it.
#[derive(Clone, Copy, Debug)]
pub struct Booked {
    pub bucket: usize,
    pub hash: u128,
}

impl Sums {
    pub fn new() -> Self {
        Self { buckets: vec![0; BUCKETS] }
    }

    pub fn add(&mut self, booked: &Booked) {
        let sum = &mut self.buckets[booked.bucket];
        *sum = sum.wrapping_add(booked.hash);
    }

    /// Two of them, as they are stored.
    pub fn pair_to_bytes(first: &Self, second: &Self) -> Vec<u8> {
        let sums = first.buckets.iter().chain(&second.buckets);
        sums.flat_map(|sum| sum.to_be_bytes()).collect()
    }

    pub fn pair_from_bytes(bytes: &[u8]) -> Option<(Self, Self)> {
        let (sums, rest) = bytes.as_chunks::<16>();
        if sums.len() != 2 * BUCKETS || !rest.is_empty() {
            return None;
        }
        let mut first: Vec<u128> = sums.iter().map(|sum| u128::from_be_bytes(*sum)).collect();
        let second = first.split_off(BUCKETS);
        Some((Self { buckets: first }, Self { buckets: second }))
    }

    /// The buckets that differ.
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        let pairs = self.buckets.iter().zip(&other.buckets).enumerate();
        pairs.filter(|(_, (a, b))| a != b).map(|(bucket, _)| bucket).collect()
    }
}

/// Both legs of what an event books.
pub fn legs(posting: &Posting) -> [(Leg, i64); 2] {
    [(posting.from, -posting.amount_minor), (posting.to, posting.amount_minor)]
}

pub fn of_leg(event: &Event, posting: &Posting, leg: Leg, amount_minor: i64) -> Booked {
    booked(
        &leg.account,
        [
            leg.entry_id.0,
            event.id.0,
            id(posting.payment_id.map(|id| id.0)),
            id(posting.withdrawal_id.map(|id| id.0)),
        ],
        [amount_minor, i64::from(posting.entry_type.number()), event.occurred_at.as_micros()],
    )
}

pub fn of_entry(entry: &Entry) -> Booked {
    booked(
        &entry.account,
        [
            entry.id.0,
            entry.transaction_id.0,
            id(entry.payment_id.map(|id| id.0)),
            id(entry.withdrawal_id.map(|id| id.0)),
        ],
        [entry.amount_minor, i64::from(entry.entry_type.number()), entry.created_at.as_micros()],
    )
}

fn id(id: Option<Uuid>) -> Uuid {
    id.unwrap_or_default()
}

fn booked(account: &AccountKey, ids: [Uuid; 4], numbers: [i64; 3]) -> Booked {
    let owner = account.owner.to_uuid();
    let mut hash = Sha256::new();
    hash.update(owner.as_bytes());
    hash.update(account.kind.number().to_be_bytes());
    hash.update(account.currency.code());
    for id in ids {
        hash.update(id.as_bytes());
    }
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    let digest = hash.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    // The last bits of an id are random, or the number of a lane.
    let bucket = usize::from(u16::from_be_bytes([owner.as_bytes()[14], owner.as_bytes()[15]])) % BUCKETS;
    Booked { bucket, hash: u128::from_be_bytes(half) }
}
