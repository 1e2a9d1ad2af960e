//! Layer normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use coca_kernels::{Input, layer_norm};

use super::init::constant;

/// open_clip's ε, everywhere.
const EPSILON: f64 = 1e-5;

/// Normalises the last dimension to mean 0 and variance 1, then scales and shifts.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl LayerNorm {
    /// The identity scale and shift over `width`.
    pub(crate) fn new(width: usize, device: &Device) -> Self {
        Self {
            weight: constant([width], 1.0, device),
            bias: constant([width], 0.0, device),
        }
    }

    /// `[.., width]` to the same shape.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.weight.val(), self.bias.val(), EPSILON)
    }

    /// The same as the input of an affine map, whose kernel may compute it on the way.
    pub(crate) fn before<const D: usize>(&self, x: Tensor<D>) -> Input<D> {
        Input::normalised(x, self.weight.val(), self.bias.val(), EPSILON)
    }
}
