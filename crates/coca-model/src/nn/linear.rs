//! Affine map in PyTorch's layout.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, module::linear};

use super::init::{constant, uniform};

/// y = x Wᵀ + b, with W stored as `[out, in]` as PyTorch does, so that files need no transposition.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A layer with the given weights and a zero bias.
    pub(crate) fn zero_bias(weight: Param<Tensor<2>>, device: &Device) -> Self {
        let [rows, _] = weight.lazy_shape().dims();
        Self {
            weight,
            bias: Some(constant([rows], 0.0, device)),
        }
    }

    /// A layer with the given weights and PyTorch's default bias, U(±1/√in).
    pub(crate) fn torch_bias(weight: Param<Tensor<2>>, device: &Device) -> Self {
        let [rows, columns] = weight.lazy_shape().dims();
        Self {
            weight,
            bias: Some(uniform([rows], (columns as f64).powf(-0.5), device)),
        }
    }

    /// `[.., in]` to `[.., out]`, of the type of `x`.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let dtype = x.dtype();
        self.product(x).cast(dtype)
    }

    /// `[.., in]` to `[.., out]`, of the type of the weights.
    pub(crate) fn product<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        product(
            x,
            self.weight.val().transpose(),
            self.bias.as_ref().map(Param::val),
        )
    }
}

/// x W + b in the type of W. Training in mixed precision keeps activations in single precision and puts copies of the
/// weights in half precision into the model; everywhere else the types are the same and nothing is converted.
pub(crate) fn product<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let dtype = weight.dtype();
    linear(x.cast(dtype), weight, bias.map(|bias| bias.cast(dtype)))
}
