//! BLEU over a whole data set (Papineni et al. 2002), as the COCO caption evaluation computes it.

use super::Described;
use super::ngrams::ngrams;

const MAX_N: usize = 4;
/// Keep counts of zero from making the score zero or undefined, as the reference implementation does.
const TINY: f64 = 1e-15;
const SMALL: f64 = 1e-9;

/// BLEU-1 to BLEU-4: the geometric means of the clipped precisions of 1- to n-word sequences, times the brevity
/// penalty. The length that counts for a caption is that of the reference closest to it.
pub fn bleu(captions: &[Described]) -> [f64; MAX_N] {
    let (mut matched, mut total) = ([0usize; MAX_N], [0usize; MAX_N]);
    let (mut length, mut reference_length) = (0usize, 0usize);
    for pair in captions {
        let Described {
            caption,
            references,
        } = pair.without_blanks();
        length += caption.len();
        let closest = references.iter().map(Vec::len);
        reference_length += closest
            .min_by_key(|&n| (n.abs_diff(caption.len()), n))
            .unwrap_or(0);
        for n in 1..=MAX_N {
            let references: Vec<_> = references.iter().map(|words| ngrams(words, n)).collect();
            for (ngram, count) in ngrams(&caption, n) {
                let most = references.iter().filter_map(|counts| counts.get(ngram));
                matched[n - 1] += count.min(most.copied().max().unwrap_or(0));
                total[n - 1] += count;
            }
        }
    }
    let ratio = (length as f64 + TINY) / (reference_length as f64 + SMALL);
    let brevity = if ratio < 1.0 {
        (1.0 - 1.0 / ratio).exp()
    } else {
        1.0
    };
    let mut product = 1.0;
    std::array::from_fn(|n| {
        product *= (matched[n] as f64 + TINY) / (total[n] as f64 + SMALL);
        product.powf(1.0 / (n + 1) as f64) * brevity
    })
}

#[cfg(test)]
mod tests {
    use super::super::ngrams::pair;
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-8
    }

    #[test]
    fn by_hand() {
        assert!(
            bleu(&[pair("a b c d", &["a b c d"])])
                .iter()
                .all(|&one| close(one, 1.0))
        );
        // Precisions 4/5, 3/4, 2/3, 1/2; lengths 5 and 5.
        let found = bleu(&[pair("a b c d x", &["a b c d e"])]);
        assert!(close(found[0], 0.8) && close(found[1], (0.8f64 * 0.75).sqrt()));
        assert!(close(
            found[3],
            (0.8f64 * 0.75 * (2.0 / 3.0) * 0.5).powf(0.25)
        ));
        // All match, but the caption has 4 words of 6.
        let found = bleu(&[pair("a b c d", &["a b c d e f"])]);
        assert!(close(found[3], (1.0f64 - 6.0 / 4.0).exp()));
        // Repeated words count as often as a reference has them: 2/4.
        let found = bleu(&[pair("the the the the", &["the cat the dog", "the"])]);
        assert!(close(found[0], 0.5) && found[1] < 1e-3);
        assert_eq!(bleu(&[pair("", &["a"])])[0], 0.0);
    }

    #[test]
    fn counts_add_up_over_the_data_set() {
        // 8/8, 6/6, 4/4, 2/2 from the first; the second adds 0 of 4, 3, 2, 1.
        let pairs = [
            pair("a b c d e f g h", &["a b c d e f g h"]),
            pair("x y z w", &["p q r s"]),
        ];
        let expected = (8.0f64 / 12.0 * (7.0 / 10.0) * (6.0 / 8.0) * (5.0 / 6.0)).powf(0.25);
        assert!(close(bleu(&pairs)[3], expected));
    }
}
