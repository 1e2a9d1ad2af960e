//! AdamW (Loshchilov & Hutter 2019), as PyTorch computes it.

use burn::tensor::Tensor;
use coca_kernels::{AdamW, adamw};

use super::Slots;

/// A parameter's weights after an update; `slots` are its moments.
pub fn update(
    numbers: AdamW,
    weights: Tensor<1>,
    gradient: Tensor<1>,
    slots: &mut Slots,
) -> Tensor<1> {
    let mut old = |slot| slots.remove(slot).unwrap_or_else(|| gradient.zeros_like());
    let moments = [old("first"), old("second")];
    let (weights, [first, second]) = adamw(numbers, weights, gradient, moments);
    slots.insert("first", first);
    slots.insert("second", second);
    weights
}
