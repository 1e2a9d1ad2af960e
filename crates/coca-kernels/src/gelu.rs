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
    activation::gelu(x)
}
