//! The contrastive loss of all parts of a batch.

use anyhow::{Result, anyhow};
use burn::tensor::Tensor;
use coca_model::{Coca, Pair, contrastive_loss};

use super::Plan;
use crate::train::collective::{Exchange, copied};

/// Image and text embeddings of a part's pairs, `[n, E]` each, without a graph.
pub type Embeddings = (Tensor<2>, Tensor<2>);

/// The loss, `[1]`, and its gradients at the embeddings of all pairs, `[n, E]`, and at the logit scale, `[1]`. The
/// gradients are weighted.
pub struct Contrastive {
    pub loss: Tensor<1>,
    pub image: Tensor<2>,
    pub text: Tensor<2>,
    pub logit_scale: Tensor<1>,
}

/// The loss of the lanes' embeddings on every rank, whose models these are: each computes all of it and takes from its
/// gradients what belongs to its own pairs. Nothing if there are no embeddings.
///
/// # Errors
/// A rank panicked.
pub fn contrastive(
    models: &[Coca],
    plan: &Plan,
    of_lanes: Vec<Vec<Embeddings>>,
    pairs: &[Pair],
) -> Result<Vec<Contrastive>> {
    if of_lanes.iter().all(Vec::is_empty) {
        return Ok(Vec::new());
    }
    match &plan.exchange {
        Exchange::Copies => {
            let (model, main) = (&models[0], &plan.lanes[0]);
            let (images, texts) = of_lanes
                .into_iter()
                .flatten()
                .map(|(image, text)| (copied(image, main), copied(text, main)))
                .unzip();
            let (images, texts) = (Tensor::cat(images, 0), Tensor::cat(texts, 0));
            Ok(vec![of(model, plan, images, texts, pairs)?])
        }
        Exchange::AllReduce(ranks) => {
            let rows = |parts: Vec<Tensor<2>>| (!parts.is_empty()).then(|| Tensor::cat(parts, 0));
            let (images, texts) = ranks
                .grouped(of_lanes)
                .into_iter()
                .map(|lanes| {
                    let (images, texts): (Vec<_>, Vec<_>) = lanes.into_iter().flatten().unzip();
                    (rows(images), rows(texts))
                })
                .unzip();
            let (images, texts) = (ranks.gather(images)?, ranks.gather(texts)?);
            let work = models.iter().zip(images.into_iter().zip(texts)).collect();
            ranks.on_every(work, |_, _, (model, (images, texts))| {
                of(model, plan, images, texts, pairs)
            })
        }
    }
}

fn of(
    model: &Coca,
    plan: &Plan,
    images: Tensor<2>,
    texts: Tensor<2>,
    pairs: &[Pair],
) -> Result<Contrastive> {
    let leaf = |rows: Tensor<2>| Tensor::from_inner(rows).require_grad();
    let (image, text) = (leaf(images), leaf(texts));
    let logit_scale = Tensor::<1>::from_inner(model.log_logit_scale()).require_grad();
    let loss = contrastive_loss(
        image.clone(),
        text.clone(),
        logit_scale.clone().exp(),
        pairs,
        plan.contrastive_label_smoothing,
    );
    let gradients = (loss.clone() * plan.weights.contrastive).backward();
    let missing = || anyhow!("the contrastive loss has no gradient");
    Ok(Contrastive {
        image: image.grad(&gradients).ok_or_else(missing)?,
        text: text.grad(&gradients).ok_or_else(missing)?,
        logit_scale: logit_scale.grad(&gradients).ok_or_else(missing)?,
        loss: loss.inner(),
    })
}
