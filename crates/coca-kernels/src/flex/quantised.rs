//! Products with a matrix in eight bits on the CPU, and its rows.

use std::ops::Range;

use burn::backend::{
    BackendTensor, DispatchTensor, DispatchTensorKind,
    flex::{FlexQTensor, FlexTensor},
};
use burn::tensor::{
    TensorData,
    quantization::{QuantScheme, QuantStore},
};

use super::operation::{plain, wrap};
use super::{contiguous, elements, last, owned, tensor};
use crate::quantised::block_of;
use crate::raw::matrix::{Matrix, MatrixMut, add_to_rows};
use crate::raw::quantised::{Codes, Order, multiply};

/// A matrix `[rows, columns]` of codes, with the scales of its blocks.
pub fn matrix(
    mut codes: Vec<i8>,
    scales: Vec<f32>,
    shape: [usize; 2],
    scheme: QuantScheme,
) -> DispatchTensor {
    codes.shrink_to_fit();
    let codes = FlexTensor::from_data(TensorData::new(codes, shape));
    let scheme = scheme.with_store(QuantStore::Native);
    let matrix = FlexQTensor::new(codes, scheme, scales, None);
    DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Quantized(matrix)),
        autodiff: Default::default(),
    }
}

/// x W + bias + residual by the rows `rows` of a quantised matrix; none if `weight` is not one of this backend's. The
/// others fit, and are without a graph.
pub fn linear(
    x: DispatchTensor,
    weight: DispatchTensor,
    rows: Range<usize>,
    input_first: bool,
    bias: Option<DispatchTensor>,
    residual: Option<DispatchTensor>,
) -> Option<DispatchTensor> {
    let weight = quantised(weight)?;
    let codes = codes(&weight, rows)?;
    let x = contiguous(&plain(x.kind));
    let bias = bias.map(|bias| contiguous(&plain(bias.kind)));
    let (order, columns) = match input_first {
        true => (Order::Rows, codes.columns()),
        false => (Order::Columns, codes.rows()),
    };
    let width = last(&x);
    let count = elements(&x).len() / width.max(1);
    let mut shape = x.layout().shape().clone();
    if let Some(last) = shape.last_mut() {
        *last = columns;
    }
    let add = residual.is_some() || bias.is_some();
    let mut out = match (residual, &bias) {
        (Some(residual), None) => owned(plain(residual.kind)),
        (Some(residual), Some(bias)) => {
            let mut out = owned(plain(residual.kind));
            add_to_rows(&mut out, elements(bias));
            out
        }
        (None, Some(bias)) => elements(bias).repeat(count),
        (None, None) => vec![0.0; count * columns],
    };
    let a = Matrix::new(elements(&x), count, width);
    multiply(
        MatrixMut::new(&mut out, count, columns),
        add,
        a,
        codes,
        order,
    );
    Some(wrap(tensor(out, shape)))
}

/// Rows of a quantised matrix in floating point, one behind the other; none if `table` is not one of this backend's, or
/// has no such row.
pub fn rows(table: DispatchTensor, wanted: &[usize]) -> Option<(Vec<f32>, usize)> {
    let table = quantised(table)?;
    let all = codes(&table, 0..table.tensor().layout().shape()[0])?;
    let mut out = vec![0.0; wanted.len() * all.columns()];
    for (&row, out) in wanted.iter().zip(out.chunks_exact_mut(all.columns())) {
        all.part(row..row.checked_add(1)?)?.widen(out);
    }
    Some((out, all.columns()))
}

fn quantised(tensor: DispatchTensor) -> Option<FlexQTensor> {
    match tensor.kind {
        DispatchTensorKind::Flex(BackendTensor::Quantized(tensor)) => Some(tensor),
        #[allow(unreachable_patterns, reason = "other backends may be compiled in")]
        _ => None,
    }
}

fn codes(weight: &FlexQTensor, rows: Range<usize>) -> Option<Codes<'_>> {
    use burn::backend::TensorMetadata;
    let block = block_of(weight.dtype())?;
    let &[_, columns] = &weight.tensor().layout().shape()[..] else {
        return None;
    };
    let values = weight.tensor().as_slice::<i8>()?;
    Codes::new(values, weight.scales(), columns, block)?.part(rows)
}
