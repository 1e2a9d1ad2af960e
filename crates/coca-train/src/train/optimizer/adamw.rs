//! AdamW (Loshchilov & Hutter 2019), as PyTorch computes it.

use burn::tensor::Tensor;
use coca_kernels::{AdamW, adamw};

use super::Slots;
use crate::train::config::OptimizerConfig;

/// A parameter's weights after its update number `update`, from 1; `slots` are its moments.
pub fn update(
    config: &OptimizerConfig,
    weights: Tensor<1>,
    gradient: Tensor<1>,
    slots: &mut Slots,
    update: u64,
    rate: f64,
    weight_decay: f64,
) -> Tensor<1> {
    let mut old = |slot| slots.remove(slot).unwrap_or_else(|| gradient.zeros_like());
    let moments = [old("first"), old("second")];
    let numbers = AdamW {
        beta1: config.beta1,
        beta2: config.beta2,
        epsilon: config.epsilon,
        rate,
        weight_decay,
        step: i32::try_from(update).unwrap_or(i32::MAX),
    };
    let (weights, [first, second]) = adamw(numbers, weights, gradient, None, moments);
    slots.insert("first", first);
    slots.insert("second", second);
    weights
}
