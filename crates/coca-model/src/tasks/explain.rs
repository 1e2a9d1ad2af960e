//! Where the model looks in a picture while it writes.

use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};

use super::{CaptionOptions, EncodedImages, OnText, Predictor, PreparedImage, readback};
use crate::generate::End;
use crate::preprocess::Region;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// A text, and for each of its words where in the picture it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The text: its words joined.
    pub text: String,
    /// Its natural log-probability given the picture, the end token included unless the text was cut.
    pub log_prob: f64,
    /// Its words.
    pub words: Vec<ExplainedWord>,
    /// Patches in a row of the grid.
    pub columns: usize,
    /// Rows of the grid.
    pub rows: usize,
    /// The part of the picture that the grid covers.
    pub region: Region,
}

/// A word and its heat map.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedWord {
    /// The word, behind the space that separates it from the one before.
    pub text: String,
    /// `[rows, columns]` flattened: the share of each patch; they sum to 1.
    pub heat: Vec<f32>,
}

impl Predictor {
    /// Explains `text`, or the caption that the model writes if `None`, word by word.
    ///
    /// The heat of a word is the attention with which the multimodal text decoder predicts its tokens. That goes to
    /// image tokens, which an attentional pooler has made of patches, so it is followed through the pooler:
    /// cross-attention (mean over heads and layers) times the pooler's attention (mean over heads). What falls on the
    /// class token is left out, and the rest scaled to sum to 1.
    ///
    /// `on_text` hears of the caption while it is written; breaking ends it, and what is there is explained.
    ///
    /// # Errors
    /// [`Error::Input`] for a text that is empty or too long, [`Error::Device`] when the device fails.
    pub async fn explain(
        &self,
        image: &PreparedImage,
        text: Option<&str>,
        on_text: OnText<'_>,
    ) -> Result<Explanation> {
        let images = std::slice::from_ref(image);
        self.check_prepared(images)?;
        let (encoding, pooler) = self
            .model
            .encode_image_with_attention(self.pixels(images))?;
        let encoded = EncodedImages::read(encoding).await?;
        let prefix = self.prefix_ids(&self.prompts.caption);
        let (written, ended) = match text {
            Some(text) => (self.explained_ids(text, prefix.len())?, true),
            None => self.written_ids(&encoded, on_text).await?,
        };
        let mut ids = [prefix.as_slice(), &written].concat();
        if ended {
            ids.push(self.tokenizer.eot());
        }

        // The last token is predicted, never fed.
        let (fed, predicted) = (&ids[..ids.len() - 1], &ids[prefix.len()..]);
        let words = self.model.encode_text(self.row(fed))?;
        let (logits, cross) = self
            .model
            .caption_logits_with_attention(words.tokens, encoded.tokens(0..1));
        // The position before a token is the one that predicts it.
        let first = prefix.len() - 1;
        let log_probs = log_softmax(logits.narrow(1, first, predicted.len()), 2)
            .gather(2, self.row(predicted).unsqueeze_dim(2));
        let log_prob: f64 = readback::values(log_probs)
            .await?
            .into_iter()
            .map(f64::from)
            .sum();
        let image_tokens = encoded.tokens_per_image();
        let cross = readback::values(cross.narrow(1, first, written.len())).await?;
        let pooler = match pooler {
            Some(pooler) => Some(readback::values(pooler).await?),
            None => None,
        };
        if !log_prob.is_finite() {
            return Err(Error::Device(
                "the logits are not finite numbers; the device failed or ran out of memory".into(),
            ));
        }
        let heat = heat_maps(&cross, pooler.as_deref(), image_tokens)?;
        let words = words_of(&self.tokenizer, &written, &heat);
        let [rows, columns] = self.model.config().vision_cfg.grid();
        Ok(Explanation {
            text: words.iter().map(|word| word.text.as_str()).collect(),
            log_prob,
            words,
            columns,
            rows,
            region: self.grid_region(image.region()),
        })
    }

    /// The tokens of a caption, and whether it came to its end.
    async fn written_ids(
        &self,
        image: &EncodedImages,
        on_text: OnText<'_>,
    ) -> Result<(Vec<u32>, bool)> {
        let captions = self
            .caption(image, &CaptionOptions::default(), on_text)
            .await?;
        let caption = captions.into_iter().next();
        let (tokens, end) = caption.map_or((vec![], End::Aborted), |it| (it.tokens, it.end));
        if tokens.is_empty() {
            return Err(Error::Input(
                "the model writes nothing about this image; give a text to explain".into(),
            ));
        }
        Ok((tokens, end == End::EndToken))
    }

    /// The tokens of a given text.
    fn explained_ids(&self, text: &str, prefix: usize) -> Result<Vec<u32>> {
        let ids = self.tokenizer.encode(text);
        let room = self.context_length().saturating_sub(prefix);
        if ids.is_empty() {
            return Err(Error::Input("the text to explain is empty".into()));
        }
        if ids.len() > room {
            return Err(Error::Input(format!(
                "the text to explain has {} tokens, more than the {room} that the model can hold; shorten it",
                ids.len()
            )));
        }
        Ok(ids)
    }

    /// One row of ids on the device, `[1, L]`.
    fn row(&self, ids: &[u32]) -> Tensor<2, Int> {
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let shape = [1, ids.len()];
        Tensor::from_data(TensorData::new(ids, shape), &self.device)
    }

    /// The part of the picture that the grid of patches covers: not what is left beyond the last whole patch.
    fn grid_region(&self, input: Region) -> Region {
        let vision = &self.model.config().vision_cfg;
        let ([height, width], [ph, pw]) = (vision.image_size.dims(), vision.patch_size.dims());
        let [rows, columns] = vision.grid();
        Region {
            width: input.width * (columns * pw) as f64 / width as f64,
            height: input.height * (rows * ph) as f64 / height as f64,
            ..input
        }
    }
}

/// Follows attention to image tokens back to patches: one map for each row of `cross`, which sums to 1.
///
/// # Shapes
/// - `cross`: `[L, tokens]`, the attention of text positions to image tokens
/// - `pooler`: `[tokens, 1 + patches]`, that of image tokens to the class token and the patches; without it the image
///   tokens are the patches
/// - output: `[L][patches]`
///
/// # Errors
/// [`Error::Device`] for numbers that are no attention: not finite, or with nothing on the patches.
pub fn heat_maps(cross: &[f32], pooler: Option<&[f32]>, tokens: usize) -> Result<Vec<Vec<f32>>> {
    let width = pooler.map_or(tokens, |pooler| pooler.len() / tokens.max(1));
    cross
        .chunks_exact(tokens.max(1))
        .map(|attention| {
            let Some(pooler) = pooler else {
                return shares(attention.iter().map(|&share| share as f64).collect());
            };
            let mut heat = vec![0f64; width];
            for (&share, patches) in attention.iter().zip(pooler.chunks_exact(width)) {
                heat.iter_mut()
                    .zip(patches)
                    .for_each(|(heat, &patch)| *heat += share as f64 * patch as f64);
            }
            // The class token is no place in the picture.
            shares(heat.split_off(1.min(width)))
        })
        .collect()
}

fn shares(heat: Vec<f64>) -> Result<Vec<f32>> {
    let total: f64 = heat.iter().sum();
    if !(total.is_finite() && total > 0.0) {
        return Err(Error::Device(
            "the attention is not made of finite numbers above 0; the device failed or ran out of memory, or the \
             weights are damaged"
                .into(),
        ));
    }
    Ok(heat.into_iter().map(|it| (it / total) as f32).collect())
}

/// Joins the tokens of each word, and takes the mean of their maps.
fn words_of(tokenizer: &Tokenizer, ids: &[u32], heat: &[Vec<f32>]) -> Vec<ExplainedWord> {
    let text = tokenizer.decode_text(ids);
    let ends = word_ends(&text);
    let mut tokens: Vec<Vec<usize>> = vec![vec![]; ends.len()];
    for token in 0..ids.len() {
        // A token belongs to the word in which the text up to it ends.
        let written = tokenizer.decode_text(&ids[..=token]).trim_end().len();
        let word = ends.iter().position(|&end| written <= end);
        if let Some(of_word) = tokens.get_mut(word.unwrap_or(ends.len().saturating_sub(1))) {
            of_word.push(token);
        }
    }
    let mut words: Vec<ExplainedWord> = Vec::with_capacity(ends.len());
    let mut start = 0;
    for (end, tokens) in ends.into_iter().zip(tokens) {
        let piece = &text[start..end];
        start = end;
        match (tokens.is_empty(), words.last_mut()) {
            // Punctuation that came with the token before it, say.
            (true, Some(word)) => word.text.push_str(piece),
            (true, None) => start = 0,
            (false, _) => words.push(ExplainedWord {
                text: piece.to_owned(),
                heat: mean(tokens.iter().filter_map(|&token| heat.get(token))),
            }),
        }
    }
    words
}

/// Where each word of a text ends; the space before a word is its own.
fn word_ends(text: &str) -> Vec<usize> {
    let mut ends: Vec<usize> = text
        .char_indices()
        .zip(text.chars().skip(1))
        .filter(|((_, this), next)| !this.is_whitespace() && next.is_whitespace())
        .map(|((at, this), _)| at + this.len_utf8())
        .collect();
    if ends.last() != Some(&text.len()) && !text.is_empty() {
        ends.push(text.len());
    }
    ends
}

fn mean<'a>(maps: impl Iterator<Item = &'a Vec<f32>>) -> Vec<f32> {
    let (mut sum, mut count) = (Vec::<f64>::new(), 0.0);
    for map in maps {
        sum.resize(map.len(), 0.0);
        sum.iter_mut()
            .zip(map)
            .for_each(|(sum, &value)| *sum += value as f64);
        count += 1.0;
    }
    sum.into_iter().map(|it| (it / count) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_is_followed_through_the_pooler() {
        // Two image tokens; the class token and three patches.
        let pooler = [0.5, 0.5, 0.0, 0.0, 0.0, 0.2, 0.2, 0.6];
        let heat = heat_maps(&[1.0, 0.0, 0.25, 0.75], Some(&pooler), 2).unwrap();
        assert_eq!(heat[0], [1.0, 0.0, 0.0]);
        // 0.125 + 0.15, 0.15, 0.45 of 0.875.
        let expected = [0.275 / 0.875, 0.15 / 0.875, 0.45 / 0.875];
        for (found, expected) in heat[1].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{heat:?}");
        }
    }

    #[test]
    fn without_a_pooler_tokens_are_patches() {
        assert_eq!(heat_maps(&[0.25, 0.25], None, 2).unwrap(), [[0.5, 0.5]]);
        assert!(heat_maps(&[f32::NAN, 0.5], None, 2).is_err());
        assert!(heat_maps(&[0.0, 0.0], None, 2).is_err());
    }

    #[test]
    fn words_keep_the_space_before_them() {
        let words = |text: &str| {
            let mut start = 0;
            word_ends(text)
                .into_iter()
                .map(|end| text[std::mem::replace(&mut start, end)..end].to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(words("a red  cat, é!"), ["a", " red", "  cat,", " é!"]);
        assert_eq!(words("a "), ["a", " "]);
        assert!(words("").is_empty());
    }

    #[test]
    fn tokens_of_a_word_share_its_map() {
        let tokenizer = Tokenizer::train(vec!["a cat sat"; 20], 530).unwrap();
        let ids = tokenizer.encode("a cxt!");
        assert!(ids.len() > 2, "an unknown word has several tokens");
        let heat: Vec<Vec<f32>> = (0..ids.len()).map(|token| vec![token as f32]).collect();
        let words = words_of(&tokenizer, &ids, &heat);
        let texts: String = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, tokenizer.decode_text(&ids));
        assert_eq!((words[0].text.as_str(), words[0].heat[0]), ("a", 0.0));
        let of_second = (1..ids.len()).map(|it| it as f32).sum::<f32>() / (ids.len() - 1) as f32;
        assert_eq!(words.len(), 2);
        assert!((words[1].heat[0] - of_second).abs() < 1e-6);
    }
}
