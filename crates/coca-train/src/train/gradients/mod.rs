//! Gradients of a batch, computed in parts: side by side in lanes (threads or devices), and in each lane one after the
//! other.
//!
//! Every part is a share of the batch's images with their texts. The parts' token losses add up. For the contrastive
//! loss the embeddings of all parts come together, so that it is the loss of the whole batch; its gradient at the
//! embeddings then goes back through each part's graph. With several parts in a lane, the first pass computes the
//! embeddings alone, without a graph, and each part's graph is made when its turn comes (GradCache, Gao et al. 2021,
//! arXiv 2101.06983).

mod contrastive;
mod plan;
mod replica;
mod share;
mod tape;
mod texts;

use std::ops::Range;

use anyhow::{Result, anyhow, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use coca_model::{Coca, Forward, ForwardOptions, LossWeights, Pair, TextBatch, TokenLoss, Whole};

pub use plan::Plan;
pub use texts::texts;

use crate::data::Batch;
use crate::parallel::side_by_side;
use crate::train::collective::{Exchange, copied};
use crate::train::weights::{NamedTensors, copies, put};
use contrastive::{Contrastive, Embeddings, contrastive};
use replica::{collect, replica};
use share::{Share, together};
use tape::Tape;

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

/// A share of the batch.
struct Part {
    images: Range<usize>,
    texts: TextBatch,
    /// The patches that each image keeps.
    kept: Option<Vec<Vec<usize>>>,
    /// Where its contrastive pairs are among those of the batch.
    pairs: Range<usize>,
}

/// One part's pass through the towers, with its graph.
struct Pass {
    forward: Forward,
    tape: Option<Tape>,
}

/// A lane's first pass over its parts.
struct First {
    model: Coca,
    parts: Vec<Part>,
    /// Of each part's pairs.
    embeddings: Vec<Embeddings>,
    /// The pass, where there is only one part and its graph is kept.
    pass: Option<Pass>,
}

/// How many tokens of the whole batch the two token losses predict.
#[derive(Clone, Copy)]
struct Tokens {
    caption: usize,
    language_model: usize,
}

/// Losses and gradients of `batch`, both on the first lane's device, which holds `model`. All are without autodiff.
///
/// # Errors
/// The batch does not fit the model, or has nothing to learn from.
pub fn gradients(model: &Coca, batch: &Batch, plan: &Plan) -> Result<(BatchLosses, NamedTensors)> {
    let pad = model.config().text_cfg.pad_id;
    let lanes = parts(model, batch, plan);
    let every = || lanes.iter().flatten();
    let pairs: Vec<Pair> = every().flat_map(|part| part.texts.pairs.clone()).collect();
    let tokens = Tokens {
        caption: every().map(|part| part.texts.caption_tokens(pad)).sum(),
        language_model: every()
            .map(|part| part.texts.language_model_tokens(pad))
            .sum(),
    };
    let weights = plan.weights;
    ensure!(
        weights.contrastive > 0.0 && !pairs.is_empty()
            || weights.caption > 0.0 && tokens.caption > 0
            || weights.language_model > 0.0 && tokens.language_model > 0,
        "the batch has no pair for the contrastive loss and no token to predict"
    );

    let models = models(model, &plan.exchange)?;
    let lanes = plan.lanes.iter().enumerate().zip(lanes).collect();
    let first = side_by_side(lanes, |((lane, device), parts)| {
        let model = &models[plan.exchange.rank(lane)];
        first_pass(model, batch, plan, device, parts)
    })?;
    let embeddings = first.iter().map(|lane| lane.embeddings.clone()).collect();
    let contrastive = contrastive(&models, plan, embeddings, &pairs)?;
    drop(models);
    let work = plan.lanes.iter().enumerate().zip(first).collect();
    let shares = side_by_side(work, |((lane, device), first)| {
        let contrastive = contrastive.get(plan.exchange.rank(lane));
        second_pass(batch, plan, device, first, contrastive, tokens)
    })?;
    let sum = together(&plan.exchange, shares, &plan.lanes[0])?;
    Ok(finish(plan, sum, contrastive.into_iter().next(), tokens))
}

/// The model of every rank.
fn models(model: &Coca, exchange: &Exchange) -> Result<Vec<Coca>> {
    let mut models = vec![model.clone()];
    if let Exchange::AllReduce(ranks) = exchange {
        let others = ranks.broadcast(copies(model))?.into_iter();
        models.extend(others.map(|weights| put(model.clone(), weights)));
    }
    Ok(models)
}

/// The parts of each lane: consecutive shares of the images, as even as can be.
fn parts(model: &Coca, batch: &Batch, plan: &Plan) -> Vec<Vec<Part>> {
    let [rows, columns] = model.config().vision_cfg.grid();
    let mut first_pair = 0;
    let mut part = |images: Range<usize>| {
        let texts = texts(batch, images.clone());
        let pairs = first_pair..first_pair + texts.pairs.len();
        first_pair = pairs.end;
        let kept = plan.patch_dropout.map(|dropout| {
            let kept = |image| dropout.kept(rows * columns, batch.step, image as u64);
            images.clone().map(kept).collect()
        });
        Part {
            images,
            texts,
            kept,
            pairs,
        }
    };
    let lanes = split(0..batch.batch_size, plan.lanes.len());
    lanes
        .map(|lane| split(lane, plan.accumulate).map(&mut part).collect())
        .collect()
}

/// `count` even shares of a range; none of them is empty if that can be avoided.
fn split(range: Range<usize>, count: usize) -> impl Iterator<Item = Range<usize>> {
    let (start, length, count) = (range.start, range.len(), count.max(1));
    (0..count)
        .map(move |at| start + length * at / count..start + length * (at + 1) / count)
        .filter(|part| !part.is_empty())
}

/// Embeddings of all parts.
fn first_pass(
    model: &Coca,
    batch: &Batch,
    plan: &Plan,
    device: &Device,
    parts: Vec<Part>,
) -> Result<First> {
    let model = replica(model, device, plan.precision, &plan.frozen);
    let without_graph = |embeddings: (Tensor<2>, Tensor<2>)| {
        let (image, text) = embeddings;
        (image.inner(), text.inner())
    };
    let mut first = First {
        model,
        parts,
        embeddings: Vec::new(),
        pass: None,
    };
    if let [part] = &first.parts[..] {
        let pass = pass(&first.model, batch, plan, device, part)?;
        first
            .embeddings
            .extend(pass.forward.pairs.clone().map(without_graph));
        first.pass = Some(pass);
    } else if plan.weights.contrastive > 0.0 {
        let model = first.model.valid();
        let weights = LossWeights {
            contrastive: 1.0,
            caption: 0.0,
            language_model: 0.0,
        };
        for part in &first.parts {
            let options = ForwardOptions {
                weights,
                label_smoothing: 0.0,
                kept_patches: part.kept.as_deref(),
            };
            let pixels = pixels(&model, batch, &part.images, device)?;
            let forward = model.forward_in(pixels, &part.texts, options, &mut Whole)?;
            first.embeddings.extend(forward.pairs);
        }
    }
    Ok(first)
}

/// Gradients of all parts.
fn second_pass(
    batch: &Batch,
    plan: &Plan,
    device: &Device,
    first: First,
    contrastive: Option<&Contrastive>,
    tokens: Tokens,
) -> Result<Share> {
    let First {
        model,
        parts,
        pass: mut kept,
        ..
    } = first;
    let mut share = Share::default();
    for part in parts {
        let Pass { forward, tape } = match kept.take() {
            Some(pass) => pass,
            None => pass(&model, batch, plan, device, &part)?,
        };
        // What the whole batch's loss is to this part, up to a constant.
        let mut terms = Vec::new();
        if let (Some(loss), Some((image, text))) = (contrastive, forward.pairs) {
            terms.push(along(image, &loss.image, &part.pairs));
            terms.push(along(text, &loss.text, &part.pairs));
        }
        let weights = plan.weights;
        for (loss, sum, weight, tokens) in [
            (
                forward.caption,
                &mut share.caption,
                weights.caption,
                tokens.caption,
            ),
            (
                forward.language_model,
                &mut share.language_model,
                weights.language_model,
                tokens.language_model,
            ),
        ] {
            if let Some(TokenLoss { sum: loss, .. }) = loss {
                let plain = loss.clone().inner();
                *sum = Some(match sum.take() {
                    Some(sum) => sum + plain,
                    None => plain,
                });
                terms.push(loss * (weight / tokens as f64));
            }
        }
        let Some(loss) = terms.into_iter().reduce(|sum, term| sum + term) else {
            continue;
        };
        match tape {
            Some(tape) => tape.backward(&model, &loss, &mut share.gradients),
            None if loss.is_tracked() => {
                collect(&model, &loss.backward(), &mut share.gradients);
            }
            None => {}
        }
    }
    Ok(share)
}

/// The batch's losses and gradients, from the sum of all shares.
fn finish(
    plan: &Plan,
    sum: Share,
    contrastive: Option<Contrastive>,
    tokens: Tokens,
) -> (BatchLosses, NamedTensors) {
    let mut gradients = sum.gradients;
    if let Some(contrastive) = &contrastive
        && !plan.frozen.contains("logit_scale")
    {
        gradients.insert("logit_scale".into(), contrastive.logit_scale.clone());
    }
    let mean = |sum: Option<Tensor<1>>, tokens: usize| sum.map(|sum| sum / tokens.max(1) as f64);
    let losses = BatchLosses {
        contrastive: contrastive.map(|contrastive| contrastive.loss),
        caption: mean(sum.caption, tokens.caption),
        language_model: mean(sum.language_model, tokens.language_model),
    };
    (losses, gradients)
}

/// Σ x · gradient[rows]: its gradient at x is that part of `gradient`.
fn along(x: Tensor<2>, gradient: &Tensor<2>, rows: &Range<usize>) -> Tensor<1> {
    let gradient = gradient.clone().narrow(0, rows.start, rows.len());
    let gradient = copied(gradient, &x.device().inner());
    (x * Tensor::from_inner(gradient)).sum()
}

fn pass(model: &Coca, batch: &Batch, plan: &Plan, device: &Device, part: &Part) -> Result<Pass> {
    let options = ForwardOptions {
        weights: plan.weights,
        label_smoothing: plan.label_smoothing,
        kept_patches: part.kept.as_deref(),
    };
    let pixels = pixels(model, batch, &part.images, &device.clone().autodiff())?;
    let mut tape = plan.activation_checkpointing.then(Tape::default);
    let forward = match &mut tape {
        Some(tape) => model.forward_in(pixels, &part.texts, options, tape)?,
        None => model.forward_in(pixels, &part.texts, options, &mut Whole)?,
    };
    Ok(Pass { forward, tape })
}

/// Images of the batch, `[n, 3, H, W]`.
fn pixels(
    model: &Coca,
    batch: &Batch,
    images: &Range<usize>,
    device: &Device,
) -> Result<Tensor<4>> {
    let [height, width] = model.config().vision_cfg.image_size.dims();
    let size = 3 * height * width;
    let pixels = batch
        .pixels
        .get(images.start * size..images.end * size)
        .ok_or_else(|| anyhow!("the batch's images are not of the model's size"))?;
    let pixels = TensorData::new(pixels.to_vec(), [images.len(), 3, height, width]);
    Ok(Tensor::from_data(pixels, device))
}
