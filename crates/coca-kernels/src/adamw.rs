//! The AdamW update (Loshchilov & Hutter 2019) as PyTorch computes it.

use burn::tensor::Tensor;

/// The numbers of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub epsilon: f64,
    /// Learning rate.
    pub rate: f64,
    /// Weight decay; the weights lose rate · decay of themselves.
    pub weight_decay: f64,
    /// Number of this update, from 1.
    pub step: i32,
    /// What the gradient is multiplied with.
    pub clip: f64,
}

/// Updates `weights`, and the running means of the gradient and of its square. Gives the three anew; their memory is
/// reused if nobody else holds it.
pub fn adamw(
    numbers: AdamW,
    weights: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let AdamW {
        beta1,
        beta2,
        epsilon,
        rate,
        weight_decay,
        step,
        clip,
    } = numbers;
    let (bias1, bias2) = (1.0 - beta1.powi(step), 1.0 - beta2.powi(step));
    #[cfg(feature = "flex")]
    let (weights, gradient, first, second) = {
        let inputs = [weights, gradient, first, second].map(Tensor::into_dispatch);
        if crate::flex::fit_without_graph(&inputs) {
            let numbers = crate::raw::adamw::AdamW {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                epsilon: epsilon as f32,
                rate: (rate / bias1) as f32,
                correction: bias2.sqrt() as f32,
                decay: (1.0 - rate * weight_decay) as f32,
                clip: clip as f32,
            };
            let [weights, gradient, first, second] = inputs;
            let updated = crate::flex::adamw::adamw(numbers, gradient, [weights, first, second]);
            let [weights, first, second] = updated.map(Tensor::from_dispatch);
            return (weights, [first, second]);
        }
        let [weights, gradient, first, second] = inputs.map(Tensor::<1>::from_dispatch);
        (weights, gradient, first, second)
    };
    let gradient = gradient * clip;
    let first = first * beta1 + gradient.clone() * (1.0 - beta1);
    let second = second * beta2 + gradient.square() * (1.0 - beta2);
    let denominator = second.clone().sqrt() / bias2.sqrt() + epsilon;
    let change = first.clone() / denominator * (rate / bias1);
    let weights = if weight_decay == 0.0 {
        weights - change
    } else {
        weights * (1.0 - rate * weight_decay) - change
    };
    (weights, [first, second])
}

/// Σ x², `[1]`.
pub fn sum_of_squares(x: Tensor<1>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    {
        let input = [x.clone().into_dispatch()];
        if crate::flex::fit_without_graph(&input) {
            let device = x.device();
            let [input] = input;
            let sum = crate::flex::adamw::sum_of_squares(input);
            return Tensor::from_data([sum as f32], &device);
        }
    }
    x.square().sum()
}
