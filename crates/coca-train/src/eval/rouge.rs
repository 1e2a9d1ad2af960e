//! ROUGE-L (Lin 2004), as the COCO caption evaluation computes it.

use super::Described;

/// Weight of recall against precision.
const BETA: f64 = 1.2;

/// The mean over captions of the F-measure of the longest common subsequence; precision and recall are the best that
/// any reference gives.
pub fn rouge_l(captions: &[Described]) -> f64 {
    captions.iter().map(of_one).sum::<f64>() / captions.len().max(1) as f64
}

fn of_one(pair: &Described) -> f64 {
    let (mut precision, mut recall) = (0f64, 0f64);
    let caption = at_least_one(&pair.caption);
    for reference in &pair.references {
        let reference = at_least_one(reference);
        let common = longest_common(caption, reference) as f64;
        precision = precision.max(common / caption.len() as f64);
        recall = recall.max(common / reference.len() as f64);
    }
    if precision == 0.0 || recall == 0.0 {
        return 0.0;
    }
    (1.0 + BETA * BETA) * precision * recall / (recall + BETA * BETA * precision)
}

/// The reference implementation takes a text without words for one empty word.
fn at_least_one(words: &[String]) -> &[String] {
    const EMPTY: &[String] = &[String::new()];
    if words.is_empty() { EMPTY } else { words }
}

/// Length of the longest common subsequence.
fn longest_common(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (at, y) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if x == y {
                diagonal + 1
            } else {
                above.max(row[at])
            };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::ngrams::pair;
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(rouge_l(&[pair("a b c", &["a b c"])]), 1.0);
        assert_eq!(rouge_l(&[pair("a b", &["c d"])]), 0.0);
        assert_eq!(rouge_l(&[pair("", &["a"])]), 0.0);
        // Common: "a c d", so precision 3/4 and recall 3/5.
        let f = 2.44 * 0.75 * 0.6 / (0.6 + 1.44 * 0.75);
        assert!((rouge_l(&[pair("a c x d", &["a b c e d"])]) - f).abs() < 1e-12);
        // Precision 1/2 from the first reference, recall 1 from the second; and the mean with a perfect caption.
        let f = 2.44 * 0.5 * 1.0 / (1.0 + 1.44 * 0.5);
        let both = [pair("a b c d", &["a b z", "c"]), pair("q", &["q"])];
        assert!((rouge_l(&both) - (f + 1.0) / 2.0).abs() < 1e-12);
    }
}
