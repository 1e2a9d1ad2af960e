//! The model as a [`Decoder`], and how many texts it decodes at a time.

use std::ops::Range;

use burn::tensor::Tensor;
use coca_kernels::largest;

use super::{EncodedImages, Predictor, readback};
use crate::decoding::Step;
use crate::generate::{Best, Decoder, Prompt};
use crate::{Coca, DecodeState, Error, Result};

/// Memory that the caches of one batch of texts may take.
const CACHE_BYTES: usize = 256 << 20;
/// More texts at a time than this do not make the device busier.
const MAX_ROWS: usize = 64;

/// The multimodal text decoder with a key-value cache, as [`generate`](crate::generate::generate) takes it.
#[derive(Debug)]
pub struct CocaDecoder<'a> {
    /// Before what it uses, so that it is gone first.
    step: Step,
    model: &'a Coca,
    state: DecodeState,
    /// After what was fed last.
    logits: Option<Tensor<2>>,
}

impl<'a> CocaDecoder<'a> {
    /// An empty text for each row of the image tokens `[B, N, D]`, with room for `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if the capacity is 0 or above the context length.
    pub fn new(model: &'a Coca, image_tokens: Tensor<3>, capacity: usize) -> Result<Self> {
        Ok(Self {
            step: Step::default(),
            model,
            state: model.start_decoding(image_tokens, capacity)?,
            logits: None,
        })
    }

    /// Whether its steps are recorded work that runs again.
    pub fn is_recorded(&self) -> bool {
        matches!(self.step, Step::Recorded(_))
    }

    fn fed(&self) -> Result<Tensor<2>> {
        let nothing = || Error::Input("nothing was fed to the decoder".into());
        self.logits.clone().ok_or_else(nothing)
    }
}

impl Decoder for CocaDecoder<'_> {
    fn feed(&mut self, tokens: &[Vec<u32>]) -> Result<()> {
        let logits = self
            .model
            .decode_again(tokens, &mut self.state, &mut self.step)?;
        self.logits = Some(logits);
        Ok(())
    }

    async fn logits(&mut self) -> Result<Vec<f32>> {
        readback::values(self.fed()?).await
    }

    async fn best(&mut self, count: usize) -> Result<Option<Best>> {
        let logits = self.fed()?;
        let vocab = logits.dims()[1];
        match largest(logits, count).await {
            None => Ok(None),
            Some(Ok(rows)) => Ok(Some(Best { rows, vocab })),
            Some(Err(error)) => Err(Error::Device(error)),
        }
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        // The rows move to other memory, and beam search moves them again and again.
        self.step = Step::Impossible;
        self.state.select(rows)
    }
}

impl Predictor {
    /// An empty text for each of some images.
    pub(super) fn decoder(
        &self,
        images: &EncodedImages,
        range: Range<usize>,
        capacity: usize,
    ) -> Result<CocaDecoder<'_>> {
        CocaDecoder::new(&self.model, images.tokens(range), capacity)
    }

    /// An empty text for each of `rows`, which are numbers of images and may repeat.
    pub(super) fn decoder_of(
        &self,
        images: &EncodedImages,
        rows: &[usize],
        capacity: usize,
    ) -> Result<CocaDecoder<'_>> {
        CocaDecoder::new(&self.model, images.tokens_of(rows), capacity)
    }

    /// The prompt of `rows` texts that begin with `prefix`, of at most `capacity` tokens.
    pub(super) fn prompt<'a>(&self, rows: usize, prefix: &'a [u32], capacity: usize) -> Prompt<'a> {
        Prompt {
            rows,
            prefix,
            special: self.special_ids(),
            capacity,
        }
    }

    /// How many texts of `capacity` tokens are decoded at a time, so that their caches stay within bounds.
    pub(super) fn rows_at_a_time(&self, images: &EncodedImages, capacity: usize) -> usize {
        let config = self.model.config();
        let own = (config.text_cfg.layers + config.multimodal_cfg.layers) * capacity;
        let cross = config.multimodal_cfg.layers * images.tokens_per_image();
        let bytes_per_row = 2 * (own + cross) * config.text_cfg.width * size_of::<f32>();
        (CACHE_BYTES / bytes_per_row.max(1)).clamp(1, MAX_ROWS)
    }
}

/// `0..total` in pieces of at most `size`.
pub(super) fn pieces(total: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total)
        .step_by(size.max(1))
        .map(move |start| start..total.min(start + size.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_once() {
        assert_eq!(pieces(5, 2).collect::<Vec<_>>(), [0..2, 2..4, 4..5]);
        assert_eq!(pieces(4, 0).count(), 4);
        assert_eq!(pieces(0, 3).count(), 0);
    }
}
