//! CIDEr-D (Vedantam et al. 2015), as the COCO caption evaluation computes it.

use std::collections::{BTreeMap, BTreeSet};

use super::Described;
use super::ngrams::ngrams;

const MAX_N: usize = 4;
/// Width of the penalty on a difference in length.
const SIGMA: f64 = 6.0;

/// The mean over captions of ten times the similarity to their references: cosines of tf-idf vectors of 1- to 4-word
/// sequences, clipped and damped by the difference in length. Document frequencies are those of this data set's
/// references, so numbers of different data sets do not compare, and a single image scores 0.
pub fn cider_d(captions: &[Described]) -> f64 {
    let captions: Vec<Described> = captions.iter().map(Described::without_blanks).collect();
    let mut documents: BTreeMap<&[String], usize> = BTreeMap::new();
    for pair in &captions {
        let in_image: BTreeSet<&[String]> = pair
            .references
            .iter()
            .flat_map(|words| (1..=MAX_N).flat_map(|n| words.windows(n)))
            .collect();
        for ngram in in_image {
            *documents.entry(ngram).or_insert(0) += 1;
        }
    }
    let images = (captions.len().max(1) as f64).ln();
    let weight =
        |ngram: &[String]| images - (documents.get(ngram).copied().unwrap_or(0).max(1) as f64).ln();
    let of_one = |pair: &Described| {
        let caption = Vector::of(&pair.caption, weight);
        let similar = |reference: &Vec<String>| caption.similarity(&Vector::of(reference, weight));
        let sum: f64 = pair.references.iter().map(similar).sum();
        10.0 * sum / pair.references.len().max(1) as f64
    };
    captions.iter().map(of_one).sum::<f64>() / captions.len().max(1) as f64
}

/// Tf-idf weights of the sequences of a text.
struct Vector<'a> {
    /// One for each n.
    weights: [BTreeMap<&'a [String], f64>; MAX_N],
    norms: [f64; MAX_N],
    /// Number of word pairs, which the reference implementation takes for the length.
    length: f64,
}

impl<'a> Vector<'a> {
    fn of(words: &'a [String], weight: impl Fn(&[String]) -> f64) -> Self {
        let weights = std::array::from_fn(|n| {
            let counts = ngrams(words, n + 1).into_iter();
            counts
                .map(|(ngram, count)| (ngram, count as f64 * weight(ngram)))
                .collect()
        });
        let norm = |weights: &BTreeMap<&[String], f64>| {
            weights
                .values()
                .map(|weight| weight * weight)
                .sum::<f64>()
                .sqrt()
        };
        let norms = [&weights[0], &weights[1], &weights[2], &weights[3]].map(norm);
        Self {
            weights,
            norms,
            length: words.len().saturating_sub(1) as f64,
        }
    }

    /// Clipped to the reference, so that repeating a word does not pay.
    fn similarity(&self, reference: &Self) -> f64 {
        let delta = self.length - reference.length;
        let damping = (-delta * delta / (2.0 * SIGMA * SIGMA)).exp();
        let of_n = |n: usize| {
            let shared = self.weights[n].iter().filter_map(|(ngram, &own)| {
                let other = *reference.weights[n].get(ngram)?;
                Some(own.min(other) * other)
            });
            let norms = self.norms[n] * reference.norms[n];
            let sum = shared.sum::<f64>();
            if norms > 0.0 { sum / norms } else { 0.0 }
        };
        damping * (0..MAX_N).map(of_n).sum::<f64>() / MAX_N as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::ngrams::pair;
    use super::*;

    #[test]
    fn a_perfect_caption_scores_ten() {
        let pairs = [pair("a b c d", &["a b c d"]), pair("e f g h", &["e f g h"])];
        assert!((cider_d(&pairs) - 10.0).abs() < 1e-12);
        // One word is in no pair, triple or quadruple.
        let pairs = [pair("a", &["a"]), pair("b", &["b"])];
        assert!((cider_d(&pairs) - 2.5).abs() < 1e-12);
    }

    #[test]
    fn by_hand() {
        // Two images. "a" is in both, so its weight is 0; every other weight is ln 2 = w.
        // Caption "a b", reference "a b c".
        // n = 1: (w * w) / (w * w√2) = 1/√2. n = 2: "a b" is shared; norms w and w√2: 1/√2. n = 3, 4: 0.
        // One pair against two: delta 1, damping exp(-1/72). The other image's caption shares nothing.
        let pairs = [pair("a b", &["a b c"]), pair("x", &["a"])];
        let first = 10.0 * (-1.0f64 / 72.0).exp() * (2.0 * 0.5f64.sqrt()) / 4.0;
        assert!((cider_d(&pairs) - first / 2.0).abs() < 1e-12);
    }

    #[test]
    fn repeating_a_word_does_not_pay() {
        let other = || pair("x y", &["x y"]);
        let once = cider_d(&[pair("b", &["b c"]), other()]);
        let twice = cider_d(&[pair("b b", &["b c"]), other()]);
        // Unigrams: w·w / (w · w√2) once; min(2w, w)·w / (2w · w√2) twice.
        assert!(twice < once, "{twice} {once}");
        assert_eq!(cider_d(&[pair("a", &["a"])]), 0.0, "one image has no idf");
    }
}
