//! The affine map on the CPU.

use burn::backend::{DispatchTensor, flex::FlexTensor};

use super::operation::{Operation, apply};
use super::{contiguous, elements, last, owned, tensor};
use crate::raw::matrix::{Matrix, MatrixMut, add_rows, add_to_rows, multiply, product_of};

/// Which of the optional parts there are, and how the weight lies.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The weight is `[in, out]`, else PyTorch's `[out, in]`.
    pub input_first: bool,
    /// There is a bias.
    pub bias: bool,
    /// There is something to add the result to.
    pub residual: bool,
}

#[derive(Clone, Debug)]
pub struct State {
    x: FlexTensor,
    weight: FlexTensor,
    form: Form,
}

/// x, weight, then bias and residual if there are.
pub fn linear(form: Form, mut inputs: Vec<DispatchTensor>) -> DispatchTensor {
    let mut next = || inputs.remove(0);
    match 2 + usize::from(form.bias) + usize::from(form.residual) {
        2 => apply(form, [next(), next()]),
        3 => apply(form, [next(), next(), next()]),
        _ => apply(form, [next(), next(), next(), next()]),
    }
}

impl Form {
    /// The weight as `[in, out]`.
    fn matrix(self, weight: &FlexTensor) -> Matrix<'_> {
        let shape = weight.layout().shape();
        let matrix = Matrix::new(elements(weight), shape[0], shape[1]);
        if self.input_first {
            matrix
        } else {
            matrix.transposed()
        }
    }
}

impl<const N: usize> Operation<N> for Form {
    type State = State;

    fn forward(&self, inputs: [FlexTensor; N], keep: bool) -> (FlexTensor, Option<State>) {
        let mut inputs = inputs.into_iter();
        let (Some(x), Some(weight)) = (inputs.next(), inputs.next()) else {
            unreachable!("an input and a weight")
        };
        let bias = if self.bias { inputs.next() } else { None };
        let residual = if self.residual { inputs.next() } else { None };

        let (x, weight) = (contiguous(&x), contiguous(&weight));
        let width = last(&x);
        let rows = elements(&x).len() / width.max(1);
        let a = Matrix::new(elements(&x), rows, width);
        let b = self.matrix(&weight);
        let shape = weight.layout().shape();
        let columns = if self.input_first { shape[1] } else { shape[0] };
        let bias = bias.as_ref().map(contiguous);
        let out = match (residual, &bias) {
            (None, None) => product_of(a, b),
            (Some(residual), bias) => {
                let mut out = owned(residual);
                if let Some(bias) = bias {
                    add_to_rows(&mut out, elements(bias));
                }
                multiply(MatrixMut::new(&mut out, rows, columns), true, a, b, 1.0);
                out
            }
            (None, Some(bias)) => {
                let mut out = elements(bias).repeat(rows);
                multiply(MatrixMut::new(&mut out, rows, columns), true, a, b, 1.0);
                out
            }
        };
        let mut shape = x.layout().shape().clone();
        if let Some(last) = shape.last_mut() {
            *last = columns;
        }
        let state = keep.then(|| State {
            x,
            weight,
            form: *self,
        });
        (tensor(out, shape), state)
    }

    fn backward(state: State, gradient: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N] {
        let State { x, weight, form } = state;
        let gradient = contiguous(&gradient);
        let width = last(&x);
        let rows = elements(&x).len() / width.max(1);
        let columns = last(&gradient);
        let g = Matrix::new(elements(&gradient), rows, columns);
        let x_matrix = Matrix::new(elements(&x), rows, width);
        let mut at = 0;
        wanted.map(|wanted| {
            let part = match (at, form.bias) {
                (2, false) => 3,
                (part, _) => part,
            };
            at += 1;
            if !wanted {
                return None;
            }
            Some(match part {
                0 => tensor(
                    product_of(g, form.matrix(&weight).transposed()),
                    x.layout().shape().clone(),
                ),
                1 => {
                    let product = if form.input_first {
                        product_of(x_matrix.transposed(), g)
                    } else {
                        product_of(g.transposed(), x_matrix)
                    };
                    tensor(product, weight.layout().shape().clone())
                }
                2 => {
                    let mut sums = vec![0.0; columns];
                    add_rows(elements(&gradient), &mut sums);
                    tensor(sums, [columns])
                }
                _ => gradient.clone(),
            })
        })
    }
}
