//! Operations with their derivatives, put into burn's graph.

use std::fmt::Debug;

#[cfg(feature = "autodiff")]
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, DispatchAutodiffContext, Flex,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::NoCheckpointing},
        grads::Gradients,
        ops::{Backward, NodeGuard, Ops, OpsKind},
    },
    tensor::FloatTensor,
};
use burn::backend::{BackendTensor, DispatchTensor, DispatchTensorKind, flex::FlexTensor};

/// A function of `N` tensors with one result.
pub trait Operation<const N: usize>: Debug + Send + 'static {
    /// What the derivative needs.
    type State: Clone + Debug + Send + 'static;

    /// The result, and with `keep` what the derivative needs.
    fn forward(&self, inputs: [FlexTensor; N], keep: bool) -> (FlexTensor, Option<Self::State>);

    /// Gradients at the inputs that want one, from the gradient at the result.
    fn backward(
        state: Self::State,
        gradient: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// Applies an operation to tensors that all [fit](super::fits).
///
/// # Panics
/// One does not.
pub fn apply<O: Operation<N>, const N: usize>(
    operation: O,
    inputs: [DispatchTensor; N],
) -> DispatchTensor {
    #[cfg(feature = "autodiff")]
    {
        let context = inputs
            .iter()
            .map(|input| input.autodiff)
            .fold(DispatchAutodiffContext::Disabled, |a, b| a.merge(b));
        if context != DispatchAutodiffContext::Disabled {
            let result = tracked(operation, inputs.map(|input| tracked_input(input.kind)));
            let kind = DispatchTensorKind::Flex(BackendTensor::Autodiff(result));
            return DispatchTensor {
                kind: DispatchTensorKind::Autodiff(Box::new(kind)),
                autodiff: context,
            };
        }
    }
    let (result, _) = operation.forward(inputs.map(|input| plain(input.kind)), false);
    wrap(result)
}

/// A tensor without a graph.
pub fn wrap(tensor: FlexTensor) -> DispatchTensor {
    DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Float(tensor)),
        autodiff: Default::default(),
    }
}

/// The backend's tensor.
///
/// # Panics
/// It is another backend's, or belongs to a graph.
pub fn plain(kind: DispatchTensorKind) -> FlexTensor {
    match kind {
        DispatchTensorKind::Flex(tensor) => tensor.float(),
        #[allow(unreachable_patterns, reason = "other backends may be compiled in")]
        _ => unreachable!("checked by the caller"),
    }
}

#[cfg(feature = "autodiff")]
fn tracked_input(kind: DispatchTensorKind) -> FloatTensor<Autodiff<Flex>> {
    match kind {
        DispatchTensorKind::Autodiff(inner) => match *inner {
            DispatchTensorKind::Flex(tensor) => tensor.autodiff(),
            #[allow(unreachable_patterns, reason = "other backends may be compiled in")]
            _ => unreachable!("checked by the caller"),
        },
        constant => <Autodiff<Flex> as AutodiffBackend>::from_inner(plain(constant)),
    }
}

#[cfg(feature = "autodiff")]
fn tracked<O: Operation<N>, const N: usize>(
    operation: O,
    inputs: [FloatTensor<Autodiff<Flex>>; N],
) -> FloatTensor<Autodiff<Flex>> {
    /// The step back of an operation.
    #[derive(Debug)]
    struct Step<O>(std::marker::PhantomData<O>);

    // The type of the operation is all that is sent.
    impl<B: Backend<FloatTensorPrimitive = FlexTensor>, O: Operation<N>, const N: usize>
        Backward<B, N> for Step<O>
    {
        type State = O::State;

        fn backward(
            self,
            ops: Ops<Self::State, N>,
            gradients: &mut Gradients,
            _: &mut Checkpointer,
        ) {
            let gradient = gradients.consume::<B>(&ops.node);
            let wanted = ops.parents.each_ref().map(Option::is_some);
            let found = O::backward(ops.state, gradient, wanted);
            for (parent, gradient) in ops.parents.iter().zip(found) {
                if let (Some(parent), Some(gradient)) = (parent, gradient) {
                    gradients.register::<B>(parent.id, gradient);
                }
            }
        }
    }

    let nodes: [NodeGuard; N] = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive());
    let step = Step::<O>(std::marker::PhantomData);
    match Backward::<Flex, N>::prepare::<NoCheckpointing>(step, nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => {
            let (result, state) = operation.forward(inputs, true);
            match state {
                Some(state) => prepared.finish(state, result),
                None => unreachable!("kept because it was asked for"),
            }
        }
        OpsKind::UnTracked(prepared) => prepared.finish(operation.forward(inputs, false).0),
    }
}
