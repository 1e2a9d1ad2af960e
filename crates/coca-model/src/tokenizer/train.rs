//! Trains a small vocabulary on captions: byte-level BPE (Sennrich et al., arXiv 1508.07909) in CLIP's style.
//!
//! The trainer of the tokenizers library numbers the tokens that end words in the order of a hash table, so that
//! no two runs agree; this one is deterministic.

use super::bpe::{EOT, PAD, SOT, WORDS, assemble, byte_symbols};
use super::bytes::alphabet;
use super::{Clean, Splitting, Tokenizer, pattern};
use crate::{Error, Result};
use regex::Regex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::LazyLock;

/// Padding, the two ends of a text, and every byte inside and at the end of a word.
const MIN_VOCAB: usize = 3 + 2 * 256;

/// A pair that occurs once teaches nothing.
const MIN_COUNT: u64 = 2;

type Pair = (u32, u32);

impl Tokenizer {
    /// Learns a vocabulary from `texts`: padding is id 0, start and end of text are the last two ids, and every
    /// text can be encoded. The same texts give the same ids. With few texts the vocabulary ends up smaller than
    /// `vocab_size`; ask [`Self::vocab_size`].
    ///
    /// # Errors
    /// [`Error::Input`] if `vocab_size` has no room for single bytes and special tokens.
    pub fn train(
        texts: impl IntoIterator<Item = impl AsRef<str>>,
        vocab_size: usize,
    ) -> Result<Self> {
        if vocab_size < MIN_VOCAB {
            return Err(Error::Input(format!(
                "a vocabulary needs at least {MIN_VOCAB} tokens, not {vocab_size}"
            )));
        }
        let mut tokens: Vec<String> = std::iter::once(PAD.to_owned())
            .chain(byte_symbols())
            .collect();
        let merges = Merger::new(&count_words(texts)).learn(&mut tokens, vocab_size - 2);
        tokens.extend([SOT, EOT].map(str::to_owned));
        Self::new(
            assemble(tokens, merges, &[PAD, SOT, EOT])?,
            Splitting::Pipeline,
            Clean::Lower,
        )
    }
}

/// How often each word occurs, in alphabetical order.
fn count_words(texts: impl IntoIterator<Item = impl AsRef<str>>) -> BTreeMap<String, u64> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(WORDS));
    let mut counts = BTreeMap::new();
    for text in texts {
        for word in PATTERN.find_iter(&Clean::Lower.apply(text.as_ref())) {
            match counts.get_mut(word.as_str()) {
                Some(count) => *count += 1,
                None => _ = counts.insert(word.as_str().to_owned(), 1),
            }
        }
    }
    counts
}

/// The words as they are split so far, and the pairs of neighbours in them.
struct Merger {
    words: Vec<(Vec<u32>, u64)>,
    counts: HashMap<Pair, u64>,
    /// The words in which a pair occurs, or once did.
    places: HashMap<Pair, BTreeSet<usize>>,
}

impl Merger {
    fn new(words: &BTreeMap<String, u64>) -> Self {
        // Ids as in `byte_symbols`, after the padding.
        let ids: HashMap<u8, u32> = alphabet().zip(1..).collect();
        let split = |word: &str| {
            let mut symbols: Vec<u32> = word
                .bytes()
                .filter_map(|byte| ids.get(&byte).copied())
                .collect();
            if let Some(last) = symbols.last_mut() {
                *last += 256;
            }
            symbols
        };
        let words = words
            .iter()
            .map(|(word, &count)| (split(word), count))
            .collect();
        let mut merger = Self {
            words,
            counts: HashMap::new(),
            places: HashMap::new(),
        };
        for index in 0..merger.words.len() {
            merger.count(index);
        }
        merger
    }

    /// Counts the pairs of one word in; returns them.
    fn count(&mut self, index: usize) -> Vec<Pair> {
        let Some((symbols, count)) = self.words.get(index) else {
            return Vec::new();
        };
        let pairs: Vec<Pair> = pairs(symbols).collect();
        for &pair in &pairs {
            *self.counts.entry(pair).or_default() += count;
            self.places.entry(pair).or_default().insert(index);
        }
        pairs
    }

    /// Replaces `pair` by `merged` in one word, counts its old pairs out and its new ones in; returns the new ones.
    fn merge(&mut self, index: usize, pair: Pair, merged: u32) -> Vec<Pair> {
        let Some((symbols, count)) = self.words.get_mut(index) else {
            return Vec::new();
        };
        for old in pairs(symbols) {
            if let Some(total) = self.counts.get_mut(&old) {
                *total = total.saturating_sub(*count);
            }
        }
        let mut out = Vec::with_capacity(symbols.len());
        let mut rest = symbols.as_slice();
        while let Some((&first, tail)) = rest.split_first() {
            let (symbol, after) = match tail.split_first() {
                Some((&second, after)) if (first, second) == pair => (merged, after),
                _ => (first, tail),
            };
            out.push(symbol);
            rest = after;
        }
        *symbols = out;
        self.count(index)
    }

    /// Merges the most frequent pair, the one of lower ids among equals, until `tokens` has `limit` entries.
    fn learn(mut self, tokens: &mut Vec<String>, limit: usize) -> Vec<(String, String)> {
        let mut merges = Vec::new();
        let mut ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
        let mut heap: BinaryHeap<(u64, Reverse<Pair>)> = self
            .counts
            .iter()
            .map(|(&pair, &count)| (count, Reverse(pair)))
            .collect();
        while tokens.len() < limit
            && let Some((count, Reverse(pair))) = heap.pop()
        {
            let current = self.counts.get(&pair).copied().unwrap_or_default();
            if current < MIN_COUNT {
                continue;
            }
            if current < count {
                // The entry is out of date.
                heap.push((current, Reverse(pair)));
                continue;
            }
            let text = |id: u32| {
                usize::try_from(id)
                    .ok()
                    .and_then(|id| tokens.get(id))
                    .cloned()
                    .unwrap_or_default()
            };
            let (left, right) = (text(pair.0), text(pair.1));
            let token = format!("{left}{right}");
            // The same token may come about in two ways.
            let merged = *ids.entry(token).or_insert_with_key(|token| {
                tokens.push(token.clone());
                u32::try_from(tokens.len() - 1).unwrap_or(u32::MAX)
            });
            merges.push((left, right));
            let mut fresh = BTreeSet::new();
            for index in self.places.remove(&pair).unwrap_or_default() {
                fresh.extend(self.merge(index, pair, merged));
            }
            for pair in fresh {
                let count = self.counts.get(&pair).copied().unwrap_or_default();
                heap.push((count, Reverse(pair)));
            }
        }
        merges
    }
}

fn pairs(symbols: &[u32]) -> impl Iterator<Item = Pair> {
    symbols
        .windows(2)
        .filter_map(|pair| Some((*pair.first()?, *pair.get(1)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captions() -> Vec<String> {
        (0..200)
            .map(|n| format!("A photo of {} dogs, it's photo number {n}!", n % 7))
            .collect()
    }

    #[test]
    fn ids_are_where_the_model_expects_them() {
        let tokenizer = Tokenizer::train(captions(), 525).unwrap();
        assert_eq!((tokenizer.pad(), tokenizer.vocab_size()), (0, 525));
        assert_eq!((tokenizer.sot(), tokenizer.eot()), (523, 524));
        assert_eq!(tokenizer.encode("photo").len(), 1);
        assert_eq!(
            tokenizer.decode_text(&tokenizer.encode("A photo, it's DOGS!")),
            "a photo, it's dogs!"
        );
    }

    #[test]
    fn the_same_texts_give_the_same_ids() {
        let json = || {
            Tokenizer::train(captions(), 600)
                .unwrap()
                .to_json()
                .unwrap()
        };
        assert_eq!(json(), json());
    }

    #[test]
    fn most_frequent_pairs_come_first() {
        let tokenizer = Tokenizer::train(["ab ab ab cd cd ef"], 2_000).unwrap();
        assert_eq!(tokenizer.encode("ab cd"), [513, 514]);
        assert_eq!(tokenizer.vocab_size(), MIN_VOCAB + 2, "ef occurs once");
    }

    #[test]
    fn overlapping_pairs_are_merged_once() {
        let tokenizer = Tokenizer::train(["aaaaa aaaaa aaaa"], 2_000).unwrap();
        assert_eq!(tokenizer.encode("aaaaa").len(), 1);
    }

    #[test]
    fn too_small_a_vocabulary_is_refused() {
        assert!(matches!(
            Tokenizer::train(captions(), 514),
            Err(Error::Input(_))
        ));
        assert_eq!(Tokenizer::train([""], 515).unwrap().vocab_size(), 515);
    }
}
