//! What generation needs of a model, and the checked logits that it gets.

use crate::{Error, Result};

/// A batch of texts that grow token by token; row `i` of the batch has its own history.
///
/// [`generate`](super::generate) is written against this trait, so that it is tested without weights.
/// The method is async because a browser cannot wait for a device; the future need not be `Send`.
pub trait Decoder {
    /// Appends the same number of tokens (at least one) to every row. Returns the logits after the last one,
    /// row-major `[rows, vocab]`.
    fn advance(&mut self, tokens: &[Vec<u32>]) -> impl Future<Output = Result<Vec<f32>>>;

    /// Makes row `i` continue from old row `rows[i]`; the number of rows may change.
    fn select(&mut self, rows: &[usize]) -> Result<()>;
}

/// Finite logits `[rows, vocab]` on the host.
pub(super) struct Logits {
    values: Vec<f32>,
    vocab: usize,
}

impl Logits {
    /// Feeds `tokens` and checks what comes back: a device that failed silently returns garbage, not an error.
    pub async fn next<D: Decoder>(
        decoder: &mut D,
        tokens: &[Vec<u32>],
        largest_id: u32,
    ) -> Result<Self> {
        let values = decoder.advance(tokens).await?;
        let vocab = values.len() / tokens.len().max(1);
        if vocab * tokens.len() != values.len() || vocab <= largest_id as usize {
            return Err(Error::Input(format!(
                "the decoder returned {} logits for {} rows, which does not fit token ids up to {largest_id}; \
                 the tokenizer and the model do not belong together",
                values.len(),
                tokens.len()
            )));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Device(
                "the logits are not finite numbers; the device failed or ran out of memory".into(),
            ));
        }
        Ok(Self { values, vocab })
    }

    /// The logits of each row.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.vocab)
    }
}
