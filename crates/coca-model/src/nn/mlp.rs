//! The two-layer perceptron of a block.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use coca_kernels::{Activation, Input};

use crate::config::ModelConfig;

use super::{init::BlockInit, linear::Linear};

/// The activation that a configuration asks for.
pub(crate) fn activation_of(config: &ModelConfig) -> Activation {
    if config.quick_gelu {
        Activation::QuickGelu
    } else {
        Activation::Gelu
    }
}

/// c_proj(activation(c_fc(x))).
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    c_fc: Linear,
    c_proj: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    pub(crate) fn new(
        width: usize,
        hidden: usize,
        activation: Activation,
        init: BlockInit,
        device: &Device,
    ) -> Self {
        Self {
            c_fc: Linear::torch_bias(init.hidden(hidden, width, device), device),
            c_proj: Linear::torch_bias(init.residual(width, hidden, width, device), device),
            activation,
        }
    }

    /// `[.., width]` to the same shape, added to `residual` if there is one.
    pub(crate) fn forward<const D: usize>(
        &self,
        x: Input<D>,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let dtype = x.dtype();
        let hidden = self.c_fc.activated(x, self.activation);
        self.c_proj.product_onto(hidden, residual, dtype)
    }
}
