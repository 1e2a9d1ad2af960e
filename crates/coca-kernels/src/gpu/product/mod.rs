//! x Wᵀ with bias, activation and residual in the same pass, and the layer norm of x before where x has few rows.
//!
//! Three forms. A *strip*: every thread has its own block of the result in registers and reads rows of x and W directly;
//! for a device that is really a CPU. *Shared* sums: each thread takes a part of the sum of its block, and they add up
//! through workgroup memory; on a GPU for few rows. A *tile*: a workgroup copies a piece of x and of W into workgroup
//! memory, and each thread computes a block from there; on a GPU for more.

mod form;
mod shared;
mod strip;
mod text;
mod tile;
mod written;

use std::ops::Range;

use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;

use super::program::launch;
use super::text::Stored;
use super::{contiguous, empty, floats, is_software, layer_norm, quantised};
use crate::activation::Activation;
use crate::linear::Weight;
use crate::quantised::is_quantised;
use form::{Extents, Form};
pub use text::Elements;
use text::Product;
pub use written::{Written, written};

/// A weight of a product.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// `[out, in]`, or `[in, out]` with `input_first`; codes of a quantised matrix, four in a word.
    values: CubeTensor,
    /// How it lies.
    input_first: bool,
    /// Scales of a quantised matrix, and what its codes are.
    scales: Option<(CubeTensor, Elements)>,
    /// Rows of a quantised `[out, in]` that the product is of.
    rows: Option<Range<usize>>,
}

impl Matrix {
    /// The weight, if the kernels can take it.
    pub fn of(weight: &Weight) -> Option<Self> {
        let (input_first, rows, values) = match weight {
            Weight::OutputFirst(values) => (false, None, values.clone()),
            Weight::Rows(values, rows) => (false, Some(rows.clone()), values.clone()),
            Weight::InputFirst(values) => (true, None, values.clone()),
        };
        if is_quantised(&values) {
            let (values, scales, codes) = quantised(&values.into_dispatch())?;
            return Some(Self {
                values,
                input_first,
                scales: Some((scales, codes)),
                rows,
            });
        }
        let values = match rows {
            Some(rows) => values.slice_dim(0, rows),
            None => values,
        };
        let [values] = floats([&values.into_dispatch()])?;
        Some(Self {
            values,
            input_first,
            scales: None,
            rows: None,
        })
    }
}

/// The layer norm of x, which takes x's place in the product.
#[derive(Clone, Debug)]
pub struct Prologue {
    /// `[in]`.
    pub weight: CubeTensor,
    /// `[in]`.
    pub bias: CubeTensor,
    pub epsilon: f32,
}

/// What is done to a product before it is written: + bias, the activation, + residual.
#[derive(Clone, Debug, Default)]
pub struct Epilogue {
    /// `[out]`.
    pub bias: Option<CubeTensor>,
    /// Of the sum with the bias.
    pub activation: Option<Activation>,
    /// Of the result's shape.
    pub residual: Option<CubeTensor>,
}

/// `[.., in]` to `[.., out]`, of the type of x.
pub fn product(
    x: CubeTensor,
    prologue: Option<Prologue>,
    weight: Matrix,
    epilogue: Epilogue,
) -> CubeTensor {
    let (x, values) = (contiguous(x), contiguous(weight.values));
    let bias = epilogue.bias.map(contiguous);
    let residual = epilogue.residual.map(contiguous);
    let chosen = weight.rows.unwrap_or(0..values.meta.shape()[0]);
    let elements = match &weight.scales {
        Some((_, codes)) => *codes,
        None => Elements::Floats(Stored::of(values.dtype)),
    };
    let in_word = match elements {
        Elements::Floats(_) => 1,
        Elements::Codes { .. } => 4,
        Elements::Fours => 8,
    };
    let (first, second) = (chosen.len(), values.meta.shape()[1] * in_word);
    let (columns, width) = if weight.input_first {
        (second, first)
    } else {
        (first, second)
    };
    let mut shape: Vec<usize> = x.meta.shape().iter().copied().collect();
    let rows = shape.iter().rev().skip(1).product();
    if let Some(last) = shape.last_mut() {
        *last = columns;
    }
    let y = empty(&x, Shape::from(shape), x.dtype);
    if rows == 0 || columns == 0 {
        return y;
    }
    let extents = Extents {
        rows,
        columns,
        width,
        at_once: Product::at_once(elements, width),
        input_first: weight.input_first,
        normalised: prologue.is_some(),
        codes: weight.scales.is_some(),
    };
    let form = match is_software(&x) {
        true => Form::for_software(extents),
        false => Form::for_hardware(extents),
    };
    let by_four = width.is_multiple_of(4);
    // Every workgroup normalises for itself, which pays for few rows.
    let (x, prologue) = match prologue {
        Some(norm) if by_four && form.normalises(width) => {
            let Prologue {
                weight,
                bias,
                epsilon,
            } = norm;
            (x, Some((contiguous(weight), contiguous(bias), epsilon)))
        }
        Some(norm) => (layer_norm(x, norm.weight, norm.bias, norm.epsilon), None),
        None => (x, None),
    };
    let (norm_weight, norm_bias, epsilon) = match &prologue {
        Some((weight, bias, epsilon)) => (Some(weight), Some(bias), *epsilon),
        None => (None, None, 0.0),
    };
    let stored = |tensor: &CubeTensor| Stored::of(tensor.dtype);
    let program = Product {
        x: stored(&x),
        weight: elements,
        y: stored(&y),
        bias: bias.as_ref().map(stored),
        residual: residual.as_ref().map(stored),
        activation: epilogue.activation,
        input_first: weight.input_first,
        width: form.knows_width().then_some(width),
        norm: norm_weight
            .zip(norm_bias)
            .map(|(weight, bias)| [stored(weight), stored(bias)]),
        by_four,
        columns_by_four: columns.is_multiple_of(4),
        form,
    };
    let scales = weight.scales.as_ref().map(|(scales, _)| scales);
    let (block_rows, block_columns) = form.block();
    let groups = [
        columns.div_ceil(block_columns),
        rows.div_ceil(block_rows),
        1,
    ];
    let inputs = [
        Some(&x),
        Some(&values),
        scales,
        norm_weight,
        norm_bias,
        bias.as_ref(),
        residual.as_ref(),
    ];
    let inputs: Vec<&CubeTensor> = inputs.into_iter().flatten().collect();
    let sizes = [
        rows,
        columns,
        width,
        chosen.start,
        epsilon.to_bits() as usize,
    ];
    launch(program, groups, &inputs, &[&y], &sizes);
    y
}
