//! The non-linearity between two affine maps, alone and behind the first of them.

use burn::tensor::{Tensor, activation};

use crate::{Input, Weight, gelu, linear};

/// A function of single numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x Φ(x), by the error function.
    Gelu,
    /// x σ(1.702 x), OpenAI's approximation of it.
    QuickGelu,
}

impl Activation {
    /// The function of every element.
    pub fn of<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => gelu(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x * 1.702),
        }
    }
}

/// activation(x Wᵀ + bias): `[.., in]` to `[.., out]`.
pub fn linear_activated<const D: usize>(
    x: impl Into<Input<D>>,
    weight: Weight,
    bias: Option<Tensor<1>>,
    activation: Activation,
) -> Tensor<D> {
    let x = x.into();
    #[cfg(feature = "wgsl")]
    if let Some(y) = crate::linear::on_gpu(&x, &weight, bias.as_ref(), Some(activation), None) {
        return y;
    }
    activation.of(linear(x, weight, bias, None))
}
