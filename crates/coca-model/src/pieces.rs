//! The pieces that a forward pass consists of, a block each, so that a trainer may recompute them in the backward
//! pass instead of keeping what they computed (activation checkpointing, Chen et al. 2016, arXiv 1604.06174).

use burn::module::Module;
use burn::tensor::Tensor;

/// A tensor that goes from piece to piece, `[B, L, width]`.
#[derive(Clone, Debug)]
pub struct Held {
    /// The tensor.
    pub tensor: Tensor<3>,
    /// Whatever [`Pieces`] needs to find it again; none for a tensor that it has not made.
    pub slot: Option<usize>,
}

impl From<Tensor<3>> for Held {
    fn from(tensor: Tensor<3>) -> Self {
        Self { tensor, slot: None }
    }
}

/// A part of the model that can be run more than once, with the same result.
pub trait Piece: Send {
    /// Outputs from inputs.
    fn forward(&self, inputs: &[Tensor<3>]) -> Vec<Tensor<3>>;
    /// The same piece without a graph.
    fn valid(&self) -> Box<dyn Piece>;
}

/// Decides how the pieces of a forward pass are run.
pub trait Pieces {
    /// Runs a piece in its own way, or returns none to have it run as a part of the graph.
    fn run(&mut self, piece: &dyn Fn() -> Box<dyn Piece>, inputs: &[Held]) -> Option<Vec<Held>>;
}

/// Everything as one graph.
pub struct Whole;

impl Pieces for Whole {
    fn run(&mut self, _: &dyn Fn() -> Box<dyn Piece>, _: &[Held]) -> Option<Vec<Held>> {
        None
    }
}

/// A module and what it does with its inputs.
struct Of<M, F> {
    module: M,
    forward: F,
}

impl<M, F> Piece for Of<M, F>
where
    M: Module + 'static,
    F: Fn(&M, &[Tensor<3>]) -> Vec<Tensor<3>> + Clone + Send + 'static,
{
    fn forward(&self, inputs: &[Tensor<3>]) -> Vec<Tensor<3>> {
        (self.forward)(&self.module, inputs)
    }

    fn valid(&self) -> Box<dyn Piece> {
        Box::new(Self {
            module: self.module.valid(),
            forward: self.forward.clone(),
        })
    }
}

/// Runs `forward` of `module` as a piece.
pub(crate) fn run<M, F>(
    pieces: &mut dyn Pieces,
    module: &M,
    inputs: &[Held],
    forward: F,
) -> Vec<Held>
where
    M: Module + 'static,
    F: Fn(&M, &[Tensor<3>]) -> Vec<Tensor<3>> + Clone + Send + 'static,
{
    let piece = || -> Box<dyn Piece> {
        Box::new(Of {
            module: module.clone(),
            forward: forward.clone(),
        })
    };
    if let Some(outputs) = pieces.run(&piece, inputs) {
        return outputs;
    }
    let inputs: Vec<Tensor<3>> = inputs.iter().map(|held| held.tensor.clone()).collect();
    forward(module, &inputs)
        .into_iter()
        .map(Held::from)
        .collect()
}

/// [`run`] for a piece of one output.
pub(crate) fn run_one<M, F>(
    pieces: &mut dyn Pieces,
    module: &M,
    inputs: &[Held],
    forward: F,
) -> Held
where
    M: Module + 'static,
    F: Fn(&M, &[Tensor<3>]) -> Tensor<3> + Clone + Send + 'static,
{
    let mut outputs = run(pieces, module, inputs, move |module: &M, inputs: &[_]| {
        vec![forward(module, inputs)]
    });
    outputs.swap_remove(0)
}
