//! Products of matrices that lie anywhere in memory.

#![allow(
    unsafe_code,
    reason = "gemm and the tiles take pointers; everything they may touch is checked here"
)]

use std::ops::Range;

use super::simd::{LANES, sum2, total, vectorised};
#[cfg(target_arch = "wasm32")]
use super::tiled;

/// A matrix in a slice: element (i, j) stands at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows that lie `row_stride` apart.
    ///
    /// # Panics
    /// The slice is too short.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || columns == 0 || (rows - 1) * row_stride + columns <= data.len(),
            "a matrix of {rows} x {columns} ends outside its memory"
        );
        Self {
            data,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// Rows one behind the other.
    ///
    /// # Panics
    /// The slice is too short.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// A row of a matrix whose rows are contiguous.
    ///
    /// # Panics
    /// They are not, or there is no such row.
    pub fn row(&self, row: usize) -> &'a [f32] {
        assert!(
            row < self.rows && self.column_stride == 1,
            "a row in one piece"
        );
        &self.data[row * self.row_stride..][..self.columns]
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// A matrix to write to, with rows `row_stride` apart.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// Rows that lie `row_stride` apart.
    ///
    /// # Panics
    /// The slice is too short, or rows overlap.
    pub fn strided(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        let _ = Matrix::strided(data, rows, columns, row_stride);
        assert!(rows <= 1 || row_stride >= columns, "rows overlap");
        Self {
            data,
            rows,
            columns,
            row_stride,
        }
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// A row.
    ///
    /// # Panics
    /// There is no such row.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        &mut self.data[row * self.row_stride..][..self.columns]
    }

    /// Neighbouring columns of all rows.
    ///
    /// # Panics
    /// There are no such columns.
    pub fn columns(&mut self, columns: Range<usize>) -> MatrixMut<'_> {
        assert!(columns.end <= self.columns, "columns {columns:?}");
        let data = self.data.get_mut(columns.start..).unwrap_or_default();
        MatrixMut::strided(data, self.rows, columns.len(), self.row_stride)
    }

    /// Rows one behind the other.
    ///
    /// # Panics
    /// The slice is too short.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }
}

/// Multiplications from which a product is worth several threads.
#[cfg(feature = "rayon")]
const PARALLEL: usize = 192 * 192 * 192;
/// Rows up to which a product only streams through the second matrix: packing it, as `gemm` does at each call, takes longer
/// than multiplying so few rows.
const FEW_ROWS: usize = if cfg!(target_arch = "wasm32") { 3 } else { 16 };

/// out = scale · a b, or out += scale · a b.
///
/// # Panics
/// The shapes do not fit.
pub fn multiply(out: MatrixMut, add: bool, a: Matrix, b: Matrix, scale: f32) {
    assert_eq!(
        (out.rows, out.columns, a.columns),
        (a.rows, b.columns, b.rows),
        "shapes of a product"
    );
    // The browser has tiles for these too.
    if cfg!(not(target_arch = "wasm32"))
        && out.rows <= FEW_ROWS
        && a.column_stride == 1
        && scale == 1.0
    {
        return multiply_few(out, add, a, b);
    }
    // SAFETY: `Matrix` and `MatrixMut` checked that all elements lie in their slices, the shapes fit, rows of `out` do
    // not overlap, and `out` is borrowed exclusively.
    unsafe { product(out.data.as_mut_ptr(), out.row_stride, add, a, b, scale) }
}

/// a b as a new matrix.
///
/// # Panics
/// The shapes do not fit.
pub fn product_of(a: Matrix, b: Matrix) -> Vec<f32> {
    assert_eq!(a.columns, b.rows, "shapes of a product");
    let (rows, columns) = (a.rows, b.columns);
    if rows <= FEW_ROWS || a.columns == 0 {
        let mut out = vec![0.0; rows * columns];
        multiply(MatrixMut::new(&mut out, rows, columns), false, a, b, 1.0);
        return out;
    }
    let mut out = Vec::with_capacity(rows * columns);
    // SAFETY: as in `multiply`; the capacity holds the result, and every element of it is written without being read.
    unsafe {
        product(out.as_mut_ptr(), columns, false, a, b, 1.0);
        out.set_len(rows * columns);
    }
    out
}

/// # Safety
/// `out` is valid for writes (and with `add` for reads) of `a.rows` rows of `b.columns`, which lie `row_stride` apart
/// and do not overlap.
unsafe fn product(out: *mut f32, row_stride: usize, add: bool, a: Matrix, b: Matrix, scale: f32) {
    #[cfg(target_arch = "wasm32")]
    if let Some(order) = order(b)
        && a.column_stride == 1
        && scale == 1.0
    {
        // SAFETY: by contract, and by the checks of `Matrix`.
        return unsafe {
            tiled::multiply(
                [a.rows, b.columns, a.columns],
                out,
                row_stride,
                add,
                a.data.as_ptr(),
                a.row_stride,
                b.data.as_ptr(),
                b.row_stride.max(b.column_stride),
                order,
            )
        };
    }
    // SAFETY: by contract, and by the checks of `Matrix`.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out,
            1,
            row_stride as isize,
            add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism(a.rows * b.columns * a.columns),
        );
    }
}

/// How a factor lies, if its rows or its columns are contiguous.
#[cfg(target_arch = "wasm32")]
fn order(b: Matrix) -> Option<tiled::Order> {
    match (b.row_stride, b.column_stride) {
        (_, 1) => Some(tiled::Order::Rows),
        (1, _) => Some(tiled::Order::Columns),
        _ => None,
    }
}

#[cfg(feature = "rayon")]
fn parallelism(multiplications: usize) -> gemm::Parallelism {
    if multiplications >= PARALLEL && rayon::current_num_threads() > 1 {
        gemm::Parallelism::Rayon(0)
    } else {
        gemm::Parallelism::None
    }
}

#[cfg(not(feature = "rayon"))]
fn parallelism(_: usize) -> gemm::Parallelism {
    gemm::Parallelism::None
}

vectorised! {
    /// A product that reads `b` once and in the order of memory: its speed is that of memory, not of arithmetic.
    fn multiply_few(out: MatrixMut<'_>, add: bool, a: Matrix<'_>, b: Matrix<'_>) {
        let MatrixMut {
            data,
            rows,
            columns,
            row_stride,
        } = out;
        if b.row_stride == 1 {
            for j in 0..columns {
                let b = &b.data[j * b.column_stride..][..b.rows];
                for i in 0..rows {
                    let a = &a.data[i * a.row_stride..][..a.columns];
                    let value = dot(a, b);
                    let out = &mut data[i * row_stride + j];
                    *out = if add { *out + value } else { value };
                }
            }
            return;
        }
        if !add {
            for i in 0..rows {
                data[i * row_stride..][..columns].fill(0.0);
            }
        }
        for k in 0..b.rows {
            let from = k * b.row_stride;
            for i in 0..rows {
                let factor = a.data[i * a.row_stride + k];
                let out = &mut data[i * row_stride..][..columns];
                if b.column_stride == 1 {
                    for (out, &b) in out.iter_mut().zip(&b.data[from..from + columns]) {
                        *out += factor * b;
                    }
                } else {
                    for (j, out) in out.iter_mut().enumerate() {
                        *out += factor * b.data[from + j * b.column_stride];
                    }
                }
            }
        }
    }
}

/// Σ a b with four sets of lanes, so that one addition need not wait for the other.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const WIDE: usize = 4 * LANES;
    let mut lanes = [[0.0_f32; LANES]; 4];
    let (a_wide, a_rest) = a.as_chunks::<WIDE>();
    let (b_wide, b_rest) = b.as_chunks::<WIDE>();
    for (a, b) in a_wide.iter().zip(b_wide) {
        for (set, lanes) in lanes.iter_mut().enumerate() {
            for (i, lane) in lanes.iter_mut().enumerate() {
                *lane += a[set * LANES + i] * b[set * LANES + i];
            }
        }
    }
    let [mut sum, second, third, fourth] = lanes;
    for i in 0..LANES {
        sum[i] += second[i] + (third[i] + fourth[i]);
    }
    total(sum) + sum2(a_rest, b_rest, |a, b| a * b)
}

vectorised! {
    /// sums\[j\] += Σ of column j.
    pub fn add_rows(rows: &[f32], sums: &mut [f32]) {
        for row in rows.chunks_exact(sums.len().max(1)) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

vectorised! {
    /// Adds `row` to each of `rows`.
    pub fn add_to_rows(rows: &mut [f32], row: &[f32]) {
        for x in rows.chunks_exact_mut(row.len().max(1)) {
            for (x, &y) in x.iter_mut().zip(row) {
                *x += y;
            }
        }
    }
}
