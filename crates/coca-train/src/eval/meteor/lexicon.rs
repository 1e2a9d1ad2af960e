//! The words of a data set by number, with what the modules ask about them.

use std::collections::HashMap;

use rust_stemmers::{Algorithm, Stemmer};

use super::synonyms::Synonyms;

/// The most frequent words of English, punctuation included, that METEOR 1.5 gives less weight.
const FUNCTION_WORDS: &str = "the , . to of and a in that for \" is on 's it with was as said at he by be from have has \
    are his but an this not i will \u{2019} they ) -rrb- ( -lrb- who their had we which were been more or s its would about \
    new one after you : also up when there than $ all out her people she year two - can if last first \u{201C} over other \
    \u{201D} into some what so -- no time years could ? 't \u{2014} '";

/// Every word that occurs, numbered.
#[derive(Debug)]
pub struct Lexicon {
    numbers: HashMap<String, u32>,
    words: Vec<Word>,
}

/// What is known about a word.
#[derive(Debug)]
struct Word {
    /// Equal for words of one stem.
    stem: u32,
    /// WordNet's sets of synonyms, sorted.
    synonyms: Vec<u32>,
    function: bool,
}

impl Lexicon {
    /// Looks up all words, which may repeat.
    pub fn new<'a>(all: impl Iterator<Item = &'a String>, synonyms: Option<&Synonyms>) -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        let function_words: Vec<&str> = FUNCTION_WORDS.split_whitespace().collect();
        let (mut numbers, mut words) = (HashMap::new(), Vec::new());
        let mut stems: HashMap<String, u32> = HashMap::new();
        for word in all {
            if numbers.contains_key(word) {
                continue;
            }
            numbers.insert(word.clone(), words.len() as u32);
            let next = stems.len() as u32;
            words.push(Word {
                stem: *stems.entry(stemmer.stem(word).into_owned()).or_insert(next),
                synonyms: synonyms.map_or_else(Vec::new, |synonyms| synonyms.sets(word)),
                function: function_words.contains(&word.as_str()),
            });
        }
        Self { numbers, words }
    }

    /// The numbers of words; those that were not given to [`Lexicon::new`] are left out.
    pub fn numbers(&self, words: &[String]) -> Vec<u32> {
        words.iter().filter_map(|word| self.number(word)).collect()
    }

    /// The number of a word, if it occurs.
    pub fn number(&self, word: &str) -> Option<u32> {
        self.numbers.get(word).copied()
    }

    /// Whether two words have one stem.
    pub fn same_stem(&self, a: u32, b: u32) -> bool {
        matches!((self.word(a), self.word(b)), (Some(a), Some(b)) if a.stem == b.stem)
    }

    /// Whether two words are synonyms.
    pub fn synonymous(&self, a: u32, b: u32) -> bool {
        let (Some(a), Some(b)) = (self.word(a), self.word(b)) else {
            return false;
        };
        let mut sets = a.synonyms.iter();
        sets.any(|set| b.synonyms.binary_search(set).is_ok())
    }

    /// Whether it is a function word.
    pub fn is_function(&self, word: u32) -> bool {
        self.word(word).is_some_and(|word| word.function)
    }

    fn word(&self, number: u32) -> Option<&Word> {
        self.words.get(number as usize)
    }
}
