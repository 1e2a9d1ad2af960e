//! Kernels in WGSL for burn's `wgpu` and `webgpu`, for inference: no derivatives, and tensors that belong to a graph are
//! left to the composed operations.
//!
//! A kernel is text that Rust writes for one combination of types, fusions and block sizes (all loops over registers
//! unrolled); sizes and strides come in a small buffer, so that one compiled kernel serves all shapes of its kind. None
//! needs subgroups, which wgpu does not offer in a browser.

mod attention;
#[cfg(target_family = "wasm")]
mod constructors;
mod largest;
mod layer_norm;
mod lookup;
mod product;
mod program;
mod text;

#[cfg(target_family = "wasm")]
pub use constructors::run_constructors;

pub(crate) use attention::{Cache, Part, Seen, Start, attention};
pub(crate) use largest::largest;
pub(crate) use layer_norm::layer_norm;
pub(crate) use lookup::lookup;
use product::Elements;
pub(crate) use product::{Epilogue, Matrix, Prologue, product};
pub use product::{Written, written};

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::quantised::{FOUR_BIT_BLOCK, bits_of, block_of};
use burn::backend::{
    BackendTensor, Cube, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{DType, Shape};
use burn_cubecl::{
    kernel::into_contiguous, ops::numeric::empty_device_contiguous_dtype, tensor::CubeTensor,
};

static ENABLED: AtomicBool = AtomicBool::new(true);
static FORMS: AtomicU8 = AtomicU8::new(Forms::OfDevice as u8);

/// For which kind of device a kernel divides its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Forms {
    /// The kind that the device is.
    OfDevice,
    /// One that computes on a CPU.
    Software,
    /// A GPU.
    Hardware,
}

/// Chooses the forms, which all compute the same on every device; for all devices and threads. For tests, so that those
/// of a GPU are proven where there is none.
pub fn choose(forms: Forms) {
    FORMS.store(forms as u8, Ordering::Relaxed);
}

/// Switches the kernels on (as they are at the start) or off; without them every operation is composed of burn's.
/// For all devices and threads: it is for tests and measurements that compare the two.
pub fn enable(on: bool) {
    ENABLED.store(on, Ordering::Relaxed);
}

/// Whether there are kernels for tensors of this device.
pub(crate) fn takes(tensor: &CubeTensor) -> bool {
    ENABLED.load(Ordering::Relaxed) && tensor.client.name() == "wgpu<wgsl>"
}

/// The tensors of burn's backend, if the kernels can take all of them: floating point numbers of 32 or 16 bits on a
/// device that compiles WGSL, none of them part of a graph.
pub(crate) fn floats<const N: usize>(tensors: [&DispatchTensor; N]) -> Option<[CubeTensor; N]> {
    if !ENABLED.load(Ordering::Relaxed) {
        return None;
    }
    let found = tensors.map(|tensor| {
        let DispatchTensorKind::Cube(BackendTensor::Float(float)) = &tensor.kind else {
            return None;
        };
        // Another type where burn fuses operations: then it has kernels of its own.
        let float = (float as &dyn Any).downcast_ref::<CubeTensor>()?;
        let fits = tensor.autodiff == DispatchAutodiffContext::Disabled
            && matches!(float.dtype, DType::F32 | DType::F16)
            && float.client.name() == "wgpu<wgsl>"
            && !float.meta.is_tiled();
        fits.then(|| float.clone())
    });
    if found.iter().any(Option::is_none) {
        return None;
    }
    let mut found = found.into_iter().flatten();
    // As many as there are places: none is missing.
    Some([(); N].map(|()| found.next()).map(|tensor| match tensor {
        Some(tensor) => tensor,
        None => unreachable!("all are there"),
    }))
}

/// Codes, as many as fit in a word, and scales of a quantised matrix, `[rows, columns / codes in a word]` and `[rows, columns
/// / block]`, and what the codes are.
pub(crate) fn quantised(tensor: &DispatchTensor) -> Option<(CubeTensor, CubeTensor, Elements)> {
    ENABLED
        .load(Ordering::Relaxed)
        .then(|| quantised_anyway(tensor))?
}

/// The same, also while the kernels are switched off.
fn quantised_anyway(tensor: &DispatchTensor) -> Option<(CubeTensor, CubeTensor, Elements)> {
    let DispatchTensorKind::Cube(BackendTensor::Quantized(matrix)) = &tensor.kind else {
        return None;
    };
    let matrix = (matrix as &dyn Any).downcast_ref::<CubeTensor>()?;
    let elements = match (bits_of(matrix.dtype)?, block_of(matrix.dtype)?) {
        (8, block) => Elements::Codes { block },
        (4, FOUR_BIT_BLOCK) => Elements::Fours,
        _ => return None,
    };
    let (codes, scales) = matrix.quantized_handles()?;
    let fits = matrix.client.name() == "wgpu<wgsl>"
        && scales.dtype == DType::F32
        && codes.is_contiguous()
        && scales.is_contiguous();
    fits.then_some((codes, scales, elements))
}

/// A boolean tensor of burn's backend, one 32-bit word an element.
pub(crate) fn words(tensor: &DispatchTensor) -> Option<CubeTensor> {
    let DispatchTensorKind::Cube(BackendTensor::Bool(mask)) = &tensor.kind else {
        return None;
    };
    let mask = (mask as &dyn Any).downcast_ref::<CubeTensor>()?;
    (mask.dtype.size() == 4).then(|| mask.clone())
}

/// An integer tensor of burn's backend, if its elements have 32 bits.
pub(crate) fn integers(tensor: &DispatchTensor) -> Option<CubeTensor> {
    let DispatchTensorKind::Cube(BackendTensor::Int(integers)) = &tensor.kind else {
        return None;
    };
    let integers = (integers as &dyn Any).downcast_ref::<CubeTensor>()?;
    matches!(integers.dtype, DType::I32 | DType::U32).then(|| integers.clone())
}

/// The tensor of burn's backend, without another hold on it.
///
/// # Panics
/// It is not one of [`floats`].
pub(crate) fn owned(tensor: DispatchTensor) -> CubeTensor {
    let DispatchTensorKind::Cube(BackendTensor::Float(float)) = tensor.kind else {
        unreachable!("checked by the caller")
    };
    let float: Box<dyn Any> = Box::new(float);
    match float.downcast::<CubeTensor>() {
        Ok(tensor) => *tensor,
        Err(_) => unreachable!("checked by the caller"),
    }
}

/// The tensor as burn passes it on.
pub(crate) fn wrap(tensor: CubeTensor) -> DispatchTensor {
    let tensor: Box<dyn Any> = Box::new(tensor);
    let Ok(tensor) = tensor.downcast::<FloatTensor<Cube>>() else {
        unreachable!("the inputs were of this type")
    };
    DispatchTensor {
        kind: DispatchTensorKind::Cube(BackendTensor::Float(*tensor)),
        autodiff: Default::default(),
    }
}

/// The same for integers.
pub(crate) fn wrap_integers(tensor: CubeTensor) -> DispatchTensor {
    let tensor: Box<dyn Any> = Box::new(tensor);
    let Ok(tensor) = tensor.downcast::<IntTensor<Cube>>() else {
        unreachable!("the inputs were of this type")
    };
    DispatchTensor {
        kind: DispatchTensorKind::Cube(BackendTensor::Int(*tensor)),
        autodiff: Default::default(),
    }
}

/// A tensor to write to, its elements one behind the other.
fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

/// The tensor with its elements one behind the other.
pub(crate) fn contiguous(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(tensor)
}

/// Whether the device computes on a CPU: there blocks in registers pay more than threads and shared memory.
pub(crate) fn is_software(tensor: &CubeTensor) -> bool {
    let forms = FORMS.load(Ordering::Relaxed);
    if forms == Forms::OfDevice as u8 {
        return tensor.client.properties().identity.physical.is_none();
    }
    forms == Forms::Software as u8
}
