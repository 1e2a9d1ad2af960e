//! Products with a matrix in eight bits.
//!
//! Few rows are multiplied by the codes as they are read: the result takes as long as a quarter of the memory. For many
//! rows a part of the matrix at a time is widened, which is cheap beside the multiplications it is for.

#[cfg(any(target_arch = "wasm32", test))]
mod fours;
#[cfg(any(not(target_arch = "wasm32"), test))]
mod plain;

use std::ops::Range;

#[cfg(target_arch = "wasm32")]
use fours::{add_dots, add_rows, widen};
#[cfg(not(target_arch = "wasm32"))]
use plain::{add_dots, add_rows, widen};

use super::matrix::{self, Matrix, MatrixMut};

/// A matrix of codes, rows one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    codes: &'a [i8],
    /// One for each block of neighbours in a row.
    scales: &'a [f32],
    columns: usize,
    block: usize,
}

/// How the codes are a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they are: `[in, out]`.
    Rows,
    /// Transposed: `[out, in]`.
    Columns,
}

/// Rows up to which each one widens the codes for itself.
const FEW_ROWS: usize = 3;
/// Numbers of a part that is widened: it stays in the second-level cache.
const PART: usize = 1 << 16;
/// Neighbouring columns of such a part, where rows of the matrix are inputs.
const WIDE: usize = 128;

impl<'a> Codes<'a> {
    /// None if the rows do not consist of whole blocks with a scale each.
    pub fn new(codes: &'a [i8], scales: &'a [f32], columns: usize, block: usize) -> Option<Self> {
        let whole = block > 0
            && columns > 0
            && columns.is_multiple_of(block)
            && codes.len().is_multiple_of(columns)
            && scales.len() == codes.len() / block;
        whole.then_some(Self {
            codes,
            scales,
            columns,
            block,
        })
    }

    pub fn rows(&self) -> usize {
        self.codes.len() / self.columns
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Some of the rows.
    pub fn part(self, rows: Range<usize>) -> Option<Self> {
        let blocks = self.columns / self.block;
        Some(Self {
            codes: self
                .codes
                .get(rows.start * self.columns..rows.end * self.columns)?,
            scales: self.scales.get(rows.start * blocks..rows.end * blocks)?,
            ..self
        })
    }

    /// In floating point.
    pub fn widen(self, out: &mut [f32]) {
        widen(out, self.codes, self.scales, self.block);
    }

    /// Neighbouring columns of all rows in floating point, `[rows, columns.len()]`; whole blocks.
    fn widen_columns(self, columns: Range<usize>, out: &mut [f32]) {
        let blocks = self.columns / self.block;
        let rows = self
            .codes
            .chunks_exact(self.columns)
            .zip(self.scales.chunks_exact(blocks));
        for ((codes, scales), out) in rows.zip(out.chunks_exact_mut(columns.len())) {
            let scales = &scales[columns.start / self.block..columns.end / self.block];
            widen(out, &codes[columns.clone()], scales, self.block);
        }
    }
}

/// out = a b, or out += a b.
///
/// # Panics
/// The shapes do not fit, or the rows of `a` are not contiguous.
pub fn multiply(out: MatrixMut, add: bool, a: Matrix, codes: Codes, order: Order) {
    let (inner, outer) = match order {
        Order::Rows => (codes.rows(), codes.columns()),
        Order::Columns => (codes.columns(), codes.rows()),
    };
    let [rows, columns] = out.dims();
    assert_eq!(
        (rows, columns, a.dims()[1]),
        (a.dims()[0], outer, inner),
        "shapes of a product"
    );
    match order {
        _ if rows <= FEW_ROWS => few(out, add, a, codes, order),
        Order::Columns => many_by_columns(out, add, a, codes),
        Order::Rows => many_by_rows(out, add, a, codes),
    }
}

fn few(mut out: MatrixMut, add: bool, a: Matrix, codes: Codes, order: Order) {
    let Codes {
        codes,
        scales,
        block,
        ..
    } = codes;
    for row in 0..a.dims()[0] {
        let (out, x) = (out.row(row), a.row(row));
        if !add {
            out.fill(0.0);
        }
        match order {
            Order::Columns => add_dots(out, x, codes, scales, block),
            Order::Rows => add_rows(out, x, codes, scales, block),
        }
    }
}

fn many_by_columns(mut out: MatrixMut, add: bool, a: Matrix, codes: Codes) {
    let step = (PART / codes.columns).clamp(16, 256);
    let mut wide = vec![0.0; step.min(codes.rows()) * codes.columns];
    for start in (0..codes.rows()).step_by(step) {
        let rows = start..codes.rows().min(start + step);
        let Some(part) = codes.part(rows.clone()) else {
            return;
        };
        let wide = &mut wide[..rows.len() * codes.columns];
        part.widen(wide);
        let b = Matrix::new(wide, rows.len(), codes.columns).transposed();
        matrix::multiply(out.columns(rows), add, a, b, 1.0);
    }
}

fn many_by_rows(mut out: MatrixMut, add: bool, a: Matrix, codes: Codes) {
    let mut wide = vec![0.0; codes.rows() * WIDE.min(codes.columns)];
    for start in (0..codes.columns).step_by(WIDE) {
        let columns = start..codes.columns.min(start + WIDE);
        let wide = &mut wide[..codes.rows() * columns.len()];
        codes.widen_columns(columns.clone(), wide);
        let b = Matrix::new(wide, codes.rows(), columns.len());
        matrix::multiply(out.columns(columns), add, a, b, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_the_product() {
        for block in [16, 32] {
            for [inner, outer] in [[32, 32], [64, 160], [320, 32], [96, 416]] {
                for rows in [1, 2, 3, 4, 9] {
                    for order in [Order::Rows, Order::Columns] {
                        for add in [false, true] {
                            check(rows, inner, outer, block, order, add);
                        }
                    }
                }
            }
        }
    }

    fn check(rows: usize, inner: usize, outer: usize, block: usize, order: Order, add: bool) {
        let codes: Vec<i8> = (0..inner * outer).map(|at| (at * 37 % 255) as i8).collect();
        let scales: Vec<f32> = (0..codes.len() / block)
            .map(|at| (at as f32 * 0.7).sin() / 128.0)
            .collect();
        let x: Vec<f32> = (0..rows * inner)
            .map(|at| (at as f32 * 0.3).sin())
            .collect();
        let before: Vec<f32> = (0..rows * outer)
            .map(|at| (at as f32 * 0.9).sin())
            .collect();
        let mut out = before.clone();
        let columns = match order {
            Order::Rows => outer,
            Order::Columns => inner,
        };
        let matrix = Codes::new(&codes, &scales, columns, block).unwrap();
        multiply(
            MatrixMut::new(&mut out, rows, outer),
            add,
            Matrix::new(&x, rows, inner),
            matrix,
            order,
        );
        for (at, (&actual, &before)) in out.iter().zip(&before).enumerate() {
            let (row, column) = (at / outer, at % outer);
            let products = (0..inner).map(|k| {
                let place = match order {
                    Order::Rows => k * outer + column,
                    Order::Columns => column * inner + k,
                };
                let weight = f64::from(scales[place / block]) * f64::from(codes[place]);
                f64::from(x[row * inner + k]) * weight
            });
            let expected = products.sum::<f64>() + if add { f64::from(before) } else { 0.0 };
            assert!(
                (f64::from(actual) - expected).abs() <= 2e-5,
                "{rows} x {inner} x {outer}, {block}, {order:?}, {add}: {actual}, {expected}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Codes::new(&[1; 64], &[1.0; 2], 32, 32).is_some());
        assert!(Codes::new(&[1; 64], &[1.0; 3], 32, 32).is_none());
        assert!(Codes::new(&[1; 60], &[1.0; 2], 30, 32).is_none());
        assert!(Codes::new(&[], &[], 0, 32).is_none());
        let codes = Codes::new(&[1; 64], &[1.0; 2], 32, 32).unwrap();
        assert!(codes.part(1..3).is_none());
        assert_eq!(codes.part(1..2).unwrap().rows(), 1);
    }
}
