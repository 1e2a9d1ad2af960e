//! Seeded random choice of the next token.

use super::options::Sampling;

/// The probabilities from which the next token is drawn, `[vocab]`, of processed `scores` (`-inf`: excluded).
///
/// `filter_first` is open_clip's order: top-k and top-p see the scores before the division by the temperature.
pub fn probabilities(scores: &[f32], sampling: &Sampling, filter_first: bool) -> Vec<f64> {
    let mut scores: Vec<f64> = scores.iter().map(|&score| score as f64).collect();
    let cool = |scores: &mut [f64]| {
        scores
            .iter_mut()
            .for_each(|score| *score /= sampling.temperature as f64)
    };
    if !filter_first {
        cool(&mut scores);
    }
    if let Some(k) = sampling.top_k {
        keep_top_k(&mut scores, k);
    }
    if let Some(p) = sampling.top_p {
        keep_top_p(&mut scores, p as f64);
    }
    if filter_first {
        cool(&mut scores);
    }
    softmax(&scores)
}

/// A token drawn from `probabilities` by the random number of (`seed`, `position`); `None` if all are zero.
pub(super) fn draw(probabilities: &[f64], seed: u64, position: usize) -> Option<u32> {
    let total: f64 = probabilities.iter().sum();
    let mut left = uniform(seed, position as u64) * total;
    let mut last = None;
    for (id, &probability) in (0u32..).zip(probabilities) {
        if probability > 0.0 {
            last = Some(id);
            if left < probability {
                break;
            }
            left -= probability;
        }
    }
    last
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights
        .into_iter()
        .map(|weight| if weight > 0.0 { weight / total } else { 0.0 })
        .collect()
}

/// Excludes everything below the k-th largest score; ties with it stay, as in transformers.
fn keep_top_k(scores: &mut [f64], k: usize) {
    if (1..scores.len()).contains(&k) {
        let mut order = scores.to_vec();
        let (_, &mut smallest_kept, _) = order.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        exclude(scores, |score| score < smallest_kept);
    }
}

/// Keeps the most probable tokens up to the one with which they have probability `p`, at least one. transformers
/// says the same from the other end: it drops the least probable ones that have at most `1 - p` together.
fn keep_top_p(scores: &mut [f64], p: f64) {
    let probabilities = softmax(scores);
    let mut ids: Vec<usize> = (0..scores.len())
        .filter(|&id| probabilities[id] > 0.0)
        .collect();
    if p >= 1.0 || ids.is_empty() {
        return;
    }
    // As a rule a few of the tokens suffice, so that sorting the whole vocabulary at each step would be a waste.
    let mut sorted = 64;
    let kept = loop {
        sorted = ids.len().min(sorted * 4);
        let descending = |&a: &usize, &b: &usize| probabilities[b].total_cmp(&probabilities[a]);
        ids.select_nth_unstable_by(sorted - 1, descending);
        ids[..sorted].sort_by(descending);
        let mut mass = 0.0;
        let reach = ids[..sorted].iter().position(|&id| {
            mass += probabilities[id];
            mass >= p
        });
        match reach {
            Some(last) => break last + 1,
            None if sorted == ids.len() => break sorted,
            None => {}
        }
    };
    for &id in &ids[kept..] {
        scores[id] = f64::NEG_INFINITY;
    }
}

fn exclude(scores: &mut [f64], drop: impl Fn(f64) -> bool) {
    for score in scores.iter_mut().filter(|score| drop(**score)) {
        *score = f64::NEG_INFINITY;
    }
}

/// A number in `[0, 1)` that depends on its arguments alone: SplitMix64 (Steele, Lea & Flood 2014) as a counter
/// generator, integers only, so that every platform draws the same numbers.
fn uniform(seed: u64, counter: u64) -> f64 {
    let mut z = mix(seed).wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = mix(z);
    (z >> 11) as f64 / (1u64 << 53) as f64
}

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(probabilities: &[f64]) -> Vec<usize> {
        (0..probabilities.len())
            .filter(|&id| probabilities[id] > 0.0)
            .collect()
    }

    #[test]
    fn filters_keep_the_most_probable() {
        let scores = [
            0.5f32.ln(),
            0.3f32.ln(),
            0.15f32.ln(),
            0.05f32.ln(),
            f32::NEG_INFINITY,
        ];
        let with = |top_k, top_p| {
            probabilities(
                &scores,
                &Sampling {
                    top_k,
                    top_p,
                    ..Default::default()
                },
                false,
            )
        };
        assert_eq!(kept(&with(None, None)), [0, 1, 2, 3]);
        assert_eq!(kept(&with(Some(2), None)), [0, 1]);
        assert_eq!(kept(&with(Some(50), None)), [0, 1, 2, 3]);
        assert_eq!(kept(&with(None, Some(0.7))), [0, 1]);
        assert_eq!(kept(&with(None, Some(0.0))), [0]);
        assert_eq!(kept(&with(None, Some(1.0))), [0, 1, 2, 3]);
        assert_eq!(kept(&with(Some(3), Some(0.85))), [0, 1, 2]);
        assert!((with(Some(2), None)[0] - 0.625).abs() < 1e-6);
    }

    #[test]
    fn top_p_is_exact_when_it_keeps_most_of_a_large_vocabulary() {
        let scores: Vec<f32> = (0..3000)
            .map(|id| ((id * 7919) % 3000) as f32 / 3000.0)
            .collect();
        for p in [0.01, 0.5, 0.9, 0.999] {
            let all = probabilities(&scores, &Sampling::default(), false);
            let sampling = Sampling {
                top_p: Some(p),
                ..Default::default()
            };
            let kept = kept(&probabilities(&scores, &sampling, false));
            let mass: f64 = kept.iter().map(|&id| all[id]).sum();
            let least = kept.iter().map(|&id| all[id]).fold(1.0, f64::min);
            assert!(mass >= p as f64 && mass - least < p as f64, "{p}: {mass}");
            assert!((0..3000).all(|id| kept.binary_search(&id).is_ok() || all[id] <= least));
        }
    }

    #[test]
    fn the_order_of_filter_and_temperature_matters() {
        let scores = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let sampling = Sampling {
            top_p: Some(0.7),
            temperature: 10.0,
            ..Default::default()
        };
        assert_eq!(kept(&probabilities(&scores, &sampling, true)), [0, 1]);
        assert_eq!(kept(&probabilities(&scores, &sampling, false)), [0, 1, 2]);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let wanted = [0.5, 0.0, 0.3, 0.2];
        let mut counts = [0usize; 4];
        for position in 0..20_000 {
            counts[draw(&wanted, 7, position).unwrap() as usize] += 1;
        }
        for (count, wanted) in counts.iter().zip(wanted) {
            assert!(
                (*count as f64 / 20_000.0 - wanted).abs() < 0.015,
                "{counts:?}"
            );
        }
        assert_eq!(draw(&[0.0; 3], 7, 0), None);
    }

    /// Fixed numbers: a change here would change every seeded text that users have kept.
    #[test]
    fn random_numbers_are_the_same_everywhere() {
        let bits: Vec<u64> = (0..3)
            .map(|i| (uniform(42, i) * 2f64.powi(53)) as u64)
            .collect();
        assert_eq!(bits, [5369361458086087, 1444442999664155, 1498778176012342]);
        assert_ne!(uniform(42, 0), uniform(43, 0));
    }
}
