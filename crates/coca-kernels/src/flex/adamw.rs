//! AdamW on the CPU.

use burn::backend::{DispatchTensor, flex::FlexTensor};

use super::operation::{plain, wrap};
use super::{contiguous, elements};
use crate::raw::adamw::{AdamW, update};

/// New weights and moments. They are written in place where nobody else holds them.
pub fn adamw(
    numbers: AdamW,
    gradient: DispatchTensor,
    updated: [DispatchTensor; 3],
) -> [DispatchTensor; 3] {
    let gradient = contiguous(&plain(gradient.kind));
    let [mut weights, mut first, mut second] = updated.map(|tensor| whole(plain(tensor.kind)));
    update(
        numbers,
        weights.storage_mut(),
        elements(&gradient),
        first.storage_mut(),
        second.storage_mut(),
    );
    [weights, first, second].map(wrap)
}

/// A tensor that is all of its memory.
fn whole(tensor: FlexTensor) -> FlexTensor {
    let count = tensor.layout().num_elements();
    if tensor.is_contiguous()
        && tensor.layout().start_offset() == 0
        && tensor.bytes().len() == count * size_of::<f32>()
    {
        return tensor;
    }
    tensor.to_contiguous()
}

/// Σ x².
pub fn sum_of_squares(x: DispatchTensor) -> f64 {
    let x = contiguous(&plain(x.kind));
    crate::raw::adamw::sum_of_squares(elements(&x))
}
