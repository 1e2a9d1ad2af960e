//! The byte-level BPE that CLIP's vocabulary and the trained ones share.

use super::bytes::{alphabet, byte_to_char};
use super::failed;
use crate::{Error, Result};
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior,
};

/// Starts every text.
pub const SOT: &str = "<start_of_text>";
/// Ends every text.
pub const EOT: &str = "<end_of_text>";
/// Fills the context after the end.
pub const PAD: &str = "<pad>";
/// Marks a token that ends a word.
pub const WORD_END: &str = "</w>";

/// What CLIP takes for a word: English clitics, runs of letters, single digits, runs of anything else.
pub const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

/// The 512 tokens of single bytes: inside a word, then at its end.
pub fn byte_symbols() -> impl Iterator<Item = String> {
    let inside = alphabet().map(|byte| byte_to_char(byte).to_string());
    inside.chain(alphabet().map(|byte| format!("{}{WORD_END}", byte_to_char(byte))))
}

/// Builds the tokenizer whose ids are the positions in `tokens`.
pub fn assemble(
    tokens: Vec<String>,
    merges: Vec<(String, String)>,
    special: &[&str],
) -> Result<tokenizers::Tokenizer> {
    let invalid = failed("vocabulary");
    let count = tokens.len();
    let vocab: Vocab = tokens.into_iter().zip(0..).collect();
    if vocab.len() < count {
        return Err(Error::Tokenizer(format!(
            "vocabulary: {} tokens occur twice",
            count - vocab.len()
        )));
    }
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .end_of_word_suffix(WORD_END.to_owned())
        .build()
        .map_err(&invalid)?;
    let words = SplitPattern::Regex(WORDS.to_owned());
    let split = Split::new(words, SplitDelimiterBehavior::Removed, true).map_err(&invalid)?;
    let bytes = ByteLevel::new(false, true, false);
    let word_end = Replace::new(WORD_END, " ").map_err(&invalid)?;

    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(normalizer()?))
        .with_pre_tokenizer(Some(PreTokenizers::new(vec![
            PreTokenizerWrapper::Split(split),
            PreTokenizerWrapper::ByteLevel(bytes),
        ])))
        .with_decoder(Some(Decoders::new(vec![
            DecoderWrapper::ByteLevel(bytes),
            DecoderWrapper::Replace(word_end),
        ])));
    let special: Vec<_> = special
        .iter()
        .map(|&token| AddedToken::from(token, true).normalized(false))
        .collect();
    tokenizer.add_special_tokens(&special);
    Ok(tokenizer)
}

/// What can be said of the cleaning in a `tokenizer.json`; changes nothing in text that was cleaned.
fn normalizer() -> Result<Normalizers> {
    let space = tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".to_owned());
    Ok(Normalizers::new(vec![
        NormalizerWrapper::NFC(NFC),
        NormalizerWrapper::Replace(Replace::new(space, " ").map_err(failed("vocabulary"))?),
        NormalizerWrapper::Lowercase(Lowercase),
    ]))
}
