//! Affine map in PyTorch's layout.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use coca_kernels::{Activation, Input, Weight, linear, linear_activated};

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

    /// `[.., in]` to `[.., out]`, of the type of `x`, added to `residual` if there is one.
    pub(crate) fn forward_onto<const D: usize>(
        &self,
        x: Tensor<D>,
        residual: Option<Tensor<D>>,
    ) -> Tensor<D> {
        let dtype = x.dtype();
        self.product_onto(x, residual, dtype)
    }

    /// `[.., in]` to `[.., out]`, of the type `dtype`, added to `residual` of that type if there is one.
    pub(crate) fn product_onto<const D: usize>(
        &self,
        x: Tensor<D>,
        residual: Option<Tensor<D>>,
        dtype: DType,
    ) -> Tensor<D> {
        let (weight, bias) = self.parts();
        if weight.dtype() == dtype {
            return linear(x.cast(dtype), weight, bias, residual);
        }
        let y = product(x, weight, bias).cast(dtype);
        match residual {
            Some(residual) => residual + y,
            None => y,
        }
    }

    /// activation(x Wᵀ + b), `[.., in]` to `[.., out]`, of the type of the weights.
    pub(crate) fn activated<const D: usize>(
        &self,
        x: Input<D>,
        activation: Activation,
    ) -> Tensor<D> {
        let (weight, bias) = self.parts();
        let dtype = weight.dtype();
        let bias = bias.map(|bias| bias.cast(dtype));
        linear_activated(x.cast(dtype), weight, bias, activation)
    }

    fn parts(&self) -> (Weight, Option<Tensor<1>>) {
        let weight = Weight::OutputFirst(self.weight.val());
        (weight, self.bias.as_ref().map(Param::val))
    }
}

/// x W + b in the type of W. Training in mixed precision keeps activations in single precision and puts copies of the
/// weights in half precision into the model; everywhere else the types are the same and nothing is converted.
pub(crate) fn product<const D: usize>(
    x: impl Into<Input<D>>,
    weight: Weight,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let x = x.into();
    let dtype = weight.dtype();
    let bias = bias.map(|bias| bias.cast(dtype));
    linear(x.cast(dtype), weight, bias, None)
}

/// [`product`] in the type of `x`: scores and their softmax keep the precision of the activations.
pub(crate) fn project<const D: usize>(
    x: impl Into<Input<D>>,
    weight: Weight,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let x = x.into();
    let dtype = x.dtype();
    product(x, weight, bias).cast(dtype)
}
