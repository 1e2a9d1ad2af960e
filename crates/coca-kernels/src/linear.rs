//! The affine map.

use std::ops::Range;

use burn::tensor::{DType, Tensor, module};

use crate::layer_norm::layer_norm;
use crate::quantised::{is_quantised, widened};

/// A weight and how it lies; in floating point, also of fewer bits than what it is multiplied with, or
/// [quantised](crate::quantised()).
#[derive(Clone, Debug)]
pub enum Weight {
    /// `[out, in]`, as PyTorch stores a layer.
    OutputFirst(Tensor<2>),
    /// Some of the rows of `[out, in]`, as PyTorch packs several layers.
    Rows(Tensor<2>, Range<usize>),
    /// `[in, out]`, as CLIP stores a projection.
    InputFirst(Tensor<2>),
}

impl Weight {
    /// The type that its products are computed in: 32 bits for a weight that is stored in fewer, but for bfloat16, in which
    /// training multiplies.
    pub fn dtype(&self) -> DType {
        match self.values().dtype() {
            DType::QFloat(_) | DType::F16 => DType::F32,
            dtype => dtype,
        }
    }

    /// In floating point for products with elements of this type, and without choosing rows.
    fn plain(self, dtype: DType) -> Self {
        let float = |weight: Tensor<2>| match weight.dtype() {
            DType::QFloat(_) => widened(weight),
            DType::F16 => weight.cast(dtype),
            _ => weight,
        };
        match self {
            Self::OutputFirst(weight) => Self::OutputFirst(float(weight)),
            Self::Rows(weight, rows) => Self::OutputFirst(float(weight).slice_dim(0, rows)),
            Self::InputFirst(weight) => Self::InputFirst(float(weight)),
        }
    }

    fn is_quantised(&self) -> bool {
        is_quantised(self.values())
    }

    /// The whole tensor.
    fn values(&self) -> &Tensor<2> {
        let (Self::OutputFirst(weight) | Self::Rows(weight, _) | Self::InputFirst(weight)) = self;
        weight
    }
}

/// What an affine map is applied to: a tensor, or the [layer norm](layer_norm()) of one, which a kernel may compute on the
/// way.
#[derive(Clone, Debug)]
pub struct Input<const D: usize> {
    x: Tensor<D>,
    norm: Option<Norm>,
}

/// Scale, shift and ε of a layer norm.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Tensor<1>,
    pub(crate) bias: Tensor<1>,
    pub(crate) epsilon: f64,
}

impl<const D: usize> From<Tensor<D>> for Input<D> {
    fn from(x: Tensor<D>) -> Self {
        Self { x, norm: None }
    }
}

impl<const D: usize> Input<D> {
    /// The layer norm of `x` `[.., width]`, with `weight` and `bias` `[width]`.
    pub fn normalised(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Self {
        let norm = Norm {
            weight,
            bias,
            epsilon,
        };
        let norm = Some(norm);
        Self { x, norm }
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.x.dtype()
    }

    /// In another type.
    pub fn cast(self, dtype: DType) -> Self {
        match self.dtype() == dtype {
            true => self,
            false => self.value().cast(dtype).into(),
        }
    }

    /// The tensor itself.
    pub fn value(self) -> Tensor<D> {
        match self.norm {
            Some(norm) => layer_norm(self.x, norm.weight, norm.bias, norm.epsilon),
            None => self.x,
        }
    }
}

/// x Wᵀ + bias + residual: `[.., in]` to `[.., out]`; `residual` has the result's shape.
pub fn linear<const D: usize>(
    x: impl Into<Input<D>>,
    weight: Weight,
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<D>>,
) -> Tensor<D> {
    let x = x.into();
    #[cfg(feature = "wgsl")]
    if let Some(y) = on_gpu(&x, &weight, bias.as_ref(), None, residual.as_ref()) {
        return y;
    }
    let x = x.value();
    #[cfg(feature = "flex")]
    if weight.is_quantised()
        && let Some(y) = quantised_on_cpu(&x, &weight, bias.as_ref(), residual.as_ref())
    {
        return y;
    }
    let weight = weight.plain(x.dtype());
    #[cfg(feature = "flex")]
    {
        use crate::flex::{Form, fit, linear};
        let form = Form {
            input_first: matches!(weight, Weight::InputFirst(_)),
            bias: bias.is_some(),
            residual: residual.is_some(),
        };
        let inputs = [
            Some(x.clone().into_dispatch()),
            Some(weight.values().clone().into_dispatch()),
            bias.clone().map(Tensor::into_dispatch),
            residual.clone().map(Tensor::into_dispatch),
        ];
        let inputs: Vec<_> = inputs.into_iter().flatten().collect();
        if fit(&inputs) {
            drop((x, residual));
            return Tensor::from_dispatch(linear(form, inputs));
        }
    }
    let weight = match weight {
        Weight::OutputFirst(weight) | Weight::Rows(weight, _) => weight.transpose(),
        Weight::InputFirst(weight) => weight,
    };
    let y = module::linear(x, weight, bias);
    match residual {
        Some(residual) => residual + y,
        None => y,
    }
}

/// [`linear`] on the CPU by a matrix in eight bits, if none of the tensors belongs to a graph.
#[cfg(feature = "flex")]
fn quantised_on_cpu<const D: usize>(
    x: &Tensor<D>,
    weight: &Weight,
    bias: Option<&Tensor<1>>,
    residual: Option<&Tensor<D>>,
) -> Option<Tensor<D>> {
    use crate::flex::{fit_without_graph, quantised_linear};
    let values = weight.values();
    let rows = match weight {
        Weight::Rows(_, rows) => rows.clone(),
        _ => 0..values.dims()[0],
    };
    let x = x.clone().into_dispatch();
    let bias = bias.map(|bias| bias.clone().into_dispatch());
    let residual = residual.map(|residual| residual.clone().into_dispatch());
    let others = [Some(&x), bias.as_ref(), residual.as_ref()];
    if !others
        .into_iter()
        .flatten()
        .all(|tensor| fit_without_graph(std::slice::from_ref(tensor)))
    {
        return None;
    }
    let input_first = matches!(weight, Weight::InputFirst(_));
    let values = values.clone().into_dispatch();
    quantised_linear(x, values, rows, input_first, bias, residual).map(Tensor::from_dispatch)
}

/// activation(x Wᵀ + bias) + residual by the GPU's kernels, if they can take these tensors.
#[cfg(feature = "wgsl")]
pub(crate) fn on_gpu<const D: usize>(
    x: &Input<D>,
    weight: &Weight,
    bias: Option<&Tensor<1>>,
    activation: Option<crate::Activation>,
    residual: Option<&Tensor<D>>,
) -> Option<Tensor<D>> {
    use crate::gpu::{Epilogue, Matrix, Prologue, floats, product, wrap};
    let one = |tensor| floats([&tensor]).map(|[tensor]| tensor);
    let weight = Matrix::of(weight)?;
    let prologue = match &x.norm {
        Some(norm) => {
            let norms = [norm.weight.clone(), norm.bias.clone()].map(Tensor::into_dispatch);
            let [weight, bias] = floats(norms.each_ref())?;
            Some(Prologue {
                weight,
                bias,
                epsilon: norm.epsilon as f32,
            })
        }
        None => None,
    };
    let x = one(x.x.clone().into_dispatch())?;
    let bias = match bias {
        Some(bias) => Some(one(bias.clone().into_dispatch())?),
        None => None,
    };
    let residual = match residual {
        Some(residual) => Some(one(residual.clone().into_dispatch())?),
        None => None,
    };
    let epilogue = Epilogue {
        bias,
        activation,
        residual,
    };
    Some(Tensor::from_dispatch(wrap(product(
        x, prologue, weight, epilogue,
    ))))
}
