//! The two-layer perceptron of a block.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use coca_kernels::gelu;

use crate::config::ModelConfig;

use super::{init::BlockInit, linear::Linear};

/// The non-linearity between the two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x Φ(x), by the error function.
    Gelu,
    /// x σ(1.702 x), OpenAI's approximation.
    QuickGelu,
}

impl Activation {
    /// The activation that a configuration asks for.
    pub(crate) fn of(config: &ModelConfig) -> Self {
        if config.quick_gelu {
            Self::QuickGelu
        } else {
            Self::Gelu
        }
    }

    fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => gelu(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
        }
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
        x: Tensor<D>,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let dtype = x.dtype();
        let hidden = self.activation.forward(self.c_fc.product(x));
        self.c_proj.product_onto(hidden, residual, dtype)
    }
}
