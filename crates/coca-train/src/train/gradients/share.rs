//! A share of a batch's gradients and token losses, and the sum of shares.

use std::collections::BTreeMap;

use anyhow::Result;
use burn::tensor::{Device, Tensor};

use crate::parallel::side_by_side;
use crate::train::collective::{Exchange, copied};
use crate::train::weights::NamedTensors;

/// What a lane, or several, found.
#[derive(Default)]
pub struct Share {
    /// Gradients.
    pub gradients: NamedTensors,
    /// The sum of the captioning loss over tokens, `[1]`.
    pub caption: Option<Tensor<1>>,
    /// The same of the language-modelling loss.
    pub language_model: Option<Tensor<1>>,
}

/// The sum of the lanes' shares on `main`, the first lane's device.
///
/// # Errors
/// A thread panicked.
pub fn together(exchange: &Exchange, lanes: Vec<Share>, main: &Device) -> Result<Share> {
    let Exchange::AllReduce(ranks) = exchange else {
        return added(lanes, main);
    };
    let shares = ranks.on_every(ranks.grouped(lanes), |_, device, lanes| {
        added(lanes, device)
    })?;
    let (caption, language_model) = ("caption", "language_model");
    let (gradients, losses) = shares
        .into_iter()
        .map(|share| {
            let losses = [
                (caption, share.caption),
                (language_model, share.language_model),
            ];
            let losses = losses.into_iter();
            let losses = losses.filter_map(|(name, loss)| Some((name.to_string(), loss?)));
            (share.gradients, losses.collect::<NamedTensors>())
        })
        .unzip();
    let gradients = ranks.sum(gradients)?;
    let mut losses = ranks.sum(losses)?;
    Ok(Share {
        gradients,
        caption: losses.remove(caption),
        language_model: losses.remove(language_model),
    })
}

/// Adds shares up on `device`, always in the same order.
fn added(shares: Vec<Share>, device: &Device) -> Result<Share> {
    let mut found = Vec::with_capacity(shares.len());
    let mut sum = Share::default();
    let plus = |sum: &mut Option<Tensor<1>>, term: Option<Tensor<1>>| {
        if let Some(term) = term.map(|term| copied(term, device)) {
            *sum = Some(match sum.take() {
                Some(sum) => sum + term,
                None => term,
            });
        }
    };
    for share in shares {
        found.push(share.gradients);
        plus(&mut sum.caption, share.caption);
        plus(&mut sum.language_model, share.language_model);
    }
    sum.gradients = sums(found, device)?;
    Ok(sum)
}

/// The sum of each name's gradients on `device`. As many threads add as there were lanes.
fn sums(lanes: Vec<NamedTensors>, device: &Device) -> Result<NamedTensors> {
    let mut groups = vec![Vec::new(); lanes.len()];
    let mut all = BTreeMap::<String, Vec<Tensor<1>>>::new();
    for (name, gradient) in lanes.into_iter().flatten() {
        all.entry(name).or_default().push(gradient);
    }
    for (at, one) in all.into_iter().enumerate() {
        let group = at % groups.len();
        groups[group].push(one);
    }
    let sums = side_by_side(groups, |group| {
        let sums = group.into_iter().filter_map(|(name, gradients)| {
            let here = gradients
                .into_iter()
                .map(|gradient| copied(gradient, device));
            Some((name, here.reduce(|sum, gradient| sum + gradient)?))
        });
        Ok(sums.collect::<Vec<_>>())
    })?;
    Ok(sums.into_iter().flatten().collect())
}
