//! Text to token ids and back: CLIP's own vocabulary, any `tokenizer.json`, or a small one trained here.
//!
//! Ids are those of open_clip 3.3.0: [`Tokenizer::clip`] agrees with its `SimpleTokenizer`, and a tokenizer read
//! from a file with its `HFTokenizer`.

mod bpe;
mod bytes;
mod check;
mod clean;
mod clip;
mod ftfy;
mod html;
mod hub;
mod spacing;
mod stream;
mod train;

pub use clean::Clean;
pub use stream::TextStream;

use crate::{Error, Result};
use bpe::{EOT, PAD, SOT, WORD_END};
use regex::Regex;
use tokenizers::{Model, ModelWrapper, NormalizerWrapper};

/// Splits text into token ids, and joins ids into text.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    splitting: Splitting,
    clean: Clean,
    sot: u32,
    eot: u32,
    pad: u32,
    vocab_size: usize,
    /// Whether tokens are bytes with `</w>` at the end of words, as CLIP's are.
    clip_style: bool,
}

/// How cleaned text becomes tokens.
#[derive(Clone, Copy, Debug)]
enum Splitting {
    /// As open_clip's `SimpleTokenizer`. It takes a literal `<end_of_text>` in the text for the special token only
    /// where a word may begin, which a `tokenizer.json` cannot say.
    OpenClip,
    /// As the `tokenizer.json` says.
    Pipeline,
}

/// Ids from here on are refused: no real vocabulary has them, and a model would allocate a row for each id below.
const ID_LIMIT: u32 = 1 << 24;

impl Tokenizer {
    /// Reads a `tokenizer.json` of the Hugging Face format. Its truncation, padding and post-processing are not
    /// used: [`Self::encode_context`] does these as CoCa needs them. Text is lower-cased if the file says so,
    /// see [`Self::with_clean`].
    ///
    /// # Errors
    /// [`Error::Json`] or [`Error::Tokenizer`] if the file is malformed, uses a component that is not known to be
    /// sound, lacks a start-of-text or end-of-text token under one of the usual names, or cannot encode every text.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let file = check::checked(bytes)?;
        let inner = tokenizers::Tokenizer::from_bytes(file).map_err(failed("tokenizer.json"))?;
        let clean = if inner.get_normalizer().is_some_and(lowercases) {
            Clean::Lower
        } else {
            Clean::Whitespace
        };
        let tokenizer = Self::new(inner, Splitting::Pipeline, clean)?;
        tokenizer
            .inner
            .encode_fast("a É 7 中 \u{10fffd}", false)
            .map_err(failed("tokenizer.json"))?;
        Ok(tokenizer)
    }

    fn new(inner: tokenizers::Tokenizer, splitting: Splitting, clean: Clean) -> Result<Self> {
        let find = |names: &[&str]| names.iter().find_map(|name| inner.token_to_id(name));
        let require = |what: &str, names: &[&str]| {
            find(names).ok_or_else(|| {
                Error::Tokenizer(format!(
                    "no {what} token in the vocabulary; it must be one of {}",
                    names.join(" ")
                ))
            })
        };
        let sot = require(
            "start-of-text",
            &[SOT, "<|startoftext|>", "<s>", "[CLS]", "<bos>"],
        )?;
        let eot = require(
            "end-of-text",
            &[EOT, "<|endoftext|>", "</s>", "[SEP]", "<eos>"],
        )?;
        // open_clip's `text_cfg.pad_id` is 0 unless set, also where 0 is an ordinary token, as in CLIP's vocabulary.
        let pad = find(&[PAD, "[PAD]", "<|pad|>"]).unwrap_or(0);
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        if largest >= ID_LIMIT {
            return Err(Error::Tokenizer(format!(
                "token id {largest} is too large; the limit is {ID_LIMIT}"
            )));
        }
        let vocab_size = usize::try_from(largest)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let clip_style = match inner.get_model() {
            ModelWrapper::BPE(bpe) => {
                let symbols =
                    bpe::byte_symbols().all(|symbol| inner.token_to_id(&symbol).is_some());
                symbols && bpe.end_of_word_suffix.as_deref() == Some(WORD_END)
            }
            _ => false,
        };
        Ok(Self {
            inner,
            splitting,
            clean,
            sot,
            eot,
            pad,
            vocab_size,
            clip_style,
        })
    }

    /// The same tokenizer with another way of cleaning text: open_clip's `text_cfg.tokenizer_kwargs.clean`.
    pub fn with_clean(self, clean: Clean) -> Self {
        Self { clean, ..self }
    }

    /// The same tokenizer with another padding id: open_clip's `text_cfg.pad_id`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if there is no such id.
    pub fn with_pad(self, pad: u32) -> Result<Self> {
        match usize::try_from(pad) {
            Ok(id) if id < self.vocab_size => Ok(Self { pad, ..self }),
            _ => Err(Error::Tokenizer(format!(
                "padding id {pad} is not below the {} ids there are",
                self.vocab_size
            ))),
        }
    }

    /// The ids of `text` after cleaning, without start and end. A special token that the text spells out becomes
    /// its id, as in open_clip.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let text = self.clean.apply(text);
        match self.splitting {
            Splitting::OpenClip => clip::words(&text)
                .flat_map(|word| self.encode_word(word))
                .collect(),
            // Encoding fails only for a vocabulary with gaps, which `from_json` refuses.
            Splitting::Pipeline => self
                .inner
                .encode_fast(text, false)
                .map_or_else(|_| Vec::new(), |found| found.get_ids().to_vec()),
        }
    }

    fn encode_word(&self, word: &str) -> Vec<u32> {
        match word {
            SOT => vec![self.sot],
            EOT => vec![self.eot],
            _ => {
                let symbols: String = word.bytes().map(bytes::byte_to_char).collect();
                let tokens = self
                    .inner
                    .get_model()
                    .tokenize(&symbols)
                    .unwrap_or_default();
                tokens.into_iter().map(|token| token.id).collect()
            }
        }
    }

    /// Exactly `context_length` ids: start, text, end, padding. Longer text is cut; the last id is then the end.
    pub fn encode_context(&self, text: &str, context_length: usize) -> Vec<u32> {
        let mut ids = vec![self.sot];
        ids.extend(self.encode(text));
        ids.push(self.eot);
        if ids.len() > context_length {
            ids.truncate(context_length);
            if let Some(last) = ids.last_mut() {
                *last = self.eot;
            }
        }
        ids.resize(context_length, self.pad);
        ids
    }

    /// The text of all ids, special tokens and padding included, with a space after every word: exactly what
    /// open_clip's `decode` returns. Ids that do not exist are skipped.
    pub fn decode(&self, ids: &[u32]) -> String {
        if !self.clip_style {
            return self.inner.decode(ids, false).unwrap_or_default();
        }
        let tokens = ids.iter().filter_map(|&id| self.inner.id_to_token(id));
        let bytes: Vec<u8> = tokens.flat_map(|token| token_bytes(&token)).collect();
        String::from_utf8_lossy(&bytes).replace(WORD_END, " ")
    }

    /// The text of `ids` for people: up to the end-of-text token, without special tokens and padding, with spaces
    /// where one would write them (`it's`, `no. 25`).
    pub fn decode_text(&self, ids: &[u32]) -> String {
        let mut stream = self.text_stream();
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish();
        text
    }

    /// Decodes ids one by one as they are generated.
    pub fn text_stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }

    /// The start-of-text token.
    pub fn sot(&self) -> u32 {
        self.sot
    }

    /// The end-of-text token.
    pub fn eot(&self) -> u32 {
        self.eot
    }

    /// The padding token.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// How many ids there are: every id is below this.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn is_special(&self, id: u32) -> bool {
        [self.sot, self.eot, self.pad].contains(&id)
            || self
                .inner
                .get_added_vocabulary()
                .get_added_tokens_decoder()
                .get(&id)
                .is_some_and(|t| t.special)
    }
}

/// The bytes that a token of a byte-level BPE stands for.
fn token_bytes(token: &str) -> Vec<u8> {
    token.chars().filter_map(bytes::char_to_byte).collect()
}

fn lowercases(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Lowercase(_) => true,
        NormalizerWrapper::BertNormalizer(bert) => bert.lowercase,
        NormalizerWrapper::Sequence(sequence) => sequence.as_ref().iter().any(lowercases),
        _ => false,
    }
}

/// Turns a failure of the tokenizers library into ours.
fn failed(what: &'static str) -> impl Fn(tokenizers::Error) -> Error {
    move |error| Error::Tokenizer(format!("{what}: {error}"))
}

/// Compiles a pattern of this module.
#[expect(
    clippy::expect_used,
    reason = "the patterns are constants, compiled by the tests"
)]
fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a valid pattern")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static SMALL: LazyLock<Tokenizer> = LazyLock::new(|| {
        let texts =
            (0..300).map(|n| format!("It's photo {n}: a cat's café (no. {}) of 日本 😀!", n % 7));
        Tokenizer::train(texts, 700).unwrap()
    });

    /// Not byte-level: decoded as a whole.
    const WORD_PIECE: &str = r###"{"pre_tokenizer": {"type": "Whitespace"}, "decoder": {"type": "WordPiece",
        "prefix": "##", "cleanup": true}, "model": {"type": "WordPiece", "unk_token": "?", "vocab": {"[PAD]": 0,
        "[CLS]": 1, "[SEP]": 2, "?": 3, "a": 4, "##b": 5, "'": 6, "s": 7, ".": 8, "do": 9, "not": 10},
        "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}}"###;

    /// A trained tokenizer, the same one read from its file, one of another kind, CLIP's.
    static ALL: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
        let read = |json: &str| Tokenizer::from_json(json.as_bytes()).unwrap();
        vec![
            SMALL.clone(),
            read(&SMALL.to_json().unwrap()),
            read(WORD_PIECE),
            #[cfg(feature = "clip-vocabulary")]
            Tokenizer::clip().unwrap(),
        ]
    });

    /// What a real caption may hold, and what it should not.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-z0-9' .,!?\"()-]{0,40}",
            "([A-Za-z]{1,6}|[0-9]|[Ã©â€™œ\u{80}-\u{BF}]{1,4}|&[a-z#0-9]{1,6};?|<[a-z_]{1,13}>|[ \r\n\u{1b}\\[]){0,12}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_text_has_ids(text in text(), length in 0_usize..40) {
            for tokenizer in ALL.iter() {
                let ids = tokenizer.encode_context(&text, length);
                prop_assert_eq!(ids.len(), length);
                prop_assert!(length == 0 || ids.contains(&tokenizer.eot()));
                prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            }
        }

        #[test]
        fn pieces_make_up_the_text(ids in prop::collection::vec(0_u32..720, 0..60)) {
            for tokenizer in ALL.iter() {
                let mut stream = tokenizer.text_stream();
                let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
                text += &stream.finish();
                prop_assert_eq!(text, tokenizer.decode_text(&ids));
            }
        }

        #[test]
        fn decoding_undoes_encoding(text in text()) {
            for tokenizer in ALL.iter().filter(|tokenizer| tokenizer.clip_style) {
                let words = tokenizer.decode(&tokenizer.encode(&text));
                // U+0345 is no part of any word of CLIP's.
                let bare = |text: &str| text.replace([' ', '\u{345}'], "").replace(WORD_END, "");
                prop_assert_eq!(bare(&words), bare(&Clean::Lower.apply(&text)));
            }
        }

        #[test]
        fn a_file_keeps_the_ids(text in text()) {
            prop_assert_eq!(ALL[0].encode(&text), ALL[1].encode(&text));
        }

        #[test]
        fn damaged_files_do_not_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut json = WORD_PIECE.as_bytes().to_vec();
            let at = at.index(json.len());
            if cut {
                json.truncate(at);
            } else {
                json[at] = byte;
            }
            if let Ok(tokenizer) = Tokenizer::from_json(&json) {
                tokenizer.decode_text(&tokenizer.encode("ab's do not."));
            }
        }

        #[test]
        fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Tokenizer::from_json(&bytes).is_err());
        }
    }

    #[test]
    fn files_without_the_needed_tokens_are_refused() {
        let file = |vocab: &str| {
            format!(r#"{{"model": {{"type": "BPE", "vocab": {vocab}, "merges": []}}}}"#)
        };
        for vocab in [
            r#"{"a": 0}"#,
            r#"{"<s>": 0}"#,
            r#"{"<s>": 0, "</s>": 4294967295}"#,
        ] {
            assert!(
                matches!(
                    Tokenizer::from_json(file(vocab).as_bytes()),
                    Err(Error::Tokenizer(_))
                ),
                "{vocab}"
            );
        }
        let tokenizer = Tokenizer::from_json(file(r#"{"<s>": 7, "</s>": 8}"#).as_bytes()).unwrap();
        assert_eq!(
            (
                tokenizer.sot(),
                tokenizer.eot(),
                tokenizer.pad(),
                tokenizer.vocab_size()
            ),
            (7, 8, 0, 9)
        );
        assert!(tokenizer.clone().with_pad(9).is_err());
        assert_eq!(
            tokenizer.with_pad(8).unwrap().encode_context("", 4),
            [7, 8, 8, 8]
        );
    }

    #[test]
    fn long_text_is_cut_at_the_end_token() {
        let ids = SMALL.encode_context(&"a photo of a cat ".repeat(9), 8);
        assert_eq!((ids.len(), ids[0], ids[7]), (8, SMALL.sot(), SMALL.eot()));
        assert!(!ids[..7].contains(&SMALL.eot()));
        assert_eq!(SMALL.encode_context("a", 1), [SMALL.eot()]);
    }

    #[test]
    fn text_for_people() {
        let mut ids = SMALL.encode_context("It's a CAT's photo, no. 25!", 40);
        ids.extend(SMALL.encode("unseen"));
        assert_eq!(SMALL.decode_text(&ids), "it's a cat's photo, no. 25!");
        let whole = &ALL[2];
        assert_eq!(
            whole.decode_text(&whole.encode("a ab do not .")),
            "a ab do not."
        );
    }

    #[test]
    fn only_trained_files_have_a_config_for_python() {
        let config = SMALL.tokenizer_config_json().unwrap();
        assert!(config.contains(r#""pad_token": "<pad>""#));
        assert!(
            SMALL
                .clone()
                .with_pad(5)
                .unwrap()
                .tokenizer_config_json()
                .is_err()
        );
    }
}
