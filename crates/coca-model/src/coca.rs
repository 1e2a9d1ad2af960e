//! The model: one image encoder, one unimodal and one multimodal text decoder.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{
    Error, Result,
    config::ModelConfig,
    multimodal::MultimodalTransformer,
    nn::constant,
    pieces::Whole,
    text::TextTransformer,
    text_batch::columns_that_count,
    vision::{ImageFeatures, VisionTransformer},
};

/// CoCa, the Contrastive Captioner (paper figure 2). Fields carry open_clip's names.
///
/// ```text
///  pixels ── image encoder ── attentional pooler ─┬─ image embedding ──┐
///                                                 │                    ├─ contrastive loss
///  text ── unimodal text decoder ─┬─ CLS ── text embedding ────────────┘
///                                 │               │ image tokens
///                                 └─ multimodal text decoder ── logits ── captioning loss
/// ```
#[derive(Module, Debug)]
pub struct Coca {
    pub(crate) visual: VisionTransformer,
    pub(crate) text: TextTransformer,
    pub(crate) text_decoder: MultimodalTransformer,
    pub(crate) logit_scale: Param<Tensor<1>>,
    logit_bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    config: ModelConfig,
}

/// What the image encoder gives for a batch of pictures.
#[derive(Clone, Debug)]
pub struct ImageEncoding {
    /// `[B, E]`, unit length: the image embeddings.
    pub embedding: Tensor<2>,
    /// `[B, N, D]`: the image tokens, read by the multimodal text decoder.
    pub tokens: Tensor<3>,
}

/// What the unimodal text decoder gives for a batch of texts.
#[derive(Clone, Debug)]
pub struct TextEncoding {
    /// `[T, E]`, unit length: the text embeddings.
    pub embedding: Tensor<2>,
    /// `[T, L, D]`: the outputs of the text tokens, read by the multimodal text decoder.
    pub tokens: Tensor<3>,
}

impl Coca {
    /// A model with random weights (open_clip's initialisation; drawn when first used).
    ///
    /// # Errors
    /// [`Error::Config`] when [`ModelConfig::validate`] refuses the configuration.
    pub fn new(config: &ModelConfig, device: &Device) -> Result<Self> {
        config.validate()?;
        let scale = config
            .init_logit_scale
            .unwrap_or_else(|| (1.0_f64 / 0.07).ln());
        Ok(Self {
            visual: VisionTransformer::new(config, device),
            text: TextTransformer::new(config, device),
            text_decoder: MultimodalTransformer::new(config, device),
            logit_scale: constant([1], scale, device),
            logit_bias: config
                .init_logit_bias
                .map(|bias| constant([1], bias, device)),
            config: config.clone(),
        })
    }

    /// The configuration the model was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// exp(logit scale), `[1]`: the factor on cosines before the softmax of zero-shot classification.
    pub fn logit_scale(&self) -> Tensor<1> {
        self.logit_scale.val().exp()
    }

    /// The logit scale as it is stored, the logarithm of [`Coca::logit_scale`], `[1]`.
    pub fn log_logit_scale(&self) -> Tensor<1> {
        self.logit_scale.val()
    }

    /// Encodes pictures: `pixels` is `[B, 3, height, width]`, normalised, of the configured size.
    ///
    /// # Errors
    /// [`Error::Input`] when the shape is another.
    pub fn encode_image(&self, pixels: Tensor<4>) -> Result<ImageEncoding> {
        self.check_pixels(&pixels)?;
        Ok(self.visual.forward(pixels, None, &mut Whole).into())
    }

    /// As [`Coca::encode_image`]; also how much each image token reads each patch, `[B, N, 1 + patches]` with the class
    /// token first, averaged over the heads of the attentional pooler. Nothing for a model without one, whose image
    /// tokens are the patches.
    ///
    /// # Errors
    /// [`Error::Input`] when the shape is another.
    pub fn encode_image_with_attention(
        &self,
        pixels: Tensor<4>,
    ) -> Result<(ImageEncoding, Option<Tensor<3>>)> {
        self.check_pixels(&pixels)?;
        let (features, attention) = self.visual.forward_with_attention(pixels);
        Ok((features.into(), attention))
    }

    pub(crate) fn check_pixels(&self, pixels: &Tensor<4>) -> Result<()> {
        let [_, channels, height, width] = pixels.dims();
        let [expected_height, expected_width] = self.config.vision_cfg.image_size.dims();
        if (channels, height, width) == (3, expected_height, expected_width) {
            return Ok(());
        }
        Err(Error::Input(format!(
            "pixels are [{channels}, {height}, {width}], the model takes [3, {expected_height}, {expected_width}]"
        )))
    }

    /// Encodes texts: `ids` is `[T, L]`, right padded, L at most the context length.
    ///
    /// CLS stands behind the last column, as in open_clip; pad to the context length for the text embeddings
    /// that training used.
    ///
    /// # Errors
    /// [`Error::Input`] when L is larger than the context length.
    pub fn encode_text(&self, ids: Tensor<2, Int>) -> Result<TextEncoding> {
        let [_, length] = ids.dims();
        let limit = self.config.text_cfg.context_length;
        if length > limit {
            return Err(Error::Input(format!(
                "the text is {length} tokens long, the model takes {limit}"
            )));
        }
        let text = self.text.forward(ids, &mut Whole);
        Ok(TextEncoding {
            tokens: text.tokens(),
            embedding: normalise(text.pooled),
        })
    }

    /// Text embeddings `[T, E]` of right padded texts of one length, equal to those of [`Coca::encode_text`]: columns that
    /// are padding in all of them are not computed.
    ///
    /// # Errors
    /// [`Error::Input`] when there is no text, the lengths differ, or one is larger than the context length.
    pub fn embed_text(&self, texts: &[Vec<u32>]) -> Result<Tensor<2>> {
        let length = texts.first().map_or(0, Vec::len);
        let limit = self.config.text_cfg.context_length;
        if length == 0 || length > limit || texts.iter().any(|text| text.len() != length) {
            return Err(Error::Input(format!(
                "{} texts of {length} tokens; they need one length of 1 to {limit}",
                texts.len()
            )));
        }
        let rows = texts.iter().map(Vec::as_slice);
        let columns = columns_that_count(rows, self.config.text_cfg.pad_id);
        let ids: Vec<i32> = texts
            .iter()
            .flat_map(|text| &text[..columns])
            .map(|&id| id as i32)
            .collect();
        let device = self.logit_scale.val().device();
        let ids = Tensor::from_data(TensorData::new(ids, [texts.len(), columns]), &device);
        let text = self.text.forward_padded(ids, length, &mut Whole);
        Ok(normalise(text.pooled))
    }

    /// Next-token logits of the multimodal text decoder: `text_tokens` `[T, L, D]` from [`Coca::encode_text`],
    /// `image_tokens` `[T, N, D]` from [`Coca::encode_image`]; gives `[T, L, vocabulary]`.
    pub fn caption_logits(&self, text_tokens: Tensor<3>, image_tokens: Tensor<3>) -> Tensor<3> {
        let image = self.text_decoder.image_keys_values(image_tokens);
        self.text_decoder
            .logits(self.text_decoder.forward(text_tokens, &image))
    }

    /// As [`Coca::caption_logits`]; also how much each text position reads each image token, `[T, L, N]`, averaged over
    /// the heads and layers of the multimodal text decoder.
    pub fn caption_logits_with_attention(
        &self,
        text_tokens: Tensor<3>,
        image_tokens: Tensor<3>,
    ) -> (Tensor<3>, Tensor<3>) {
        let image = self.text_decoder.image_keys_values(image_tokens);
        let (x, attention) = self
            .text_decoder
            .forward_with_attention(text_tokens, &image);
        (self.text_decoder.logits(x), attention)
    }
}

impl From<ImageFeatures> for ImageEncoding {
    fn from(ImageFeatures { pooled, tokens }: ImageFeatures) -> Self {
        Self {
            embedding: normalise(pooled),
            tokens: tokens.tensor,
        }
    }
}

/// x / max(‖x‖, 1e-12), as PyTorch's `normalize`.
pub(crate) fn normalise(x: Tensor<2>) -> Tensor<2> {
    let norm = x.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    x / norm
}
