//! Cross-entropy on the CPU.

use burn::backend::{DispatchTensor, flex::FlexTensor};

use super::operation::{Operation, apply};
use super::{contiguous, elements, owned, tensor};
use crate::raw::cross_entropy::{backward, forward};

#[derive(Debug)]
struct CrossEntropy {
    labels: Vec<usize>,
}

#[derive(Clone, Debug)]
struct State {
    logits: FlexTensor,
    normalisers: Vec<f32>,
    labels: Vec<usize>,
}

/// Summed cross-entropy of the rows of `logits`.
pub fn cross_entropy(logits: DispatchTensor, labels: Vec<usize>) -> DispatchTensor {
    apply(CrossEntropy { labels }, [logits])
}

impl Operation<1> for CrossEntropy {
    type State = State;

    fn forward(&self, [logits]: [FlexTensor; 1], keep: bool) -> (FlexTensor, Option<State>) {
        let logits = contiguous(&logits);
        let (loss, normalisers) = forward(elements(&logits), &self.labels);
        let state = keep.then(|| State {
            logits,
            normalisers,
            labels: self.labels.clone(),
        });
        (tensor(vec![loss], [1]), state)
    }

    fn backward(state: State, gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let State {
            logits,
            normalisers,
            labels,
        } = state;
        let scale = elements(&contiguous(&gradient))
            .first()
            .copied()
            .unwrap_or(0.0);
        let shape = logits.layout().shape().clone();
        let mut logits = owned(logits);
        backward(&mut logits, &normalisers, &labels, scale);
        [Some(tensor(logits, shape))]
    }
}
