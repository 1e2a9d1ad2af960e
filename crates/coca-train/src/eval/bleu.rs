//! BLEU-4 over a whole data set (Papineni et al. 2002), as the COCO caption evaluation computes it.

use super::Described;
use super::ngrams::ngrams;

const MAX_N: usize = 4;

/// The geometric mean of the clipped precisions of 1- to 4-word sequences, times the brevity penalty. The length that
/// counts for a caption is that of the reference closest to it.
pub fn bleu4(captions: &[Described]) -> f64 {
    let (mut matched, mut total) = ([0usize; MAX_N], [0usize; MAX_N]);
    let (mut length, mut reference_length) = (0usize, 0usize);
    for Described {
        caption,
        references,
    } in captions
    {
        length += caption.len();
        let closest = references.iter().map(Vec::len);
        reference_length += closest
            .min_by_key(|&n| (n.abs_diff(caption.len()), n))
            .unwrap_or(0);
        for n in 1..=MAX_N {
            let references: Vec<_> = references.iter().map(|words| ngrams(words, n)).collect();
            for (ngram, count) in ngrams(caption, n) {
                let most = references.iter().filter_map(|counts| counts.get(ngram));
                matched[n - 1] += count.min(most.copied().max().unwrap_or(0));
                total[n - 1] += count;
            }
        }
    }
    if matched.contains(&0) {
        return 0.0;
    }
    let log_precision = |(&matched, &total)| (matched as f64 / total as f64).ln();
    let mean = matched.iter().zip(&total).map(log_precision).sum::<f64>() / MAX_N as f64;
    let brevity = (1.0 - reference_length as f64 / length as f64).min(0.0);
    (mean + brevity).exp()
}

#[cfg(test)]
mod tests {
    use super::super::ngrams::split;
    use super::*;

    fn pair(caption: &str, references: &[&str]) -> Described {
        let references = references.iter().map(|text| split(text)).collect();
        Described {
            caption: split(caption),
            references,
        }
    }

    #[test]
    fn by_hand() {
        assert_eq!(bleu4(&[pair("a b c d", &["a b c d"])]), 1.0);
        // Precisions 4/5, 3/4, 2/3, 1/2; lengths 5 and 5.
        let expected = (0.8f64 * 0.75 * (2.0 / 3.0) * 0.5).powf(0.25);
        assert!((bleu4(&[pair("a b c d x", &["a b c d e"])]) - expected).abs() < 1e-12);
        // All match, but the caption has 4 words of 6.
        let expected = (1.0f64 - 6.0 / 4.0).exp();
        assert!((bleu4(&[pair("a b c d", &["a b c d e f"])]) - expected).abs() < 1e-12);
        // Repeated words count as often as a reference has them: 2/4, and no pair.
        assert_eq!(
            bleu4(&[pair("the the the the", &["the cat the", "the"])]),
            0.0
        );
    }

    #[test]
    fn counts_add_up_over_the_data_set() {
        // 8/8, 6/6, 4/4, 2/2 from the first; the second adds 0 of 4, 3, 2, 1.
        let pairs = [
            pair("a b c d e f g h", &["a b c d e f g h"]),
            pair("x y z w", &["p q r s"]),
        ];
        let expected = (8.0f64 / 12.0 * (7.0 / 10.0) * (6.0 / 8.0) * (5.0 / 6.0)).powf(0.25);
        assert!((bleu4(&pairs) - expected).abs() < 1e-12);
    }
}
