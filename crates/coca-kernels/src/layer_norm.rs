//! Layer normalisation.

use burn::tensor::{Tensor, module};

/// Normalises the last dimension of `x` to mean 0 and variance 1, then scales and shifts it.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    {
        let inputs = [
            x.clone().into_dispatch(),
            weight.clone().into_dispatch(),
            bias.clone().into_dispatch(),
        ];
        if crate::flex::fit(&inputs) {
            let [x, weight, bias] = inputs;
            return Tensor::from_dispatch(crate::flex::layer_norm(x, weight, bias, epsilon as f32));
        }
    }
    #[cfg(feature = "wgsl")]
    {
        let inputs = [
            x.clone().into_dispatch(),
            weight.clone().into_dispatch(),
            bias.clone().into_dispatch(),
        ];
        if let Some([x, weight, bias]) = crate::gpu::floats(inputs.each_ref()) {
            let y = crate::gpu::layer_norm(x, weight, bias, epsilon as f32);
            return Tensor::from_dispatch(crate::gpu::wrap(y));
        }
    }
    module::layer_norm(x, weight, Some(bias), epsilon)
}
