//! Which patches a training image keeps (patch dropout).

use rand::seq::index::sample;

use crate::data::{Purpose, stream};

/// Drops a share of each image's patches. What is dropped depends on the seed, the step and the image's place in the
/// batch alone, so that there is no state to save and the batch can be computed in any parts.
#[derive(Clone, Copy, Debug)]
pub struct PatchDropout {
    /// The share that is lost, less than 1.
    pub share: f64,
    /// The run's seed.
    pub seed: u64,
}

impl PatchDropout {
    /// The patches, of `count`, that image number `image` of the batch of `step` keeps, in order: open_clip's number
    /// of them, at least one.
    pub fn kept(&self, count: usize, step: u64, image: u64) -> Vec<usize> {
        let keep = ((count as f64 * (1.0 - self.share)) as usize).clamp(1, count);
        let mut random = stream(self.seed, Purpose::Patches, step, image);
        let mut kept = sample(&mut random, count, keep).into_vec();
        kept.sort_unstable();
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_open_clips_and_the_choice_is_random() {
        let dropout = |share| PatchDropout { share, seed: 5 };
        // max(1, int(n * (1 - p)))
        for (count, share, keep) in [(49, 0.5, 24), (196, 0.75, 49), (4, 0.9, 1), (16, 0.1, 14)] {
            let kept = dropout(share).kept(count, 3, 0);
            assert_eq!(kept.len(), keep);
            assert!(kept.is_sorted_by(|a, b| a < b) && kept.iter().all(|&patch| patch < count));
        }
        let kept = |step, image| dropout(0.5).kept(64, step, image);
        assert_eq!(kept(1, 2), kept(1, 2));
        assert_ne!(kept(1, 2), kept(2, 2));
        assert_ne!(kept(1, 2), kept(1, 3));
        let mut seen = [0; 64];
        (0..400)
            .flat_map(|step| kept(step, 0))
            .for_each(|patch| seen[patch] += 1);
        assert!(
            seen.iter().all(|times| (130..270).contains(times)),
            "{seen:?}"
        );
    }
}
