//! How many streams there may be: of all merchants together, and of each.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::id::MerchantId;

/// So that no merchant takes the streams of all others.
pub const STREAMS_OF_A_MERCHANT_MAX: usize = 32;

#[derive(Clone)]
pub struct Seats(Arc<Inner>);

struct Inner {
    all_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_merchant: HashMap<MerchantId, usize>,
}

/// Held as long as the stream lasts.
pub struct Seat {
    seats: Seats,
    merchant: MerchantId,
}

impl Seats {
    pub fn new(all_max: usize) -> Self {
        Self(Arc::new(Inner { all_max, taken: Mutex::default() }))
    }

    /// `None`: there are too many already.
    pub fn take(&self, merchant: MerchantId) -> Option<Seat> {
        let mut taken = self.taken();
        let own = taken.by_merchant.get(&merchant).copied().unwrap_or_default();
        if taken.all >= self.0.all_max || own >= STREAMS_OF_A_MERCHANT_MAX {
            return None;
        }
        taken.all += 1;
        taken.by_merchant.insert(merchant, own + 1);
        Some(Seat { seats: self.clone(), merchant })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all -= 1;
        if let Some(own) = taken.by_merchant.get_mut(&self.merchant) {
            *own -= 1;
            if *own == 0 {
                taken.by_merchant.remove(&self.merchant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn neither_one_merchant_nor_all_together_take_more_than_there_are() {
        let merchant = |number| MerchantId(Uuid::from_u128(number));
        let seats = Seats::new(STREAMS_OF_A_MERCHANT_MAX + 2);
        let mut of_one: Vec<Seat> =
            (0..STREAMS_OF_A_MERCHANT_MAX).map(|_| seats.take(merchant(1)).unwrap()).collect();
        assert!(seats.take(merchant(1)).is_none());
        let _others = [seats.take(merchant(2)).unwrap(), seats.take(merchant(3)).unwrap()];
        assert!(seats.take(merchant(4)).is_none());
        of_one.pop();
        assert!(seats.take(merchant(4)).is_some());
    }

    #[test]
    fn a_merchant_without_streams_is_forgotten() {
        let seats = Seats::new(1);
        drop(seats.take(MerchantId(Uuid::from_u128(1))));
        assert!(seats.taken().by_merchant.is_empty());
    }
}
