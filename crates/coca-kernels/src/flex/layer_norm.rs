//! Layer normalisation on the CPU.

use burn::backend::{DispatchTensor, flex::FlexTensor};

use super::operation::{Operation, apply};
use super::{contiguous, elements, owned, tensor};
use crate::raw::layer_norm::{Statistics, backward, forward};

#[derive(Debug)]
struct LayerNorm {
    epsilon: f32,
}

#[derive(Clone, Debug)]
struct State {
    x: FlexTensor,
    weight: FlexTensor,
    statistics: Statistics,
}

/// Normalises the last dimension of x, then scales and shifts it.
pub fn layer_norm(
    x: DispatchTensor,
    weight: DispatchTensor,
    bias: DispatchTensor,
    epsilon: f32,
) -> DispatchTensor {
    apply(LayerNorm { epsilon }, [x, weight, bias])
}

impl Operation<3> for LayerNorm {
    type State = State;

    fn forward(
        &self,
        [x, weight, bias]: [FlexTensor; 3],
        keep: bool,
    ) -> (FlexTensor, Option<State>) {
        let (x, weight, bias) = (contiguous(&x), contiguous(&weight), contiguous(&bias));
        let mut y = vec![0.0; elements(&x).len()];
        let statistics = forward(
            elements(&x),
            elements(&weight),
            elements(&bias),
            self.epsilon,
            &mut y,
        );
        let y = tensor(y, x.layout().shape().clone());
        let state = keep.then_some(State {
            x,
            weight,
            statistics,
        });
        (y, state)
    }

    fn backward(state: State, gradient: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let State {
            x,
            weight,
            statistics,
        } = state;
        let width = elements(&weight).len();
        let mut g = owned(gradient);
        let (mut weight_gradient, mut bias_gradient) = (vec![0.0; width], vec![0.0; width]);
        backward(
            elements(&x),
            &statistics,
            elements(&weight),
            &mut g,
            &mut weight_gradient,
            &mut bias_gradient,
        );
        [
            Some(tensor(g, x.layout().shape().clone())),
            Some(tensor(weight_gradient, [width])),
            Some(tensor(bias_gradient, [width])),
        ]
    }
}
