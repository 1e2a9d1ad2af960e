//! The affine map.

use burn::tensor::{DType, Tensor, module};

/// A weight and how it lies.
#[derive(Clone, Debug)]
pub enum Weight {
    /// `[out, in]`, as PyTorch stores a layer.
    OutputFirst(Tensor<2>),
    /// `[in, out]`, as CLIP stores a projection.
    InputFirst(Tensor<2>),
}

impl Weight {
    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        match self {
            Self::OutputFirst(weight) | Self::InputFirst(weight) => weight.dtype(),
        }
    }
}

/// x Wᵀ + bias + residual: `[.., in]` to `[.., out]`; `residual` has the result's shape.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Weight,
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<D>>,
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    {
        use crate::flex::{Form, fit, linear};
        let (input_first, weight) = match &weight {
            Weight::OutputFirst(weight) => (false, weight),
            Weight::InputFirst(weight) => (true, weight),
        };
        let form = Form {
            input_first,
            bias: bias.is_some(),
            residual: residual.is_some(),
        };
        let inputs = [
            Some(x.clone().into_dispatch()),
            Some(weight.clone().into_dispatch()),
            bias.clone().map(Tensor::into_dispatch),
            residual.clone().map(Tensor::into_dispatch),
        ];
        let inputs: Vec<_> = inputs.into_iter().flatten().collect();
        if fit(&inputs) {
            drop((x, residual));
            return Tensor::from_dispatch(linear(form, inputs));
        }
    }
    #[cfg(feature = "wgsl")]
    if let Some(y) = on_gpu(&x, &weight, bias.as_ref(), None, residual.as_ref()) {
        return y;
    }
    let weight = match weight {
        Weight::OutputFirst(weight) => weight.transpose(),
        Weight::InputFirst(weight) => weight,
    };
    let y = module::linear(x, weight, bias);
    match residual {
        Some(residual) => residual + y,
        None => y,
    }
}

/// activation(x Wᵀ + bias) + residual by the GPU's kernels, if they can take these tensors.
#[cfg(feature = "wgsl")]
pub(crate) fn on_gpu<const D: usize>(
    x: &Tensor<D>,
    weight: &Weight,
    bias: Option<&Tensor<1>>,
    activation: Option<crate::Activation>,
    residual: Option<&Tensor<D>>,
) -> Option<Tensor<D>> {
    use crate::gpu::{Epilogue, Matrix, floats, product, wrap};
    let (input_first, weight) = match weight {
        Weight::OutputFirst(weight) => (false, weight),
        Weight::InputFirst(weight) => (true, weight),
    };
    let [x, values] = floats([&x.clone().into_dispatch(), &weight.clone().into_dispatch()])?;
    let one = |tensor| floats([&tensor]).map(|[tensor]| tensor);
    let bias = match bias {
        Some(bias) => Some(one(bias.clone().into_dispatch())?),
        None => None,
    };
    let residual = match residual {
        Some(residual) => Some(one(residual.clone().into_dispatch())?),
        None => None,
    };
    let weight = Matrix {
        values,
        input_first,
    };
    let epilogue = Epilogue {
        bias,
        activation,
        residual,
    };
    Some(Tensor::from_dispatch(wrap(product(x, weight, epilogue))))
}
