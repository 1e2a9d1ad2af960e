//! What one model does: classify, caption, answer, embed, and explain where it looked.
//!
//! [`Predictor`] is what the command line and the browser package both use. An image is prepared, encoded once
//! ([`Predictor::encode_images`]) and then given to any task. Everything that waits for the device is async,
//! because a browser cannot block.

mod answer;
mod caption;
mod classify;
mod decode;
mod embed;
mod explain;
mod readback;
mod surprise;
mod write;

pub use answer::{Answer, ChoiceScore};
pub use caption::{Caption, CaptionOptions};
pub use classify::{LabelScore, ZeroShotClassifier};
pub use decode::CocaDecoder;
pub use embed::EncodedImages;
pub use explain::{ExplainedWord, Explanation, heat_maps};
pub use surprise::Surprise;
pub use write::{OnText, TextEvent};

use burn::tensor::Device;

use crate::generate::SpecialIds;
use crate::preprocess::{DecodeOptions, PreprocessConfig, Preprocessor, Region, decode_rgb};
use crate::tokenizer::Tokenizer;
use crate::weights::Prompts;
use crate::{Coca, Error, Result};

/// A model with all that it takes to use it on image files and text.
#[derive(Debug)]
pub struct Predictor {
    model: Coca,
    tokenizer: Tokenizer,
    preprocessor: Preprocessor,
    prompts: Prompts,
    device: Device,
}

/// An image as the image encoder takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedImage {
    /// Normalised values, `[3, height, width]` flattened.
    values: Vec<f32>,
    region: Region,
}

impl PreparedImage {
    /// Takes what [`Preprocessor`] returned, `[3, height, width]` flattened; for callers that prepare elsewhere.
    /// It counts as the whole of its picture.
    pub fn new(values: Vec<f32>) -> Self {
        Self {
            values,
            region: Region::WHOLE,
        }
    }

    /// Which part of the picture the values show.
    pub fn region(&self) -> Region {
        self.region
    }
}

impl Predictor {
    /// Puts the parts of a model together; `device` is where the parameters of `model` are.
    ///
    /// # Errors
    /// [`Error::Config`] if the parts do not belong together: preprocessing for another image size, or a
    /// tokenizer with more ids than the model.
    pub fn new(
        model: Coca,
        tokenizer: Tokenizer,
        preprocess: PreprocessConfig,
        prompts: Prompts,
        device: Device,
    ) -> Result<Self> {
        let [height, width] = model.config().vision_cfg.image_size.dims();
        if (preprocess.size.height, preprocess.size.width) != (height, width) {
            return Err(Error::Config(format!(
                "preprocess_cfg.size is {} x {}, but the model takes images of {height} x {width}",
                preprocess.size.height, preprocess.size.width
            )));
        }
        let vocabulary = model.config().text_cfg.vocab_size;
        if tokenizer.vocab_size() > vocabulary {
            return Err(Error::Config(format!(
                "the tokenizer has {} ids, but the model knows only {vocabulary}; they do not belong together",
                tokenizer.vocab_size()
            )));
        }
        // The padding that the masks of the model hide.
        let tokenizer = tokenizer.with_pad(model.config().text_cfg.pad_id)?;
        Ok(Self {
            model,
            tokenizer,
            preprocessor: Preprocessor::new(preprocess)?,
            prompts,
            device,
        })
    }

    /// Decodes an image file, resizes, crops and normalises it.
    ///
    /// # Errors
    /// [`Error::ImageDecode`] and [`Error::ImageTooLarge`].
    pub fn prepare(&self, bytes: &[u8]) -> Result<PreparedImage> {
        let image = decode_rgb(bytes, &DecodeOptions::default())?;
        let (width, height) = image.dimensions();
        Ok(PreparedImage {
            values: self.preprocessor.prepare_rgb(&image)?,
            region: self.preprocessor.region(width, height),
        })
    }

    /// Resizes, crops and normalises rows of red, green, blue and alpha bytes, `[height, width, 4]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the number of bytes is another.
    pub fn prepare_rgba(&self, width: u32, height: u32, rgba: &[u8]) -> Result<PreparedImage> {
        Ok(PreparedImage {
            values: self.preprocessor.prepare_rgba(width, height, rgba)?,
            region: self.preprocessor.region(width, height),
        })
    }

    /// The model.
    pub fn model(&self) -> &Coca {
        &self.model
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The image preprocessing, for callers that prepare images on threads of their own.
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// The prompt templates of the tasks.
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
    }

    /// Where the model is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn context_length(&self) -> usize {
        self.model.config().text_cfg.context_length
    }

    fn special_ids(&self) -> SpecialIds {
        SpecialIds {
            start: self.tokenizer.sot(),
            end: self.tokenizer.eot(),
            pad: self.tokenizer.pad(),
        }
    }
}
