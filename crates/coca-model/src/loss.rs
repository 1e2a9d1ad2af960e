//! The three losses of one forward pass (paper §3.1–3.2).

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use coca_kernels::cross_entropy;

use crate::{Coca, Error, Result, indices};

/// Weights of the losses in the total. open_clip's and the paper's ratio of captioning to contrastive is 2 : 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossWeights {
    /// λ_con.
    pub contrastive: f64,
    /// λ_cap.
    pub caption: f64,
    /// λ_lm.
    pub language_model: f64,
}

impl Default for LossWeights {
    fn default() -> Self {
        Self {
            contrastive: 1.0,
            caption: 2.0,
            language_model: 0.0,
        }
    }
}

/// A picture and the text that describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The picture, from 0 to B - 1.
    pub image: usize,
    /// The row of its text, from 0 to T - 1.
    pub row: usize,
    /// Pairs of one group mean the same (two pictures of one class): they are positives for each other, with equal
    /// shares. With a group of its own for every pair the loss is CLIP's.
    pub group: usize,
}

/// The texts of a training batch, as token ids on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextBatch {
    /// `[T, L]`, row by row, right padded: SOT, text, EOT, padding.
    pub ids: Vec<u32>,
    /// L, the context length.
    pub length: usize,
    /// For each row how many of its tokens, SOT included, condition and are not predicted by the captioning loss
    /// (PrefixLM): 1 for a caption, 1 + the question's tokens for a question and its answer.
    pub prefix_lengths: Vec<usize>,
    /// For each row the picture it belongs to.
    pub image_of_row: Vec<usize>,
    /// The pairs of the contrastive loss; every other picture and row takes no part in it.
    pub pairs: Vec<Pair>,
}

impl TextBatch {
    /// One caption for each picture, all of it predicted, every picture and row in the contrastive loss.
    pub fn captions(ids: Vec<u32>, length: usize) -> Self {
        let rows = ids.len() / length.max(1);
        Self {
            ids,
            length,
            prefix_lengths: vec![1; rows],
            image_of_row: (0..rows).collect(),
            pairs: (0..rows)
                .map(|row| Pair {
                    image: row,
                    row,
                    group: row,
                })
                .collect(),
        }
    }

    /// T.
    pub fn rows(&self) -> usize {
        self.prefix_lengths.len()
    }

    fn check(&self, images: usize, config: &crate::ModelConfig) -> Result<()> {
        let (rows, text) = (self.rows(), &config.text_cfg);
        let fits = self.length >= 2
            && self.length <= text.context_length
            && self.ids.len() == rows * self.length
            && self.image_of_row.len() == rows
            && self.image_of_row.iter().all(|&image| image < images)
            && self
                .pairs
                .iter()
                .all(|pair| pair.image < images && pair.row < rows)
            && self.ids.iter().all(|&id| (id as usize) < text.vocab_size);
        if fits {
            Ok(())
        } else {
            Err(Error::Input(format!(
                "the text batch does not fit together: {rows} rows of {} tokens, {} ids, {} pictures",
                self.length,
                self.ids.len(),
                images
            )))
        }
    }

    /// Positions whose next token is predicted, and that token: (row * L + column, id).
    fn targets(&self, pad: u32, first: impl Fn(usize) -> usize) -> Vec<(usize, u32)> {
        self.ids
            .chunks(self.length)
            .enumerate()
            .flat_map(|(row, ids)| {
                let first = first(row);
                let predicted = ids
                    .iter()
                    .enumerate()
                    .skip(first.max(1))
                    .filter(move |&(_, &id)| id != pad);
                predicted.map(move |(column, &id)| (row * self.length + column - 1, id))
            })
            .collect()
    }

    /// Columns up to the last token of the longest row, rounded up so that few shapes occur.
    fn used_columns(&self, pad: u32) -> usize {
        let longest = self.ids.chunks(self.length).map(|ids| {
            ids.iter()
                .rposition(|&id| id != pad)
                .map_or(0, |last| last + 1)
        });
        longest
            .max()
            .unwrap_or(0)
            .next_multiple_of(COLUMN_STEP)
            .min(self.length)
    }
}

/// Granularity of the decoder's text length: fewer shapes, fewer kernels and buffers.
const COLUMN_STEP: usize = 4;

/// The losses of a batch, `[1]` each; those with weight zero are not computed.
#[derive(Clone, Debug)]
pub struct Losses {
    /// λ_con L_con + λ_cap L_cap + λ_lm L_lm.
    pub total: Tensor<1>,
    /// Mean of the image-to-text and text-to-image cross-entropies, unweighted.
    pub contrastive: Option<Tensor<1>>,
    /// Mean cross-entropy of the predicted tokens given picture, prefix and what came before, unweighted.
    pub caption: Option<Tensor<1>>,
    /// Mean cross-entropy of all tokens given what came before in the unimodal text decoder, unweighted.
    pub language_model: Option<Tensor<1>>,
}

/// What one pass through the towers leaves for the losses. A batch may be computed in parts, on several devices or
/// one after the other: the token losses of the parts add up, and the contrastive loss takes all their pairs.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Image and text embeddings of the contrastive pairs, `[n, E]` each, in the order of [`TextBatch::pairs`].
    pub pairs: Option<(Tensor<2>, Tensor<2>)>,
    /// Summed cross-entropy of the captioning loss.
    pub caption: Option<TokenLoss>,
    /// Summed cross-entropy of the language-modelling loss.
    pub language_model: Option<TokenLoss>,
}

/// A sum of cross-entropies.
#[derive(Clone, Debug)]
pub struct TokenLoss {
    /// The sum, `[1]`.
    pub sum: Tensor<1>,
    /// How many tokens it is over.
    pub tokens: usize,
}

impl TokenLoss {
    /// The mean, `[1]`.
    pub fn mean(&self) -> Tensor<1> {
        self.sum.clone() / self.tokens as f64
    }
}

impl Coca {
    /// All losses from one pass through each tower.
    ///
    /// `pixels` is `[B, 3, height, width]`; `texts` describe them, several rows a picture if wanted: the image
    /// encoder runs once for all of them.
    ///
    /// # Errors
    /// [`Error::Input`] when shapes or indices do not fit together, or when nothing is left to learn from.
    pub fn losses(
        &self,
        pixels: Tensor<4>,
        texts: &TextBatch,
        weights: LossWeights,
    ) -> Result<Losses> {
        let forward = self.forward(pixels, texts, weights)?;
        let contrastive = forward
            .pairs
            .map(|(image, text)| contrastive_loss(image, text, self.logit_scale(), &texts.pairs));
        let caption = forward.caption.map(|loss| loss.mean());
        let language_model = forward.language_model.map(|loss| loss.mean());
        let weighted = [
            (&contrastive, weights.contrastive),
            (&caption, weights.caption),
            (&language_model, weights.language_model),
        ];
        let total = weighted
            .into_iter()
            .filter_map(|(loss, weight)| loss.clone().map(|loss| loss * weight))
            .reduce(|sum, loss| sum + loss)
            .ok_or_else(|| {
                Error::Input("every loss weight is 0, or no text has a token to predict".into())
            })?;
        Ok(Losses {
            total,
            contrastive,
            caption,
            language_model,
        })
    }

    /// One pass through each tower (paper §3.2: all losses share one graph); losses with weight zero are left out.
    ///
    /// # Errors
    /// [`Error::Input`] when shapes or indices do not fit together.
    pub fn forward(
        &self,
        pixels: Tensor<4>,
        texts: &TextBatch,
        weights: LossWeights,
    ) -> Result<Forward> {
        texts.check(pixels.dims()[0], self.config())?;
        if texts.rows() == 0 {
            return Ok(Forward {
                pairs: None,
                caption: None,
                language_model: None,
            });
        }
        let device = pixels.device();
        let pad = self.config().text_cfg.pad_id;

        let image = self.encode_image(pixels)?;
        let ids: Vec<i32> = texts.ids.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(
            TensorData::new(ids, [texts.rows(), texts.length]),
            &device,
        );
        let text = self.encode_text(ids)?;

        let pairs = (weights.contrastive != 0.0 && !texts.pairs.is_empty()).then(|| {
            let (images, rows): (Vec<_>, Vec<_>) = texts
                .pairs
                .iter()
                .map(|pair| (pair.image, pair.row))
                .unzip();
            (
                pick(image.embedding, &images, &device),
                pick(text.embedding, &rows, &device),
            )
        });

        let caption = (weights.caption != 0.0)
            .then(|| self.caption_loss(text.tokens.clone(), image.tokens, texts))
            .flatten();

        let everything = texts.targets(pad, |_| 1);
        let language_model = (weights.language_model != 0.0 && !everything.is_empty()).then(|| {
            next_token_loss(
                text.tokens,
                &everything,
                |x| self.text.language_model_logits(x),
                &device,
            )
        });
        Ok(Forward {
            pairs,
            caption,
            language_model,
        })
    }

    /// The summed captioning loss of texts `[T, L, D]` about images `[B, N, D]`, both encoded; `None` when no token is
    /// predicted.
    pub(crate) fn caption_loss(
        &self,
        text_tokens: Tensor<3>,
        image_tokens: Tensor<3>,
        texts: &TextBatch,
    ) -> Option<TokenLoss> {
        let (pad, device) = (self.config().text_cfg.pad_id, text_tokens.device());
        let predicted = texts.targets(pad, |row| {
            texts.prefix_lengths.get(row).copied().unwrap_or(1)
        });
        if predicted.is_empty() {
            return None;
        }
        let columns = texts.used_columns(pad);
        let layers = self.text_decoder.image_keys_values(image_tokens);
        let layers: Vec<_> = layers
            .into_iter()
            .map(|layer| layer.pick(&texts.image_of_row))
            .collect();
        let tokens = text_tokens.narrow(1, 0, columns);
        let outputs = self.text_decoder.forward(tokens, &layers);
        let predicted = repositioned(&predicted, texts.length, columns);
        Some(next_token_loss(
            outputs,
            &predicted,
            |x| self.text_decoder.logits(x),
            &device,
        ))
    }
}

/// The symmetric contrastive loss of n pairs, `[1]`: `image` and `text` are `[n, E]` unit vectors, `scale` is `[1]`,
/// exp(logit scale).
pub fn contrastive_loss(
    image: Tensor<2>,
    text: Tensor<2>,
    scale: Tensor<1>,
    pairs: &[Pair],
) -> Tensor<1> {
    let logits = image.matmul(text.transpose()) * scale.unsqueeze();
    let targets = positive_shares(pairs, &logits.device());
    // Row and column sums of the targets are both 1 and the targets are symmetric, so they serve both directions.
    let image_to_text = log_softmax(logits.clone(), 1);
    let text_to_image = log_softmax(logits, 0);
    ((image_to_text + text_to_image) * targets).sum() / (-2.0 * pairs.len() as f64)
}

/// `[n, n]`: 1 / (size of the group) where two pairs share a group, else 0; the identity if none do.
fn positive_shares(pairs: &[Pair], device: &Device) -> Tensor<2> {
    let size = |group: usize| pairs.iter().filter(|pair| pair.group == group).count() as f32;
    let share = |a: &Pair, b: &Pair| {
        if a.group == b.group {
            1.0 / size(a.group)
        } else {
            0.0
        }
    };
    let shares: Vec<f32> = pairs
        .iter()
        .flat_map(|a| pairs.iter().map(move |b| share(a, b)))
        .collect();
    Tensor::from_data(TensorData::new(shares, [pairs.len(), pairs.len()]), device)
}

/// Summed cross-entropy at the given positions of `outputs` `[T, L, D]`. Only they are projected to the vocabulary:
/// most of a padded batch predicts nothing.
fn next_token_loss(
    outputs: Tensor<3>,
    targets: &[(usize, u32)],
    logits: impl FnOnce(Tensor<2>) -> Tensor<2>,
    device: &Device,
) -> TokenLoss {
    let [rows, columns, width] = outputs.dims();
    let (positions, labels): (Vec<usize>, Vec<u32>) = targets.iter().copied().unzip();
    let chosen = pick(outputs.reshape([rows * columns, width]), &positions, device);
    TokenLoss {
        sum: cross_entropy(logits(chosen), &labels),
        tokens: positions.len(),
    }
}

/// Rows of `x` by index.
fn pick(x: Tensor<2>, rows: &[usize], device: &Device) -> Tensor<2> {
    if rows.iter().copied().eq(0..x.dims()[0]) {
        return x;
    }
    x.select(0, indices(rows, device))
}

/// Targets of rows of `from` columns, for rows cut to `to` columns. Nothing is lost: what was cut is padding.
fn repositioned(targets: &[(usize, u32)], from: usize, to: usize) -> Vec<(usize, u32)> {
    targets
        .iter()
        .map(|&(at, id)| (at / from * to + at % from, id))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;
    use burn::tensor::Distribution;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor
            .into_data()
            .try_into_vec_as::<f32>()
            .unwrap()
            .into_iter()
            .map(f64::from)
            .collect()
    }

    fn close(actual: Tensor<1>, expected: f64) {
        let actual = values(actual)[0];
        assert!(
            (actual - expected).abs() <= 1e-5 * expected.abs().max(1.0),
            "{actual}, expected {expected}"
        );
    }

    /// -log softmax(logits)[label], in double precision.
    fn cross_entropy(logits: &[f64], label: usize) -> f64 {
        let largest = logits.iter().copied().fold(f64::MIN, f64::max);
        largest
            + logits
                .iter()
                .map(|logit| (logit - largest).exp())
                .sum::<f64>()
                .ln()
            - logits[label]
    }

    fn tiny() -> (Coca, Device) {
        let device = Device::flex();
        device.seed(3);
        let mut config = ModelConfig::preset("coca_tiny").unwrap();
        config.vision_cfg.layers = 1;
        config.text_cfg.vocab_size = 50;
        config.multimodal_cfg.vocab_size = Some(50);
        (Coca::new(&config, &device).unwrap(), device)
    }

    /// Two pictures; the first with a question (prefix of 4 tokens) and a caption, the second with a caption.
    fn texts() -> TextBatch {
        let rows: [&[u32]; 3] = [
            &[48, 5, 6, 7, 8, 9, 49],
            &[48, 3, 49],
            &[48, 11, 12, 13, 49],
        ];
        let ids = rows
            .iter()
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat(0)).take(10))
            .collect();
        TextBatch {
            ids,
            length: 10,
            prefix_lengths: vec![4, 1, 1],
            image_of_row: vec![0, 0, 1],
            pairs: vec![
                Pair {
                    image: 0,
                    row: 1,
                    group: 0,
                },
                Pair {
                    image: 1,
                    row: 2,
                    group: 1,
                },
            ],
        }
    }

    #[test]
    fn token_losses_equal_their_definition() {
        let (model, device) = tiny();
        let pixels = Tensor::<4>::random([2, 3, 64, 64], Distribution::Normal(0.0, 1.0), &device);
        let texts = texts();
        let weights = LossWeights {
            contrastive: 0.0,
            caption: 2.0,
            language_model: 0.5,
        };
        let losses = model.losses(pixels.clone(), &texts, weights).unwrap();
        assert!(losses.contrastive.is_none());

        let ids: Vec<i32> = texts.ids.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [3, 10]), &device);
        let unimodal = model.encode_text(ids).unwrap().tokens;
        let image = pick_images(
            model.encode_image(pixels).unwrap().tokens,
            &texts.image_of_row,
            &device,
        );
        let multimodal = values(model.caption_logits(unimodal.clone(), image));
        let language = values(model.text.language_model_logits(unimodal));
        let mean = |logits: &[f64], first: &dyn Fn(usize) -> usize| {
            let mut terms = Vec::new();
            for row in 0..3 {
                for column in first(row)..10 {
                    let label = texts.ids[row * 10 + column] as usize;
                    if label != 0 {
                        let at = (row * 10 + column - 1) * 50;
                        terms.push(cross_entropy(&logits[at..at + 50], label));
                    }
                }
            }
            terms.iter().sum::<f64>() / terms.len() as f64
        };
        let caption = mean(&multimodal, &|row| texts.prefix_lengths[row]);
        let language_model = mean(&language, &|_| 1);
        close(losses.caption.unwrap(), caption);
        close(losses.language_model.unwrap(), language_model);
        close(losses.total, 2.0 * caption + 0.5 * language_model);
    }

    fn pick_images(tokens: Tensor<3>, rows: &[usize], device: &Device) -> Tensor<3> {
        tokens.select(0, indices(rows, device))
    }

    #[test]
    fn pairs_of_one_group_share_the_target() {
        let device = Device::flex();
        let random = || {
            let x = Tensor::<2>::random([4, 6], Distribution::Normal(0.0, 1.0), &device);
            let norm = x.clone().square().sum_dim(1).sqrt();
            x / norm
        };
        let (image, text, scale) = (random(), random(), 5.0);
        let groups = [0, 1, 0, 3];
        let pairs: Vec<Pair> = groups
            .iter()
            .enumerate()
            .map(|(at, &group)| Pair {
                image: at,
                row: at,
                group,
            })
            .collect();
        let loss = contrastive_loss(
            image.clone(),
            text.clone(),
            Tensor::from_data([scale], &device),
            &pairs,
        );

        let logits = values(image.matmul(text.transpose()) * scale);
        let mut sum = 0.0;
        for a in 0..4 {
            let same: Vec<usize> = (0..4).filter(|&b| groups[a] == groups[b]).collect();
            let row: Vec<f64> = (0..4).map(|b| logits[a * 4 + b]).collect();
            let column: Vec<f64> = (0..4).map(|b| logits[b * 4 + a]).collect();
            for &b in &same {
                sum += (cross_entropy(&row, b) + cross_entropy(&column, b)) / same.len() as f64;
            }
        }
        close(loss, sum / 8.0);
    }

    #[test]
    fn what_does_not_fit_together_is_an_error() {
        let (model, device) = tiny();
        let losses = |texts: &TextBatch, weights| {
            model
                .losses(Tensor::zeros([2, 3, 64, 64], &device), texts, weights)
                .map(|_| ())
        };
        let good = texts();
        losses(&good, LossWeights::default()).unwrap();
        let spoilt: [fn(&mut TextBatch); 5] = [
            |texts| texts.image_of_row[0] = 2,
            |texts| texts.ids[0] = 50,
            |texts| texts.pairs[0].row = 3,
            |texts| texts.length = 9,
            |texts| texts.prefix_lengths.push(1),
        ];
        for spoil in spoilt {
            let mut texts = good.clone();
            spoil(&mut texts);
            losses(&texts, LossWeights::default()).unwrap_err();
        }
        let nothing = LossWeights {
            contrastive: 0.0,
            caption: 0.0,
            language_model: 0.0,
        };
        losses(&good, nothing).unwrap_err();
    }
}
