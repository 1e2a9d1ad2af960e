//! How probable given captions are, for perplexities.

use burn::tensor::{Int, Tensor, TensorData};

use super::{EncodedImages, Predictor, readback};
use crate::{Error, Result, TextBatch, Whole};

/// Captions that go through the text decoders together.
const ROWS: usize = 16;

/// How surprising some text is to the model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Surprise {
    /// The sum of the negative natural log-probabilities of the tokens.
    pub nats: f64,
    /// How many tokens there are, end tokens included.
    pub tokens: usize,
}

impl Surprise {
    /// exp of the mean over the tokens; 1 without any.
    pub fn perplexity(&self) -> f64 {
        (self.nats / self.tokens.max(1) as f64).exp()
    }
}

impl std::iter::Sum for Surprise {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            nats: sum.nats + one.nats,
            tokens: sum.tokens + one.tokens,
        })
    }
}

impl Predictor {
    /// How surprising captions are, given their images (by number), the model's prompt template for captions and, for
    /// each token, those before it (teacher forcing). Captions that are too long are cut.
    ///
    /// # Errors
    /// [`Error::Input`] for an image that is not there, [`Error::Device`] when the device fails.
    pub async fn caption_surprise(
        &self,
        images: &EncodedImages,
        captions: &[(usize, &str)],
    ) -> Result<Surprise> {
        if let Some((image, _)) = captions.iter().find(|(image, _)| *image >= images.len()) {
            return Err(Error::Input(format!(
                "a caption is of image {image} of {}; they count from 0",
                images.len()
            )));
        }
        let prompt = self.tokenizer.encode(&self.prompts.caption);
        let mut surprise = Surprise::default();
        for some in captions.chunks(ROWS) {
            let (texts, of) = self.caption_rows(&prompt, some);
            let texts = texts.without_padding(self.tokenizer.pad());
            let ids: Vec<i32> = texts.ids.iter().map(|&id| id as i32).collect();
            let ids = TensorData::new(ids, [texts.rows(), texts.length]);
            let text = self
                .model
                .encode_text(Tensor::<2, Int>::from_data(ids, &self.device))?;
            let loss = self.model.caption_loss(
                &text.tokens.into(),
                &images.tokens_of(&of).into(),
                &texts,
                0.0,
                &mut Whole,
            );
            if let Some(loss) = loss {
                let sum = readback::rows(loss.sum.reshape([1, 1])).await?;
                surprise.nats += sum.iter().flatten().map(|&sum| f64::from(sum)).sum::<f64>();
                surprise.tokens += loss.tokens;
            }
        }
        Ok(surprise)
    }

    /// The rows of captions: start, prompt, caption, end and padding; and the images that they are of.
    fn caption_rows(&self, prompt: &[u32], captions: &[(usize, &str)]) -> (TextBatch, Vec<usize>) {
        let length = self.context_length();
        let prompt = prompt.get(..length / 2).unwrap_or(prompt);
        let mut texts = TextBatch {
            length,
            ..TextBatch::default()
        };
        let mut images: Vec<usize> = Vec::new();
        for (image, caption) in captions {
            let mut ids = vec![self.tokenizer.sot()];
            ids.extend(prompt);
            ids.extend(self.tokenizer.encode(caption));
            ids.truncate(length - 1);
            ids.push(self.tokenizer.eot());
            ids.resize(length, self.tokenizer.pad());
            texts.ids.extend(ids);
            texts.prefix_lengths.push(1 + prompt.len());
            // Captions of an image stand together, so that it is the last one or new.
            if images.last() != Some(image) {
                images.push(*image);
            }
            texts.image_of_row.push(images.len() - 1);
        }
        (texts, images)
    }
}
