//! Image and text embeddings.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use super::{Predictor, PreparedImage, readback};
use crate::{Error, ImageEncoding, Result, indices};

/// Images that go through the image encoder together.
const IMAGES_PER_BATCH: usize = 16;
/// Texts that go through the unimodal text decoder together.
const TEXTS_PER_BATCH: usize = 32;

/// A batch of images after the image encoder. Kept by the caller, so that several tasks share the work.
#[derive(Debug, Clone)]
pub struct EncodedImages {
    embeddings: Vec<Vec<f32>>,
    /// `[B, N, D]`, on the device.
    tokens: Tensor<3>,
}

impl EncodedImages {
    /// What the image encoder gave for one batch.
    pub(super) async fn read(encoding: ImageEncoding) -> Result<Self> {
        Ok(Self {
            embeddings: readback::rows(encoding.embedding).await?,
            tokens: encoding.tokens,
        })
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.embeddings.len()
    }

    /// Whether there is no image (never, when it comes from [`Predictor::encode_images`]).
    pub fn is_empty(&self) -> bool {
        self.embeddings.is_empty()
    }

    /// The image embeddings, `[B][E]`, unit length.
    pub fn embeddings(&self) -> &[Vec<f32>] {
        &self.embeddings
    }

    /// The image tokens of some of the images, `[n, N, D]`.
    pub(super) fn tokens(&self, images: Range<usize>) -> Tensor<3> {
        self.tokens.clone().narrow(0, images.start, images.len())
    }

    /// The image tokens of images by number, `[n, N, D]`.
    pub(super) fn tokens_of(&self, images: &[usize]) -> Tensor<3> {
        let device = self.tokens.device();
        self.tokens.clone().select(0, indices(images, &device))
    }

    /// How many image tokens an image has.
    pub(super) fn tokens_per_image(&self) -> usize {
        self.tokens.dims()[1]
    }
}

impl Predictor {
    /// Runs the image encoder, a few images at a time.
    ///
    /// # Errors
    /// [`Error::Input`] for no image or one of another size, [`Error::Device`] when the device fails.
    pub async fn encode_images(&self, images: &[PreparedImage]) -> Result<EncodedImages> {
        if images.is_empty() {
            return Err(Error::Input("there is no image to encode".into()));
        }
        self.check_prepared(images)?;
        let (mut embeddings, mut tokens) = (vec![], vec![]);
        for batch in images.chunks(IMAGES_PER_BATCH) {
            let encoding = self.model.encode_image(self.pixels(batch))?;
            // Waiting for each batch keeps the queue of a browser's device short.
            embeddings.extend(readback::rows(encoding.embedding).await?);
            tokens.push(encoding.tokens);
        }
        Ok(EncodedImages {
            embeddings,
            tokens: Tensor::cat(tokens, 0),
        })
    }

    /// Refuses images of another size than the model's.
    pub(super) fn check_prepared(&self, images: &[PreparedImage]) -> Result<()> {
        let [height, width] = self.model.config().vision_cfg.image_size.dims();
        match images
            .iter()
            .position(|image| image.values.len() != 3 * height * width)
        {
            Some(place) => Err(Error::Input(format!(
                "prepared image {place} has {} values, the model takes 3 x {height} x {width}",
                images[place].values.len()
            ))),
            None => Ok(()),
        }
    }

    /// Checked images on the device, `[B, 3, height, width]`.
    pub(super) fn pixels(&self, images: &[PreparedImage]) -> Tensor<4> {
        let [height, width] = self.model.config().vision_cfg.image_size.dims();
        let values: Vec<f32> = images
            .iter()
            .flat_map(|image| image.values.iter().copied())
            .collect();
        let data = TensorData::new(values, [images.len(), 3, height, width]);
        Tensor::from_data(data, &self.device)
    }

    /// The image embeddings, `[B][E]`, unit length.
    pub async fn image_embeddings(&self, images: &EncodedImages) -> Result<Vec<Vec<f32>>> {
        Ok(images.embeddings.clone())
    }

    /// The text embeddings, `[T][E]`, unit length.
    ///
    /// Every text is padded to the context length as in training, so that its embedding does not depend on the
    /// others; a text that is longer is cut there, as open_clip does.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub async fn text_embeddings(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Vec<f32>>> {
        let length = self.context_length();
        let mut embeddings = Vec::with_capacity(texts.len());
        for batch in texts.chunks(TEXTS_PER_BATCH) {
            let ids: Vec<Vec<u32>> = batch
                .iter()
                .map(|text| self.tokenizer.encode_context(text.as_ref(), length))
                .collect();
            embeddings.extend(readback::rows(self.model.embed_text(&ids)?).await?);
        }
        Ok(embeddings)
    }
}
