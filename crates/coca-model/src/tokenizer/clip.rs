//! CLIP's vocabulary: 49408 tokens, read from the list of merges that OpenAI published.

use super::bpe::{EOT, SOT, assemble, byte_symbols};
use super::{Clean, Splitting, Tokenizer, pattern};
use crate::{Error, Result};
use flate2::read::GzDecoder;
use regex::Regex;
use std::io::{BufRead, BufReader, Read};
use std::sync::LazyLock;

/// How many of the published merges CLIP uses.
const MERGES: usize = 49_152 - 256 - 2;

/// The published file inflates to 3.2 MB.
const INFLATED_LIMIT: u64 = 16 << 20;

impl Tokenizer {
    /// The tokenizer of CLIP and of every CoCa that open_clip trained.
    ///
    /// # Errors
    /// None in practice: the vocabulary is part of the program.
    #[cfg(feature = "clip-vocabulary")]
    pub fn clip() -> Result<Self> {
        Self::from_clip_merges(include_bytes!("../../assets/clip_merges.txt.gz"))
    }

    /// Reads the gzipped list of merges, `bpe_simple_vocab_16e6.txt.gz`: a comment line, then one merge a line.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if it is not gzipped UTF-8 or holds fewer merges than CLIP uses.
    pub fn from_clip_merges(gz: &[u8]) -> Result<Self> {
        let lines = BufReader::new(GzDecoder::new(gz).take(INFLATED_LIMIT))
            .lines()
            .skip(1)
            .take(MERGES);
        let merges = lines.map(|line| parse(&line.map_err(|error| invalid(&error.to_string()))?));
        let merges = merges.collect::<Result<Vec<_>>>()?;
        if merges.len() < MERGES {
            return Err(invalid(&format!(
                "{} merges where CLIP has {MERGES}",
                merges.len()
            )));
        }
        let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
        let tokens = byte_symbols()
            .chain(merged)
            .chain([SOT, EOT].map(str::to_owned))
            .collect();
        Self::new(
            assemble(tokens, merges, &[SOT, EOT])?,
            Splitting::OpenClip,
            Clean::Lower,
        )
    }
}

/// The words of cleaned text, special tokens among them, exactly as the reference finds them. It ignores case, which
/// in cleaned text only matters for `ſ` (a small S) and for U+0345: Python's regex takes that mark, whose capital is
/// a letter, for neither a letter nor anything else.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        let clitics = "'s|'t|'re|'ve|'m|'ll|'d";
        pattern(&format!(
            r"(?i:{SOT}|{EOT}|{clitics})|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}\u{{345}}]+"
        ))
    });
    PATTERN.find_iter(text).map(|word| word.as_str())
}

fn parse(line: &str) -> Result<(String, String)> {
    match line.split_once(' ') {
        Some((left, right)) => Ok((left.to_owned(), right.trim_end().to_owned())),
        None => Err(invalid(&format!("line {line:?} is not a pair"))),
    }
}

fn invalid(why: &str) -> Error {
    Error::Tokenizer(format!(
        "the CLIP merges (bpe_simple_vocab_16e6.txt.gz) cannot be read: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn damaged_files_are_refused() {
        let bomb = "a b\n".repeat(8 << 20);
        for gz in [
            vec![],
            b"a b\n".to_vec(),
            gzip(""),
            gzip("#\ni n\n"),
            gzip("#\nin\n"),
            gzip(&bomb),
        ] {
            assert!(matches!(
                Tokenizer::from_clip_merges(&gz),
                Err(Error::Tokenizer(_))
            ));
        }
    }

    #[cfg(feature = "clip-vocabulary")]
    #[test]
    fn clip_has_its_ids() {
        let clip = Tokenizer::clip().unwrap();
        assert_eq!(
            (clip.sot(), clip.eot(), clip.pad(), clip.vocab_size()),
            (49_406, 49_407, 0, 49_408)
        );
        assert_eq!(clip.encode("A photo of a cat"), [320, 1125, 539, 320, 2368]);
    }

    #[test]
    fn case_is_ignored_as_python_does() {
        assert_eq!(
            words("it'ſ <ſtart_of_text>").collect::<Vec<_>>(),
            ["it", "'ſ", "<ſtart_of_text>"]
        );
        assert_eq!(
            words("a\u{345}!ⓐ12").collect::<Vec<_>>(),
            ["a", "!ⓐ", "1", "2"]
        );
    }

    /// Ids from open_clip 3.3.0: a special token counts only where a word may begin.
    #[cfg(feature = "clip-vocabulary")]
    #[test]
    fn special_tokens_in_text() {
        let clip = Tokenizer::clip().unwrap();
        assert_eq!(clip.encode("a<end_of_text>"), [320, 49_407]);
        assert_eq!(
            clip.encode("!<end_of_text>"),
            [0, 283, 806, 318, 539, 318, 4160, 285]
        );
    }
}
