//! Over which merchants the load is spread.

use serde::Serialize;

use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    Uniform,
    /// The merchant of rank `r` has a weight of `1 / r^s`.
    Zipf(f64),
    /// This share of the load is on one merchant, the rest spread evenly over all others.
    Hot(f64),
}

/// Draws merchants by their index.
#[derive(Clone, Debug)]
pub struct Draw {
    spread: Spread,
    merchants: usize,
    /// Zipf: what all ranks up to this one weigh together, of 1. Shared by all callers.
    weights: std::sync::Arc<[f64]>,
}

impl Draw {
    pub fn new(spread: Spread, merchants: usize) -> Self {
        let weights = match spread {
            Spread::Zipf(s) => cumulated(s, merchants),
            Spread::Uniform | Spread::Hot(_) => Vec::new(),
        };
        Self { spread, merchants, weights: weights.into() }
    }

    pub fn merchant(&self, random: &mut Random) -> usize {
        match self.spread {
            Spread::Uniform => random.index(self.merchants),
            Spread::Zipf(_) => {
                let at = random.share();
                self.weights.partition_point(|weight| *weight <= at).min(self.merchants.saturating_sub(1))
            }
            Spread::Hot(share) if self.merchants == 1 || random.share() < share => 0,
            Spread::Hot(_) => 1 + random.index(self.merchants - 1),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // There are no 2^53 merchants.
fn cumulated(s: f64, merchants: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let mut weights: Vec<f64> = (1..=merchants)
        .map(|rank| {
            sum += (rank as f64).powf(-s);
            sum
        })
        .collect();
    for weight in &mut weights {
        *weight /= sum;
    }
    weights
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRAWS: u32 = 100_000;

    fn shares(spread: Spread, merchants: usize, seed: u64) -> Vec<f64> {
        let draw = Draw::new(spread, merchants);
        let mut random = Random::new(seed, 0);
        let mut counts = vec![0_u32; merchants];
        for _ in 0..DRAWS {
            counts[draw.merchant(&mut random)] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) / f64::from(DRAWS)).collect()
    }

    #[test]
    fn zipf_falls_with_the_power_of_the_rank() {
        for s in [0.5, 1.0, 2.0] {
            let shares = shares(Spread::Zipf(s), 100, 7);
            for rank in [2_u32, 4, 8] {
                let found = shares[0] / shares[rank as usize - 1];
                let wanted = f64::from(rank).powf(s);
                assert!((found / wanted - 1.0).abs() < 0.15, "s {s}, rank {rank}: {found}, not {wanted}");
            }
        }
    }

    #[test]
    fn zipf_of_zero_is_uniform() {
        for share in shares(Spread::Zipf(0.0), 10, 3) {
            assert!((share - 0.1).abs() < 0.01, "{share}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn one_hot_merchant_has_its_share(seed: u64, hot in 0.1_f64..0.95) {
            let shares = shares(Spread::Hot(hot), 11, seed);
            prop_assert!((shares[0] - hot).abs() < 0.02);
            for share in &shares[1..] {
                prop_assert!((share - (1.0 - hot) / 10.0).abs() < 0.02);
            }
        }

        #[test]
        fn every_merchant_may_be_drawn_and_no_other(seed: u64, merchants in 1_usize..50) {
            for spread in [Spread::Uniform, Spread::Zipf(1.0), Spread::Hot(0.5)] {
                let draw = Draw::new(spread, merchants);
                let mut random = Random::new(seed, 0);
                for _ in 0..100 {
                    prop_assert!(draw.merchant(&mut random) < merchants);
                }
            }
        }
    }
}
