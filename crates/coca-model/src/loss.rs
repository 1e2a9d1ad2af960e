//! The three losses of one forward pass (paper §3.1–3.2).

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation::log_softmax};
use coca_kernels::cross_entropy;

use crate::{
    Coca, Error, Held, Pair, Pieces, Result, TextBatch, Whole, coca::normalise, indices,
    vision::ImageFeatures,
};

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

/// How a forward pass is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardOptions<'a> {
    /// Losses with weight zero are left out.
    pub weights: LossWeights,
    /// The share of the token losses' targets that is spread evenly over the vocabulary, at least 0 and less than 1
    /// (PyTorch's `label_smoothing`).
    pub label_smoothing: f64,
    /// Patch dropout: the patches of each image that are seen, `[B, n]`, from 0 row by row.
    pub kept_patches: Option<&'a [Vec<usize>]>,
}

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
        let contrastive = forward.pairs.map(|(image, text)| {
            contrastive_loss(image, text, self.logit_scale(), &texts.pairs, 0.0)
        });
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
        let options = ForwardOptions {
            weights,
            ..ForwardOptions::default()
        };
        self.forward_in(pixels, texts, options, &mut Whole)
    }

    /// [`Coca::forward`] with options, its blocks run by `pieces`.
    ///
    /// # Errors
    /// [`Error::Input`] when shapes or indices do not fit together.
    pub fn forward_in(
        &self,
        pixels: Tensor<4>,
        texts: &TextBatch,
        options: ForwardOptions<'_>,
        pieces: &mut dyn Pieces,
    ) -> Result<Forward> {
        let ForwardOptions {
            weights,
            label_smoothing,
            kept_patches,
        } = options;
        self.check_pixels(&pixels)?;
        texts.check(pixels.dims()[0], self.config())?;
        self.check_kept(kept_patches, pixels.dims()[0])?;
        if texts.rows() == 0 {
            return Ok(Forward {
                pairs: None,
                caption: None,
                language_model: None,
            });
        }
        let device = pixels.device();
        let pad = self.config().text_cfg.pad_id;

        let image: ImageFeatures = self.visual.forward(pixels, kept_patches, pieces);
        // CLS stays where it would be behind the padding.
        let cls_position = texts.length;
        let texts = &texts.without_padding(pad);
        let ids: Vec<i32> = texts.ids.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(
            TensorData::new(ids, [texts.rows(), texts.length]),
            &device,
        );
        let text = self.text.forward_padded(ids, cls_position, pieces);

        let caption = (weights.caption != 0.0)
            .then(|| {
                self.caption_loss(&text.outputs, &image.tokens, texts, label_smoothing, pieces)
            })
            .flatten();

        let everything = texts.language_model_targets(pad);
        let language_model = (weights.language_model != 0.0 && !everything.is_empty()).then(|| {
            let logits = |x| self.text.language_model_logits(x);
            next_token_loss(text.tokens(), &everything, logits, label_smoothing, &device)
        });

        let pairs = (weights.contrastive != 0.0 && !texts.pairs.is_empty()).then(|| {
            let (images, rows): (Vec<_>, Vec<_>) = texts
                .pairs
                .iter()
                .map(|pair| (pair.image, pair.row))
                .unzip();
            (
                pick(normalise(image.pooled), &images, &device),
                pick(normalise(text.pooled), &rows, &device),
            )
        });
        Ok(Forward {
            pairs,
            caption,
            language_model,
        })
    }

    /// The summed captioning loss of texts `[T, L or more, D]` about images `[B, N, D]`, both encoded; none when no
    /// token is predicted.
    pub(crate) fn caption_loss(
        &self,
        text: &Held,
        image: &Held,
        texts: &TextBatch,
        smoothing: f64,
        pieces: &mut dyn Pieces,
    ) -> Option<TokenLoss> {
        let (pad, device) = (self.config().text_cfg.pad_id, text.tensor.device());
        let predicted = texts.caption_targets(pad);
        if predicted.is_empty() {
            return None;
        }
        let (columns, rows) = (texts.length, &texts.image_of_row);
        let outputs = self.text_decoder.train(text, columns, image, rows, pieces);
        let logits = |x| self.text_decoder.logits(x);
        Some(next_token_loss(
            outputs, &predicted, logits, smoothing, &device,
        ))
    }

    /// Each image keeps the same number of patches, at least one.
    fn check_kept(&self, kept: Option<&[Vec<usize>]>, images: usize) -> Result<()> {
        let Some(kept) = kept else { return Ok(()) };
        let [rows, columns] = self.config().vision_cfg.grid();
        let count = kept.first().map_or(0, Vec::len);
        let fits = kept.len() == images
            && count > 0
            && kept.iter().all(|patches| {
                patches.len() == count && patches.iter().all(|&at| at < rows * columns)
            });
        if fits {
            return Ok(());
        }
        Err(Error::Input(format!(
            "patch dropout must keep the same number of the {} patches of each of the {images} images",
            rows * columns
        )))
    }
}

/// The symmetric contrastive loss of n pairs, `[1]`: `image` and `text` are `[n, E]` unit vectors, `scale` is `[1]`,
/// exp(logit scale). `smoothing`, at least 0 and less than 1, is the share of each target that is spread evenly over
/// the batch.
pub fn contrastive_loss(
    image: Tensor<2>,
    text: Tensor<2>,
    scale: Tensor<1>,
    pairs: &[Pair],
    smoothing: f64,
) -> Tensor<1> {
    let logits = image.matmul(text.transpose()) * scale.unsqueeze();
    let mut targets = positive_shares(pairs, &logits.device());
    if smoothing > 0.0 {
        targets = targets * (1.0 - smoothing) + smoothing / pairs.len() as f64;
    }
    // Row and column sums of the targets are both 1 and the targets are symmetric, so they serve both directions.
    let image_to_text = log_softmax(logits.clone(), 1);
    let text_to_image = log_softmax(logits, 0);
    ((image_to_text + text_to_image) * targets).sum() / (-2.0 * pairs.len() as f64)
}

/// `[n, n]`: 1 / (size of the group) where two pairs share a group, else 0; the identity if none do.
fn positive_shares(pairs: &[Pair], device: &Device) -> Tensor<2> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, pair) in pairs.iter().enumerate() {
        groups.entry(pair.group).or_default().push(at);
    }
    let mut shares = vec![0.0_f32; pairs.len() * pairs.len()];
    for (row, pair) in shares.chunks_mut(pairs.len().max(1)).zip(pairs) {
        let group = groups.get(&pair.group).map_or(&[][..], Vec::as_slice);
        for &column in group {
            row[column] = 1.0 / group.len() as f32;
        }
    }
    Tensor::from_data(TensorData::new(shares, [pairs.len(), pairs.len()]), device)
}

/// Summed cross-entropy at the given positions of `outputs` `[T, L, D]`. Only they are projected to the vocabulary:
/// most of a padded batch predicts nothing.
fn next_token_loss(
    outputs: Tensor<3>,
    targets: &[(usize, u32)],
    logits: impl FnOnce(Tensor<2>) -> Tensor<2>,
    smoothing: f64,
    device: &Device,
) -> TokenLoss {
    let [rows, columns, width] = outputs.dims();
    let (positions, labels): (Vec<usize>, Vec<u32>) = targets.iter().copied().unzip();
    let chosen = pick(outputs.reshape([rows * columns, width]), &positions, device);
    let logits = logits(chosen).cast(DType::F32);
    let sum = if smoothing > 0.0 {
        let vocabulary = logits.dims()[1] as f64;
        let of_all = log_softmax(logits.clone(), 1).sum();
        cross_entropy(logits, &labels) * (1.0 - smoothing) - of_all * (smoothing / vocabulary)
    } else {
        cross_entropy(logits, &labels)
    };
    TokenLoss {
        sum,
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
            model.encode_image(pixels.clone()).unwrap().tokens,
            &texts.image_of_row,
            &device,
        );
        let multimodal = values(model.caption_logits(unimodal.clone(), image));
        let language = values(model.text.language_model_logits(unimodal));
        let mean = |logits: &[f64], first: &dyn Fn(usize) -> usize, smoothing: f64| {
            let mut terms = Vec::new();
            for row in 0..3 {
                for column in first(row)..10 {
                    let label = texts.ids[row * 10 + column] as usize;
                    if label != 0 {
                        let at = (row * 10 + column - 1) * 50;
                        let logits = &logits[at..at + 50];
                        let every = (0..50).map(|label| cross_entropy(logits, label));
                        let uniform = every.sum::<f64>() / 50.0;
                        let target = cross_entropy(logits, label);
                        terms.push((1.0 - smoothing) * target + smoothing * uniform);
                    }
                }
            }
            terms.iter().sum::<f64>() / terms.len() as f64
        };
        let caption = mean(&multimodal, &|row| texts.prefix_lengths[row], 0.0);
        let language_model = mean(&language, &|_| 1, 0.0);
        close(losses.caption.unwrap(), caption);
        close(losses.language_model.unwrap(), language_model);
        close(losses.total, 2.0 * caption + 0.5 * language_model);

        let options = ForwardOptions {
            weights,
            label_smoothing: 0.1,
            kept_patches: None,
        };
        let smooth = model
            .forward_in(pixels, &texts, options, &mut Whole)
            .unwrap();
        let caption = mean(&multimodal, &|row| texts.prefix_lengths[row], 0.1);
        close(smooth.caption.unwrap().mean(), caption);
        close(
            smooth.language_model.unwrap().mean(),
            mean(&language, &|_| 1, 0.1),
        );
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
        let logits = values(image.clone().matmul(text.clone().transpose()) * scale);
        for smoothing in [0.0, 0.2] {
            let mut sum = 0.0;
            for a in 0..4 {
                let same = (0..4).filter(|&b| groups[a] == groups[b]).count() as f64;
                let row: Vec<f64> = (0..4).map(|b| logits[a * 4 + b]).collect();
                let column: Vec<f64> = (0..4).map(|b| logits[b * 4 + a]).collect();
                for b in 0..4 {
                    let share = if groups[a] == groups[b] {
                        1.0 / same
                    } else {
                        0.0
                    };
                    let target = (1.0 - smoothing) * share + smoothing / 4.0;
                    sum += target * (cross_entropy(&row, b) + cross_entropy(&column, b));
                }
            }
            let loss = contrastive_loss(
                image.clone(),
                text.clone(),
                Tensor::from_data([scale], &device),
                &pairs,
                smoothing,
            );
            close(loss, sum / 8.0);
        }
    }

    #[test]
    fn dropped_patches_are_not_seen_and_all_kept_is_no_dropout() {
        let (model, device) = tiny();
        let noise = |seed| {
            device.seed(seed);
            Tensor::<4>::random([2, 3, 64, 64], Distribution::Normal(0.0, 1.0), &device)
        };
        let (pixels, other) = (noise(1), noise(2));
        let caption = |pixels: &Tensor<4>, kept: Option<&[Vec<usize>]>| {
            let options = ForwardOptions {
                kept_patches: kept,
                ..ForwardOptions::default()
            };
            let forward = model.forward_in(pixels.clone(), &texts(), options, &mut Whole);
            values(forward.unwrap().caption.unwrap().mean())[0]
        };
        let [rows, columns] = model.config().vision_cfg.grid();
        let every: Vec<usize> = (0..rows * columns).collect();
        let (whole, all) = (
            caption(&pixels, None),
            caption(&pixels, Some(&[every.clone(), every.clone()])),
        );
        assert!((whole - all).abs() < 1e-5, "{whole} {all}");
        // Changes the lower half of both pictures, of which no patch is kept.
        let half = pixels.clone().slice_assign(
            [0..2, 0..3, 32..64, 0..64],
            other.slice([0..2, 0..3, 32..64, 0..64]),
        );
        let upper = every[..every.len() / 2].to_vec();
        let kept = [upper.clone(), upper];
        assert_eq!(caption(&pixels, Some(&kept)), caption(&half, Some(&kept)));
        assert_ne!(caption(&pixels, None), caption(&half, None));
        let options = ForwardOptions {
            kept_patches: Some(&kept[..1]),
            ..ForwardOptions::default()
        };
        let error = model.forward_in(pixels, &texts(), options, &mut Whole);
        assert!(error.unwrap_err().to_string().contains("patch dropout"));
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
