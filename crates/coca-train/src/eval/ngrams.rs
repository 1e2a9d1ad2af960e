//! Counts of word sequences.

use std::collections::BTreeMap;

/// How often each sequence of `n` words occurs.
pub fn ngrams(words: &[String], n: usize) -> BTreeMap<&[String], usize> {
    let mut counts = BTreeMap::new();
    for ngram in words.windows(n.max(1)) {
        *counts.entry(ngram).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
pub fn pair(caption: &str, references: &[&str]) -> super::Described {
    super::Described {
        caption: split(caption),
        references: references.iter().map(|text| split(text)).collect(),
    }
}

#[cfg(test)]
fn split(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_counted() {
        let words = split("a b a b c");
        let pairs = ngrams(&words, 2);
        assert_eq!(pairs[&split("a b")[..]], 2);
        assert_eq!(pairs.values().sum::<usize>(), 4);
        assert!(ngrams(&split("a"), 2).is_empty());
    }
}
