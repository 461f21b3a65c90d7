//! Chance that can be had again: the same seed gives the same load.

/// `SplitMix64` (Steele, Lea, Flood 2014): its numbers are the same with every version of everything.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Another sequence for each `stream` of a seed.
    pub const fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed);
        let base = random.next();
        Self(base ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..1`.
    pub fn share(&mut self) -> f64 {
        const DOUBLES: f64 = 9_007_199_254_740_992.0;
        #[allow(clippy::cast_precision_loss)] // 53 bits are exact.
        let numerator = (self.next() >> 11) as f64;
        numerator / DOUBLES
    }

    /// In `0..end`; 0 when there is nothing to choose from.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end);
        (wide >> 64) as u64
    }

    /// An index into something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_again_and_each_stream_its_own() {
        let taken = |seed, stream| {
            let mut random = Random::new(seed, stream);
            (0..8).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(taken(7, 1), taken(7, 1));
        assert_ne!(taken(7, 1), taken(7, 2));
        assert_ne!(taken(7, 1), taken(8, 1));
    }

    proptest! {
        #[test]
        fn numbers_keep_their_bounds(seed: u64, end in 1_u64..) {
            let mut random = Random::new(seed, 0);
            for _ in 0..100 {
                prop_assert!(random.below(end) < end);
                prop_assert!((0.0..1.0).contains(&random.share()));
            }
        }
    }
}
