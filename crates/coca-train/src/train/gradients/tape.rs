//! Activation checkpointing: of the forward pass only the pieces' inputs are kept; the backward pass computes each
//! piece once more, with a graph of its own.

use burn::tensor::Tensor;
use coca_model::{Coca, Held, Piece, Pieces};

use super::replica::collect;
use crate::train::weights::NamedTensors;

/// The pieces of a forward pass, in their order.
#[derive(Default)]
pub struct Tape {
    /// Outputs of pieces, each the leaf of a graph.
    slots: Vec<Tensor<3>>,
    pieces: Vec<Done>,
}

struct Done {
    piece: Box<dyn Piece>,
    inputs: Vec<Held>,
    /// Slots.
    outputs: Vec<usize>,
}

impl Pieces for Tape {
    fn run(&mut self, piece: &dyn Fn() -> Box<dyn Piece>, inputs: &[Held]) -> Option<Vec<Held>> {
        let piece = piece();
        let plain: Vec<_> = inputs
            .iter()
            .map(|held| held.tensor.clone().inner())
            .collect();
        let outputs = piece.valid().forward(&plain).into_iter().map(|output| {
            let tensor = Tensor::from_inner(output).require_grad();
            self.slots.push(tensor.clone());
            Held {
                tensor,
                slot: Some(self.slots.len() - 1),
            }
        });
        let outputs: Vec<Held> = outputs.collect();
        self.pieces.push(Done {
            piece,
            inputs: inputs.to_vec(),
            outputs: outputs.iter().filter_map(|held| held.slot).collect(),
        });
        Some(outputs)
    }
}

impl Tape {
    /// Takes the gradients of `loss`, `[1]`, back through the graph above the pieces, the pieces, last to first, and
    /// the graphs below them.
    pub fn backward(self, model: &Coca, loss: &Tensor<1>, found: &mut NamedTensors) {
        if !loss.is_tracked() {
            return;
        }
        let above = loss.backward();
        collect(model, &above, found);
        let mut at_slot: Vec<Option<Tensor<3>>> =
            self.slots.iter().map(|slot| slot.grad(&above)).collect();
        drop(above);
        let mut below = Vec::new();
        for Done {
            piece,
            inputs,
            outputs,
        } in self.pieces.into_iter().rev()
        {
            let wanted: Vec<_> = outputs.iter().map(|&slot| at_slot[slot].take()).collect();
            if wanted.iter().all(Option::is_none) {
                continue;
            }
            let leaves: Vec<_> = inputs
                .iter()
                .map(|held| Tensor::from_inner(held.tensor.clone().inner()).require_grad())
                .collect();
            let terms = piece.forward(&leaves).into_iter().zip(wanted);
            let share = terms
                .filter_map(|(output, wanted)| Some(along(output, wanted?)))
                .reduce(|sum, term| sum + term);
            let Some(share) = share else { continue };
            let gradients = share.backward();
            collect(model, &gradients, found);
            for (held, leaf) in inputs.into_iter().zip(leaves) {
                let Some(gradient) = leaf.grad(&gradients) else {
                    continue;
                };
                match held.slot {
                    Some(slot) => {
                        at_slot[slot] = Some(match at_slot[slot].take() {
                            Some(sum) => sum + gradient,
                            None => gradient,
                        });
                    }
                    None if held.tensor.is_tracked() => below.push(along(held.tensor, gradient)),
                    None => {}
                }
            }
        }
        if let Some(share) = below.into_iter().reduce(|sum, term| sum + term) {
            collect(model, &share.backward(), found);
        }
    }
}

/// Σ x · gradient, `[1]`: its gradient at x is `gradient`.
fn along(x: Tensor<3>, gradient: Tensor<3>) -> Tensor<1> {
    (x * Tensor::from_inner(gradient)).sum()
}
