//! Gradients of a batch, computed in parts that run side by side.
//!
//! Every part is a share of the batch's images with their texts, on a thread of its own. The parts' token losses add
//! up. For the contrastive loss the embeddings of all parts come together, so that it is the loss of the whole batch;
//! its gradient at the embeddings then goes back through each part's graph.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, anyhow, ensure};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use coca_model::{Coca, Forward, LossWeights, Pair, TextBatch, TokenLoss, contrastive_loss};

use crate::data::Batch;
use crate::parallel::side_by_side;

/// Flat gradients by parameter name; a parameter that took no part has none.
pub type NamedGradients = BTreeMap<String, Tensor<1>>;

/// Losses of a batch, `[1]` each, without a graph; those that were not computed are none.
#[derive(Clone, Debug)]
pub struct BatchLosses {
    /// L_con, unweighted.
    pub contrastive: Option<Tensor<1>>,
    /// L_cap, unweighted.
    pub caption: Option<Tensor<1>>,
    /// L_lm, unweighted.
    pub language_model: Option<Tensor<1>>,
}

/// One part's pass through the towers, with its graph.
struct Part {
    model: Coca,
    forward: Forward,
    pairs: Vec<Pair>,
}

/// The contrastive loss of all parts, and its gradients.
struct Contrastive {
    loss: Tensor<1>,
    image: Tensor<2>,
    text: Tensor<2>,
    logit_scale: Tensor<1>,
}

/// Losses and gradients of `batch` on `threads` threads. `model` and `device` are without autodiff.
///
/// # Errors
/// The batch does not fit the model, or has nothing to learn from.
pub fn gradients(
    model: &Coca,
    batch: &Batch,
    weights: LossWeights,
    threads: usize,
    device: &Device,
) -> Result<(BatchLosses, NamedGradients)> {
    let device = device.clone().autodiff();
    let parts = side_by_side(shares(batch.batch_size, threads), |images| {
        forward(model, batch, images, weights, &device)
    })?;

    let contrastive = contrastive(model, &parts, weights.contrastive, &device)?;
    let caption = Total::of(&parts, |forward| forward.caption.as_ref());
    let language_model = Total::of(&parts, |forward| forward.language_model.as_ref());
    ensure!(
        contrastive.is_some() || caption.is_some() || language_model.is_some(),
        "the batch has no pair for the contrastive loss and no token to predict"
    );

    let mut first_pair = 0;
    let mut work = Vec::with_capacity(parts.len());
    for part in parts {
        let pairs = first_pair..first_pair + part.pairs.len();
        first_pair = pairs.end;
        work.push((part, pairs));
    }
    let found = side_by_side(work, |(part, pairs)| {
        // What the whole batch's loss is to this part, up to a constant.
        let mut share = Vec::new();
        if let (Some(loss), Some((image, text))) = (&contrastive, part.forward.pairs) {
            share.push(along(image, &loss.image, &pairs));
            share.push(along(text, &loss.text, &pairs));
        }
        let token_losses = [
            (part.forward.caption, &caption, weights.caption),
            (
                part.forward.language_model,
                &language_model,
                weights.language_model,
            ),
        ];
        for (loss, total, weight) in token_losses {
            if let (Some(loss), Some(total)) = (loss, total) {
                share.push(loss.sum * (weight / total.tokens as f64));
            }
        }
        let Some(share) = share.into_iter().reduce(|sum, term| sum + term) else {
            return Ok(NamedGradients::new());
        };
        Ok(Collect::from(&part.model, &share.backward()))
    })?;

    let mut sum = NamedGradients::new();
    for (name, gradient) in found.into_iter().flatten() {
        let gradient = match sum.remove(&name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        sum.insert(name, gradient);
    }
    if let Some(contrastive) = &contrastive {
        sum.insert("logit_scale".into(), contrastive.logit_scale.clone());
    }
    let losses = BatchLosses {
        contrastive: contrastive.map(|contrastive| contrastive.loss),
        caption: caption.map(|total| total.sum / total.tokens as f64),
        language_model: language_model.map(|total| total.sum / total.tokens as f64),
    };
    Ok((losses, sum))
}

/// A token loss over all parts.
struct Total {
    sum: Tensor<1>,
    tokens: usize,
}

impl Total {
    fn of(parts: &[Part], loss: impl Fn(&Forward) -> Option<&TokenLoss>) -> Option<Self> {
        parts
            .iter()
            .filter_map(|part| loss(&part.forward))
            .map(|loss| Self {
                sum: loss.sum.clone().inner(),
                tokens: loss.tokens,
            })
            .reduce(|total, part| Self {
                sum: total.sum + part.sum,
                tokens: total.tokens + part.tokens,
            })
    }
}

/// Σ x · gradient[rows]: its gradient at x is that part of `gradient`.
fn along(x: Tensor<2>, gradient: &Tensor<2>, rows: &Range<usize>) -> Tensor<1> {
    let gradient = Tensor::from_inner(gradient.clone().narrow(0, rows.start, rows.len()));
    (x * gradient).sum()
}

/// Even shares of `count` images.
fn shares(count: usize, threads: usize) -> Vec<Range<usize>> {
    let parts = threads.clamp(1, count.max(1));
    (0..parts)
        .map(|part| count * part / parts..count * (part + 1) / parts)
        .collect()
}

fn forward(
    model: &Coca,
    batch: &Batch,
    images: Range<usize>,
    weights: LossWeights,
    device: &Device,
) -> Result<Part> {
    let [height, width] = model.config().vision_cfg.image_size.dims();
    let size = 3 * height * width;
    let pixels = batch
        .pixels
        .get(images.start * size..images.end * size)
        .ok_or_else(|| anyhow!("the batch's images are not of the model's size"))?;
    let pixels = TensorData::new(pixels.to_vec(), [images.len(), 3, height, width]);
    let texts = texts(batch, images);
    let model = with_gradients(model);
    let forward = model.forward(Tensor::from_data(pixels, device), &texts, weights)?;
    Ok(Part {
        model,
        forward,
        pairs: texts.pairs,
    })
}

/// The texts of some images. Rows of weight zero, which only fill the fixed shape, are left out.
pub(super) fn texts(batch: &Batch, images: Range<usize>) -> TextBatch {
    let rows = batch.prefix_lengths.len();
    let length = batch.ids.len() / rows.max(1);
    let mut texts = TextBatch {
        length,
        ..TextBatch::default()
    };
    let mut place = BTreeMap::new();
    let every = batch
        .ids
        .chunks(length.max(1))
        .zip(&batch.prefix_lengths)
        .zip(&batch.image_index)
        .zip(&batch.weights);
    for (row, (((ids, &prefix), &image), &weight)) in every.enumerate() {
        let image = image as usize;
        if weight > 0.0 && images.contains(&image) {
            place.insert(row as i32, texts.prefix_lengths.len());
            texts.ids.extend(ids.iter().map(|&id| id as u32));
            texts.prefix_lengths.push(prefix);
            texts.image_of_row.push(image - images.start);
        }
    }
    for (image, (row, &group)) in batch
        .contrastive_index
        .iter()
        .zip(&batch.contrastive_targets)
        .enumerate()
    {
        if let Some(&row) = place.get(row).filter(|_| images.contains(&image)) {
            texts.pairs.push(Pair {
                image: image - images.start,
                row,
                group: group as usize,
            });
        }
    }
    texts
}

fn contrastive(
    model: &Coca,
    parts: &[Part],
    weight: f64,
    device: &Device,
) -> Result<Option<Contrastive>> {
    let embeddings = parts.iter().filter_map(|part| part.forward.pairs.as_ref());
    let (images, texts): (Vec<_>, Vec<_>) = embeddings
        .map(|(image, text)| (image.clone().inner(), text.clone().inner()))
        .unzip();
    if images.is_empty() {
        return Ok(None);
    }
    let leaf = |parts: Vec<Tensor<2>>| Tensor::from_inner(Tensor::cat(parts, 0)).require_grad();
    let (image, text) = (leaf(images), leaf(texts));
    let logit_scale = Tensor::<1>::from_inner(model.log_logit_scale())
        .to_device(device)
        .require_grad();
    let pairs: Vec<Pair> = parts
        .iter()
        .flat_map(|part| part.pairs.iter().copied())
        .collect();
    let loss = contrastive_loss(
        image.clone(),
        text.clone(),
        logit_scale.clone().exp(),
        &pairs,
    );
    let gradients = (loss.clone() * weight).backward();
    let missing = || anyhow!("the contrastive loss has no gradient");
    Ok(Some(Contrastive {
        image: image.grad(&gradients).ok_or_else(missing)?,
        text: text.grad(&gradients).ok_or_else(missing)?,
        logit_scale: logit_scale.grad(&gradients).ok_or_else(missing)?,
        loss: loss.inner(),
    }))
}

/// The same weights as the leaves of a new graph, so that parts do not share one.
fn with_gradients(model: &Coca) -> Coca {
    struct Leaves;
    impl ModuleMapper for Leaves {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            Param::initialized(
                ParamId::new(),
                Tensor::from_inner(param.val()).require_grad(),
            )
        }
    }
    model.clone().map(&mut Leaves)
}

/// Takes gradients out of a graph, under the parameters' names.
struct Collect<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: NamedGradients,
}

impl<'a> Collect<'a> {
    fn from(model: &Coca, gradients: &'a Gradients) -> NamedGradients {
        let mut collect = Self {
            gradients,
            path: Vec::new(),
            found: NamedGradients::new(),
        };
        model.visit(&mut collect);
        collect.found
    }
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let count = gradient.dims().iter().product::<usize>();
            self.found
                .insert(self.path.join("."), gradient.reshape([count]));
        }
    }
}
