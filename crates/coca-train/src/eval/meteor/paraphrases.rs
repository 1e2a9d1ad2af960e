//! The paraphrase module: phrases that mean the same.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;

use super::lexicon::Lexicon;

const FILE: &str = "paraphrase-en.gz";
/// A phrase is a few words.
const MOST_LINE_BYTES: u64 = 1 << 16;

/// A table on disk: probability, phrase and paraphrase take turns, line by line.
#[derive(Debug)]
pub struct Table(PathBuf);

/// Paraphrases of which both phrases can occur, in the order of the table.
#[derive(Debug, Default)]
pub struct Paraphrases {
    of_phrase: HashMap<Vec<u32>, Vec<Vec<u32>>>,
    longest: usize,
}

impl Table {
    /// The table in a folder or its subfolder `data`.
    pub fn find(folder: &Path) -> Option<Self> {
        let paths = [folder.join(FILE), folder.join("data").join(FILE)];
        paths.into_iter().find(|path| path.is_file()).map(Self)
    }

    /// Reads what the words of the lexicon can make use of, a small part.
    pub fn read(&self, lexicon: &Lexicon) -> Result<Paraphrases> {
        let read = || {
            let file = File::open(&self.0)?;
            Paraphrases::parse(BufReader::new(MultiGzDecoder::new(file)), lexicon)
        };
        read().with_context(|| format!("reading the paraphrases of {}", self.0.display()))
    }
}

impl Paraphrases {
    fn parse(mut table: impl BufRead, lexicon: &Lexicon) -> Result<Self> {
        let mut paraphrases = Self::default();
        let mut line = String::new();
        while next_line(&mut table, &mut line)? {
            if !next_line(&mut table, &mut line)? {
                bail!("it ends within an entry");
            }
            let phrase = known(&line, lexicon);
            if !next_line(&mut table, &mut line)? {
                bail!("it ends within an entry");
            }
            // Both have words that occur, or there is nothing to match.
            if let Some(phrase) = phrase
                && let Some(other) = known(&line, lexicon)
            {
                paraphrases.longest = paraphrases.longest.max(phrase.len());
                paraphrases.of_phrase.entry(phrase).or_default().push(other);
            }
        }
        Ok(paraphrases)
    }

    /// Phrases that begin `words`, short ones first, as their length and a paraphrase.
    pub fn at<'a>(&'a self, words: &'a [u32]) -> impl Iterator<Item = (usize, &'a [u32])> {
        let lengths = 1..=self.longest.min(words.len());
        lengths.flat_map(move |length| {
            let found = words
                .get(..length)
                .and_then(|phrase| self.of_phrase.get(phrase));
            let found = found.into_iter().flatten();
            found.map(move |other| (length, other.as_slice()))
        })
    }
}

/// The numbers of a line's words, if all of them occur.
fn known(line: &str, lexicon: &Lexicon) -> Option<Vec<u32>> {
    let numbers: Option<Vec<u32>> = line
        .split_whitespace()
        .map(|word| lexicon.number(word))
        .collect();
    numbers.filter(|numbers| !numbers.is_empty())
}

fn next_line(table: &mut impl BufRead, line: &mut String) -> Result<bool> {
    line.clear();
    let read = table.by_ref().take(MOST_LINE_BYTES).read_line(line)?;
    if read as u64 == MOST_LINE_BYTES {
        bail!("a line is too long");
    }
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_occur_is_kept() {
        let words = ["a", "lot", "of", "many", "dogs"].map(String::from);
        let lexicon = Lexicon::new(words.iter(), None);
        let table = "0.1\na lot of\nmany\n0.2\nmany\na great many\n0.3\na lot of\ndogs of\n";
        let paraphrases = Paraphrases::parse(table.as_bytes(), &lexicon).unwrap();
        let found: Vec<_> = paraphrases.at(&[0, 1, 2, 4]).collect();
        assert_eq!(found, [(3, &[3][..]), (3, &[4, 2])]);
        assert_eq!(paraphrases.at(&[3, 1]).count(), 0);
        assert!(Paraphrases::parse("0.1\na\n".as_bytes(), &lexicon).is_err());
    }
}
