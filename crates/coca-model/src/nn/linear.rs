//! Affine map in PyTorch's layout.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use coca_kernels::{Weight, linear};

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

    /// `[.., in]` to `[.., out]`.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.forward_onto(x, None)
    }

    /// `[.., in]` to `[.., out]`, added to `residual` if there is one.
    pub(crate) fn forward_onto<const D: usize>(
        &self,
        x: Tensor<D>,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        linear(
            x,
            Weight::OutputFirst(self.weight.val()),
            self.bias.as_ref().map(Param::val),
            residual,
        )
    }
}
