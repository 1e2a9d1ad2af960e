//! The way from burn's tensors to the slices of the CPU backend and back, with and without a graph.

pub mod adamw;
mod attention;
mod cross_entropy;
mod gelu;
mod layer_norm;
mod linear;
mod operation;
mod quantised;

pub use attention::{Layout, Marks, attention, cached_attention, heads_attention};
pub use cross_entropy::cross_entropy;
pub use gelu::gelu;
pub use layer_norm::layer_norm;
pub use linear::{Form, linear};
pub use quantised::{
    linear as quantised_linear, matrix as quantised_matrix, rows as quantised_rows,
};

#[cfg(feature = "autodiff")]
use burn::backend::TensorMetadata;
use burn::backend::{
    BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, flex::FlexTensor,
};
use burn::tensor::{DType, TensorData};

/// Whether the kernels can take `tensor`: 32-bit floating point numbers on the CPU backend.
fn fits(tensor: &DispatchTensor) -> bool {
    fn of_kind(kind: &DispatchTensorKind) -> bool {
        match kind {
            DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => tensor.dtype() == DType::F32,
            #[cfg(feature = "autodiff")]
            DispatchTensorKind::Flex(BackendTensor::Autodiff(tensor)) => {
                tensor.dtype() == DType::F32
            }
            #[cfg(feature = "autodiff")]
            DispatchTensorKind::Autodiff(inner) => of_kind(inner),
            #[allow(unreachable_patterns, reason = "other backends may be compiled in")]
            _ => false,
        }
    }
    of_kind(&tensor.kind)
}

/// Whether the kernels can take all of `tensors`.
pub fn fit(tensors: &[DispatchTensor]) -> bool {
    tensors.iter().all(fits)
}

/// Whether the kernels can take all of `tensors`, and none belongs to a graph.
pub fn fit_without_graph(tensors: &[DispatchTensor]) -> bool {
    let tracked = |tensor: &DispatchTensor| tensor.autodiff != DispatchAutodiffContext::Disabled;
    fit(tensors) && !tensors.iter().any(tracked)
}

/// The tensor with its elements one behind the other.
fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() {
        tensor.clone()
    } else {
        tensor.to_contiguous()
    }
}

/// The elements of a tensor from [`contiguous`].
fn elements(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

/// The elements of a tensor to write over: its own if nobody else holds them.
fn owned(tensor: FlexTensor) -> Vec<f32> {
    if tensor.is_contiguous() && tensor.layout().start_offset() == 0 {
        let data = tensor.into_data();
        return data.try_into_vec().unwrap_or_default();
    }
    elements(&tensor.to_contiguous()).to_vec()
}

fn tensor(values: Vec<f32>, shape: impl Into<burn::tensor::Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Length of the last dimension.
fn last(tensor: &FlexTensor) -> usize {
    tensor.layout().shape().last().copied().unwrap_or(1)
}
