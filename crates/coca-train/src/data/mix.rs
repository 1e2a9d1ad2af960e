//! Random numbers and the mixing of data sets, both computed from counters so that any step can be reproduced.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// What a random stream is for: streams with different purposes are independent.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// The order of a data set's samples in one epoch; counters: data set, epoch.
    Order = 1,
    /// Choice of texts and augmentation; counters: step, row.
    Sample = 2,
    /// The patches that an image keeps; counters: step, image of the batch.
    Patches = 3,
}

/// The random stream of `(seed, purpose, a, b)`. The four numbers are the whole key, so there is no state to save.
pub fn stream(seed: u64, purpose: Purpose, a: u64, b: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The order of the `len` samples of data set `data` in `epoch`: each exactly once.
pub fn permutation(seed: u64, data: usize, epoch: u64, len: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len).collect();
    order.shuffle(&mut stream(seed, Purpose::Order, data as u64, epoch));
    order
}

/// Deals slots (rows of batches, numbered from the start of training) to data sets in proportion to their weights.
///
/// The shares are exact rather than random: any run of `n` slots holds `n * weight` samples of a data set, give or
/// take one for each set. The dealing is a chain of Bresenham lines, so slot to sample is arithmetic, not history.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Of the slots that reach data set k, the share that it takes, in units of 2^-32.
    shares: Vec<u64>,
}

impl Mix {
    /// A mix with these positive, finite weights; only their ratios matter.
    pub fn new(weights: &[f64]) -> Self {
        let mut left: f64 = weights.iter().sum();
        let mut shares = Vec::with_capacity(weights.len());
        for &weight in weights {
            let share = (weight / left * (1u64 << 32) as f64).round() as u64;
            shares.push(share.clamp(1, 1 << 32));
            left -= weight;
        }
        if let Some(last) = shares.last_mut() {
            *last = 1 << 32;
        }
        Self { shares }
    }

    /// The data set of a slot, and how many samples that set gave before it.
    pub fn assign(&self, slot: u64) -> (usize, u64) {
        let mut slot = slot;
        for (data, &share) in self.shares.iter().enumerate() {
            let before = taken(share, slot);
            if taken(share, slot + 1) > before {
                return (data, before);
            }
            slot -= before;
        }
        // The last share is one, so its set takes every slot that reaches it.
        (self.shares.len().saturating_sub(1), slot)
    }

    /// How many of the first `slots` slots each data set gets.
    pub fn counts(&self, slots: u64) -> Vec<u64> {
        let mut left = slots;
        let take = |&share: &u64| {
            let count = taken(share, left);
            left -= count;
            count
        };
        self.shares.iter().map(take).collect()
    }
}

/// `round(share * slots)`: monotone, and never more than one further for one slot more.
fn taken(share: u64, slots: u64) -> u64 {
    ((u128::from(share) * u128::from(slots) + (1 << 31)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_slot_goes_to_one_set_in_proportion() {
        let weights = [3.0, 0.5, 0.001, 1.5];
        let total: f64 = weights.iter().sum();
        let mix = Mix::new(&weights);
        let mut counts = vec![0u64; weights.len()];
        for slot in 0..20_000 {
            assert_eq!(mix.counts(slot), counts, "at slot {slot}");
            let (data, position) = mix.assign(slot);
            assert_eq!(position, counts[data], "slot {slot} of set {data}");
            counts[data] += 1;
            for (count, weight) in counts.iter().zip(weights) {
                let expected = (slot + 1) as f64 * weight / total;
                assert!(
                    (*count as f64 - expected).abs() < 2.0,
                    "slot {slot}: {counts:?}"
                );
            }
        }
    }

    #[test]
    fn streams_depend_on_every_counter() {
        let first = |seed, purpose, a, b| stream(seed, purpose, a, b).random::<u64>();
        let base = first(1, Purpose::Sample, 2, 3);
        assert_eq!(base, first(1, Purpose::Sample, 2, 3));
        let others = [
            first(2, Purpose::Sample, 2, 3),
            first(1, Purpose::Order, 2, 3),
            first(1, Purpose::Sample, 3, 3),
            first(1, Purpose::Sample, 2, 4),
        ];
        assert!(others.iter().all(|&other| other != base));
    }

    #[test]
    fn an_epoch_is_a_permutation_and_differs_from_the_next() {
        let order = permutation(7, 0, 0, 1000);
        assert_ne!(order, permutation(7, 0, 1, 1000));
        assert_ne!(order, permutation(7, 1, 0, 1000));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..1000));
    }
}
