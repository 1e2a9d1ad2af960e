//! Decodes token ids as they are generated.

use super::bpe::WORD_END;
use super::spacing::Spacing;
use super::{Tokenizer, token_bytes};

/// Turns ids into text one by one. The pieces are whole words of valid UTF-8, and together with that of
/// [`Self::finish`] they are exactly [`Tokenizer::decode_text`] of all ids.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    ended: bool,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// CLIP's vocabulary marks the ends of words.
    Words { bytes: Vec<u8>, spacing: Spacing },
    /// Others are decoded from the start each time, since a token may change how the one before it is written.
    Whole { ids: Vec<u32>, shown: String },
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        let state = if tokenizer.clip_style {
            State::Words {
                bytes: Vec::new(),
                spacing: Spacing::default(),
            }
        } else {
            State::Whole {
                ids: Vec::new(),
                shown: String::new(),
            }
        };
        Self {
            tokenizer,
            ended: false,
            state,
        }
    }

    /// Takes the next id and returns the text that became certain, often none. Nothing follows the end of text.
    pub fn push(&mut self, id: u32) -> String {
        self.ended |= id == self.tokenizer.eot;
        if self.ended || self.tokenizer.is_special(id) {
            return String::new();
        }
        match &mut self.state {
            State::Words { bytes, spacing } => {
                let token = self.tokenizer.inner.id_to_token(id).unwrap_or_default();
                let Some(end) = token.strip_suffix(WORD_END) else {
                    bytes.extend(token_bytes(&token));
                    return String::new();
                };
                bytes.extend(token_bytes(end));
                take_word(bytes, spacing)
            }
            State::Whole { ids, shown } => {
                ids.push(id);
                let text = decode_whole(self.tokenizer, ids);
                let stable = text
                    .rfind(char::is_whitespace)
                    .and_then(|end| text.get(..end))
                    .unwrap_or_default();
                show(shown, stable)
            }
        }
    }

    /// Returns the text that was still held back.
    pub fn finish(mut self) -> String {
        match &mut self.state {
            State::Words { bytes, spacing } => take_word(bytes, spacing),
            State::Whole { ids, shown } => show(shown, &decode_whole(self.tokenizer, ids)),
        }
    }
}

fn take_word(bytes: &mut Vec<u8>, spacing: &mut Spacing) -> String {
    let word = std::mem::take(bytes);
    spacing.place(&String::from_utf8_lossy(&word))
}

fn decode_whole(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    tokenizer
        .inner
        .decode(ids, true)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What `text` adds to what was shown.
fn show(shown: &mut String, text: &str) -> String {
    let piece = text
        .strip_prefix(shown.as_str())
        .unwrap_or_default()
        .to_owned();
    shown.push_str(&piece);
    piece
}
