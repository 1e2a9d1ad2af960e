//! GELU.

use burn::tensor::{Tensor, activation};

/// x Φ(x), by the error function.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    {
        let input = [x.clone().into_dispatch()];
        if crate::flex::fit(&input) {
            drop(x);
            let [input] = input;
            return Tensor::from_dispatch(crate::flex::gelu(input));
        }
    }
    // Not burn's own where there is a graph: its derivative is that of the approximation by tanh, 1e-3 off.
    if cfg!(feature = "autodiff") {
        let normal = (x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf();
        return x * (normal + 1.0) * 0.5;
    }
    activation::gelu(x)
}
