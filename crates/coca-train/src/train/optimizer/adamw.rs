//! AdamW (Loshchilov & Hutter 2019), as PyTorch computes it.

use burn::tensor::Tensor;

use super::Slots;
use crate::train::config::OptimizerConfig;

/// What is subtracted from a parameter in its update number `update`, from 1; `slots` are its moments.
pub fn change(
    config: &OptimizerConfig,
    gradient: Tensor<1>,
    slots: &mut Slots,
    update: u64,
    rate: f64,
) -> Tensor<1> {
    let mut old = |slot| slots.remove(slot).unwrap_or_else(|| gradient.zeros_like());
    let (first, second) = (old("first"), old("second"));
    let first = first * config.beta1 + gradient.clone() * (1.0 - config.beta1);
    let second = second * config.beta2 + gradient.square() * (1.0 - config.beta2);
    let update = i32::try_from(update).unwrap_or(i32::MAX);
    let bias = |beta: f64| 1.0 - beta.powi(update);
    let denominator = second.clone().sqrt() / bias(config.beta2).sqrt() + config.epsilon;
    slots.insert("first", first.clone());
    slots.insert("second", second);
    first / denominator * (rate / bias(config.beta1))
}
