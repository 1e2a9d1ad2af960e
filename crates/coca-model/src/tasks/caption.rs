//! Captions.

use super::write::OnText;
use super::{EncodedImages, Predictor};
use crate::Result;
use crate::generate::{End, GenerateOptions};

/// Settings of [`Predictor::caption`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CaptionOptions {
    /// Text that the caption continues; the model's own prompt template if `None`.
    pub prefix: Option<String>,
    /// How it is generated.
    pub generate: GenerateOptions,
}

/// A caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// What was generated after the prefix.
    pub text: String,
    /// Its tokens, without the end token.
    pub tokens: Vec<u32>,
    /// The sum of the natural log-probabilities of the tokens and the end token, given the image and the prefix.
    pub log_prob: f64,
    /// Why it ends.
    pub end: End,
}

impl Predictor {
    /// Writes a caption for every image.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) for settings or a prefix without meaning,
    /// [`Error::Device`](crate::Error::Device) when the device fails.
    pub async fn caption(
        &self,
        images: &EncodedImages,
        options: &CaptionOptions,
        on_text: OnText<'_>,
    ) -> Result<Vec<Caption>> {
        let prefix = self.prefix_ids(options.prefix.as_deref().unwrap_or(&self.prompts.caption));
        self.write(images, &prefix, &options.generate, on_text)
            .await
    }
}
