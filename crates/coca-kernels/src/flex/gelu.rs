//! GELU on the CPU.

use burn::backend::{DispatchTensor, flex::FlexTensor};

use super::operation::{Operation, apply};
use super::{contiguous, elements, owned, tensor};
use crate::raw::gelu::{backward, forward};

#[derive(Debug)]
struct Gelu;

/// x Φ(x).
pub fn gelu(x: DispatchTensor) -> DispatchTensor {
    apply(Gelu, [x])
}

impl Operation<1> for Gelu {
    type State = FlexTensor;

    fn forward(&self, [x]: [FlexTensor; 1], keep: bool) -> (FlexTensor, Option<FlexTensor>) {
        let x = contiguous(&x);
        let mut y = vec![0.0; elements(&x).len()];
        forward(elements(&x), &mut y);
        (tensor(y, x.layout().shape().clone()), keep.then_some(x))
    }

    fn backward(x: FlexTensor, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let mut g = owned(gradient);
        backward(elements(&x), &mut g);
        [Some(tensor(g, x.layout().shape().clone()))]
    }
}
