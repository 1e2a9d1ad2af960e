//! One AdamW update in a single pass.

use super::simd::{sum, vectorised};

/// The numbers of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay rate of the mean gradient.
    pub beta1: f32,
    /// Decay rate of the mean squared gradient.
    pub beta2: f32,
    /// Added to the root of the mean square.
    pub epsilon: f32,
    /// Learning rate over 1 - β₁ᵗ.
    pub rate: f32,
    /// √(1 - β₂ᵗ).
    pub correction: f32,
    /// What the weights are multiplied with: 1 - learning rate · weight decay.
    pub decay: f32,
    /// What the gradient is multiplied with.
    pub clip: f32,
}

vectorised! {
    /// Updates the weights and the moments in place.
    pub fn update(
        numbers: AdamW,
        weights: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let AdamW {
            beta1,
            beta2,
            epsilon,
            rate,
            correction,
            decay,
            clip,
        } = numbers;
        let (rest1, rest2, uncorrect) = (1.0 - beta1, 1.0 - beta2, 1.0 / correction);
        let moments = first.iter_mut().zip(second.iter_mut());
        for ((weight, &gradient), (first, second)) in
            weights.iter_mut().zip(gradient).zip(moments)
        {
            let gradient = gradient * clip;
            *first = *first * beta1 + gradient * rest1;
            *second = *second * beta2 + gradient * gradient * rest2;
            let change = *first / (second.sqrt() * uncorrect + epsilon) * rate;
            *weight = *weight * decay - change;
        }
    }
}

vectorised! {
    /// Σ x², in double precision across blocks.
    pub fn sum_of_squares(x: &[f32]) -> f64 {
        let mut total = 0.0;
        for block in x.chunks(4096) {
            total += f64::from(sum(block, |x| x * x));
        }
        total
    }
}
