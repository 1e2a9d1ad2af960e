//! Products of matrices in WebAssembly, a tile of the result in registers at a time.
//!
//! A tile is four rows of one factor times eight columns of the other: eight vectors of sums, two of columns, and a
//! number of a row in all places of one more, which is what fits the sixteen registers that engines have on x86.
//! Weights are `[out, in]`, so that their rows are the rows of a tile as they lie in memory, and the few activations are
//! what gets packed: the product is computed transposed, and each tile is turned when it is written.

#![allow(
    unsafe_code,
    reason = "inner loops without bounds checks; `multiply` checks the bounds of the whole product"
)]

use super::four::Four;

/// Where the rows of a factor are.
#[derive(Clone, Copy)]
struct Rows {
    start: *const f32,
    stride: usize,
}

/// Where the result is.
#[derive(Clone, Copy)]
struct Target {
    start: *mut f32,
    stride: usize,
    /// Whether to add to what is there.
    add: bool,
}

/// Rows that share a tile.
const ROWS: usize = 4;
/// Columns that share a tile, two vectors.
const PANEL: usize = 8;
/// How much of the sums is done in one go: a panel and four rows of that length stay in the first-level cache.
const DEPTH: usize = 512;
/// Rows of the unpacked factor that stay in the second-level cache while all panels pass over them.
const BLOCK: usize = 128;
/// Up to so many rows of `a` nothing is packed.
const FEW: usize = 3;
/// Result columns from which a product of few rows runs along the rows of `b`.
const WIDE: usize = 128;
/// Vectors that a product of few rows reads of one row before the next has its turn: a line of the caches, which may be
/// gone when the others were there.
const LINE: usize = 4;
/// Rows of the second factor that a product of few rows reads at a time.
const STREAMS: usize = 4;
/// Rows from one such stream to the next, where there are so many; always odd.
const APART: usize = 65;

/// How the elements of `b` lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Along its rows: element (k, j) at k · stride + j.
    Rows,
    /// Along its columns: element (k, j) at k + j · stride.
    Columns,
}

/// out = a b, or out += a b, with `a` `[rows, depth]` and `b` `[depth, columns]`.
///
/// # Safety
/// The pointers are valid for everything that sizes and strides say, and `out` overlaps neither factor.
#[allow(clippy::too_many_arguments, reason = "two matrices and a result")]
pub unsafe fn multiply(
    [rows, columns, depth]: [usize; 3],
    out: *mut f32,
    out_stride: usize,
    add: bool,
    a: *const f32,
    a_stride: usize,
    b: *const f32,
    b_stride: usize,
    order: Order,
) {
    let out = Target {
        start: out,
        stride: out_stride,
        add,
    };
    if depth == 0 {
        for row in 0..if add { 0 } else { rows } {
            // SAFETY: by contract.
            unsafe { std::slice::from_raw_parts_mut(out.at(row, 0).start, columns) }.fill(0.0);
        }
        return;
    }
    let a = Rows {
        start: a,
        stride: a_stride,
    };
    let b = Rows {
        start: b,
        stride: b_stride,
    };
    // SAFETY: by contract.
    unsafe {
        match order {
            Order::Columns if rows <= FEW => few_by_columns([rows, columns, depth], out, a, b),
            Order::Columns => by_columns([rows, columns, depth], out, a, b),
            Order::Rows if rows <= FEW && columns >= WIDE => {
                few_by_rows([rows, columns, depth], out, a, b);
            }
            Order::Rows => by_rows([rows, columns, depth], out, a, b),
        }
    }
}

impl Rows {
    /// # Safety
    /// The element exists.
    #[inline(always)]
    unsafe fn at(self, row: usize, column: usize) -> Self {
        Self {
            // SAFETY: by contract.
            start: unsafe { self.start.add(row * self.stride + column) },
            ..self
        }
    }
}

impl Target {
    /// # Safety
    /// The element exists.
    #[inline(always)]
    unsafe fn at(self, row: usize, column: usize) -> Self {
        Self {
            // SAFETY: by contract.
            start: unsafe { self.start.add(row * self.stride + column) },
            ..self
        }
    }

    /// Writes four neighbours of a row.
    ///
    /// # Safety
    /// They exist.
    #[inline(always)]
    unsafe fn put(self, row: usize, column: usize, values: Four) {
        // SAFETY: by contract.
        unsafe {
            let to = self.start.add(row * self.stride + column);
            let values = if self.add {
                Four::load(to).plus(values)
            } else {
                values
            };
            values.store(to);
        }
    }

    /// # Safety
    /// The element exists.
    #[inline(always)]
    unsafe fn put_one(self, row: usize, column: usize, value: f32) {
        // SAFETY: by contract.
        unsafe {
            let to = self.start.add(row * self.stride + column);
            *to = if self.add { *to + value } else { value };
        }
    }
}

/// Sums of `R` rows times `4 C` columns, the columns at `panel`, those of the next row `step` on.
///
/// # Safety
/// `R` rows of `depth` numbers, and `depth` rows of `4 C` numbers exist.
#[inline(always)]
unsafe fn tile<const R: usize, const C: usize>(
    depth: usize,
    rows: Rows,
    panel: *const f32,
    step: usize,
) -> [[Four; C]; R] {
    let mut sums = [[Four::zero(); C]; R];
    let mut panel = panel;
    // SAFETY: by contract; pointers move only over what exists, and one step beyond it.
    unsafe {
        let starts: [*const f32; R] = std::array::from_fn(|row| rows.at(row, 0).start);
        for k in 0..depth {
            let columns: [Four; C] = std::array::from_fn(|c| Four::load(panel.add(4 * c)));
            for (sums, start) in sums.iter_mut().zip(starts) {
                let x = Four::load_splat(start.add(k));
                for (sum, &column) in sums.iter_mut().zip(&columns) {
                    *sum = sum.plus_product(x, column);
                }
            }
            panel = panel.wrapping_add(step);
        }
    }
    sums
}

/// `b` as its columns lie: its columns are the rows of tiles, `a` is packed.
///
/// # Safety
/// As [`multiply`].
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
unsafe fn by_columns([rows, columns, depth]: [usize; 3], out: Target, a: Rows, b: Rows) {
    let mut packed = Vec::new();
    // Rows that would leave half a tile empty: its fewer sums would wait for each other as long as all.
    let rest = match rows % PANEL {
        rest @ ..=4 => rest,
        _ => 0,
    };
    let tiled = rows - rest;
    for from in (0..depth).step_by(DEPTH) {
        let part = DEPTH.min(depth - from);
        let out = Target {
            add: out.add || from > 0,
            ..out
        };
        // SAFETY: by contract; `pack` writes a panel of `part` times PANEL for every PANEL rows.
        unsafe {
            pack(tiled, part, a.at(0, from), &mut packed);
            for first in (0..columns).step_by(BLOCK) {
                let last = columns.min(first + BLOCK);
                for (number, panel) in packed.chunks_exact(part * PANEL).enumerate() {
                    let row = number * PANEL;
                    let filled = PANEL.min(tiled - row);
                    for column in (first..last).step_by(ROWS) {
                        let b = b.at(column, from);
                        let out = out.at(row, column);
                        match last - column {
                            1 => turned::<1>(part, b, panel, filled, out),
                            2 => turned::<2>(part, b, panel, filled, out),
                            3 => turned::<3>(part, b, panel, filled, out),
                            _ => turned::<4>(part, b, panel, filled, out),
                        }
                    }
                }
                for row in tiled..rows {
                    let a = a.at(row, from).start;
                    let mut column = first;
                    while column + STREAMS <= last {
                        let sums: [f32; STREAMS] = dots(part, a, b.at(column, from), 1);
                        for (stream, sum) in sums.into_iter().enumerate() {
                            out.put_one(row, column + stream, sum);
                        }
                        column += STREAMS;
                    }
                    for column in column..last {
                        let [sum] = dots(part, a, b.at(column, from), 1);
                        out.put_one(row, column, sum);
                    }
                }
            }
        }
    }
}

/// One tile of `R` columns of the result, as rows of the unpacked factor, and more than four, up to [`PANEL`], of its rows.
///
/// # Safety
/// `R` rows of `depth` numbers exist, and in the result `filled` rows of `R`.
#[inline(always)]
unsafe fn turned<const R: usize>(depth: usize, b: Rows, panel: &[f32], filled: usize, out: Target) {
    // SAFETY: by contract; a panel has `depth` rows of PANEL.
    unsafe {
        let sums = tile::<R, 2>(depth, b, panel.as_ptr(), PANEL);
        turn(sums.map(|[first, _]| first), 4, out);
        turn(sums.map(|[_, second]| second), filled - 4, out.at(4, 0));
    }
}

/// Writes columns of the result as rows, `filled` of four.
///
/// # Safety
/// In the result `filled` rows of `R` exist.
#[inline(always)]
unsafe fn turn<const R: usize>(columns: [Four; R], filled: usize, out: Target) {
    let mut square = [Four::zero(); 4];
    square[..R].copy_from_slice(&columns);
    for (row, values) in Four::transpose(square).into_iter().take(filled).enumerate() {
        // SAFETY: by contract.
        unsafe {
            if R == 4 {
                out.put(row, 0, values);
            } else {
                for (column, value) in values.to_array().into_iter().take(R).enumerate() {
                    out.put_one(row, column, value);
                }
            }
        }
    }
}

/// Panels of [`PANEL`] rows with their elements beside each other; zeros where rows are missing.
///
/// # Safety
/// `rows` rows of `depth` numbers exist.
unsafe fn pack(rows: usize, depth: usize, a: Rows, packed: &mut Vec<f32>) {
    packed.clear();
    packed.resize(rows.div_ceil(PANEL) * PANEL * depth, 0.0);
    let panels = packed.chunks_exact_mut(depth * PANEL);
    for (first, panel) in (0..rows).step_by(PANEL).zip(panels) {
        for half in (0..PANEL.min(rows - first)).step_by(4) {
            let row = first + half;
            let count = (rows - row).min(4);
            // SAFETY: by contract; missing rows are not read. A panel has `depth` rows of PANEL numbers.
            unsafe {
                let mut k = 0;
                while k + 4 <= depth {
                    let mut square = [Four::zero(); 4];
                    for (i, row_of_square) in square.iter_mut().take(count).enumerate() {
                        *row_of_square = Four::load(a.at(row + i, k).start);
                    }
                    for (i, column) in Four::transpose(square).into_iter().enumerate() {
                        column.store(panel.as_mut_ptr().add((k + i) * PANEL + half));
                    }
                    k += 4;
                }
                for k in k..depth {
                    for i in 0..count {
                        panel[k * PANEL + half + i] = *a.at(row + i, k).start;
                    }
                }
            }
        }
    }
}

/// `b` as its rows lie: nothing is packed.
///
/// # Safety
/// As [`multiply`].
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
unsafe fn by_rows([rows, columns, depth]: [usize; 3], out: Target, a: Rows, b: Rows) {
    // SAFETY: by contract.
    unsafe {
        let mut column = 0;
        while column + 4 <= columns {
            let two = column + PANEL <= columns;
            let b = b.at(0, column);
            for row in (0..rows).step_by(ROWS) {
                let (a, out) = (a.at(row, 0), out.at(row, column));
                match (rows - row, two) {
                    (1, true) => straight::<1, 2>(depth, a, b, out),
                    (2, true) => straight::<2, 2>(depth, a, b, out),
                    (3, true) => straight::<3, 2>(depth, a, b, out),
                    (_, true) => straight::<4, 2>(depth, a, b, out),
                    (1, false) => straight::<1, 1>(depth, a, b, out),
                    (2, false) => straight::<2, 1>(depth, a, b, out),
                    (3, false) => straight::<3, 1>(depth, a, b, out),
                    (_, false) => straight::<4, 1>(depth, a, b, out),
                }
            }
            column += if two { PANEL } else { 4 };
        }
        for column in column..columns {
            for row in 0..rows {
                let mut sum = 0.0;
                for k in 0..depth {
                    sum += *a.at(row, k).start * *b.at(k, column).start;
                }
                out.put_one(row, column, sum);
            }
        }
    }
}

/// One tile that is written as it is.
///
/// # Safety
/// `R` rows of `a`, `depth` rows of `4 C` numbers of `b`, and `R` rows of `4 C` of the result exist.
#[inline(always)]
unsafe fn straight<const R: usize, const C: usize>(depth: usize, a: Rows, b: Rows, out: Target) {
    // SAFETY: by contract.
    unsafe {
        let sums = tile::<R, C>(depth, a, b.start, b.stride);
        for (row, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                out.put(row, 4 * c, sum);
            }
        }
    }
}

/// Few rows, `b` as its columns lie: [`STREAMS`] of them stream past at a time, from places far apart.
///
/// One stream alone leaves memory idle whenever it comes to another page. Neighbours at a time are no better, as they share
/// pages. An odd distance keeps streams of rows shorter than a page from coming to its end all at once.
///
/// # Safety
/// As [`multiply`].
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
unsafe fn few_by_columns([rows, columns, depth]: [usize; 3], out: Target, a: Rows, b: Rows) {
    let mut first = 0;
    while first < columns {
        let apart = APART.min((columns - first) / STREAMS);
        // SAFETY: by contract; the last of the streams ends before `columns`.
        unsafe {
            if apart == 0 {
                for row in 0..rows {
                    let [sum] = dots(depth, a.at(row, 0).start, b.at(first, 0), 0);
                    out.put_one(row, first, sum);
                }
                first += 1;
                continue;
            }
            // The odd number at or below it.
            let apart = (apart - 1) | 1;
            for column in first..first + apart {
                let b = b.at(column, 0);
                for row in 0..rows {
                    let sums: [f32; STREAMS] = dots(depth, a.at(row, 0).start, b, apart);
                    for (stream, sum) in sums.into_iter().enumerate() {
                        out.put_one(row, column + stream * apart, sum);
                    }
                }
            }
            first += STREAMS * apart;
        }
    }
}

/// Σ a b for `N` rows of `b` that lie `apart` rows from each other.
///
/// # Safety
/// `a` and each of the rows have `depth` numbers.
#[inline(always)]
unsafe fn dots<const N: usize>(depth: usize, a: *const f32, b: Rows, apart: usize) -> [f32; N] {
    let mut sums = [[Four::zero(); 2]; N];
    let mut k = 0;
    // SAFETY: by contract.
    unsafe {
        let starts: [*const f32; N] = std::array::from_fn(|row| b.at(row * apart, 0).start);
        while k + 4 * LINE <= depth {
            let x: [Four; LINE] = std::array::from_fn(|i| Four::load(a.add(k + 4 * i)));
            for (sums, start) in sums.iter_mut().zip(starts) {
                for (i, &x) in x.iter().enumerate() {
                    sums[i % 2] = sums[i % 2].plus_product(x, Four::load(start.add(k + 4 * i)));
                }
            }
            k += 4 * LINE;
        }
        let mut totals = sums.map(|[even, odd]| even.plus(odd).total());
        for k in k..depth {
            for (total, start) in totals.iter_mut().zip(starts) {
                *total += *a.add(k) * *start.add(k);
            }
        }
        totals
    }
}

/// Few rows, `b` as its rows lie: eight rows of `b` at a time stream past.
///
/// # Safety
/// As [`multiply`].
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
unsafe fn few_by_rows([rows, columns, depth]: [usize; 3], out: Target, a: Rows, b: Rows) {
    const TOGETHER: usize = 8;
    // SAFETY: by contract.
    unsafe {
        if !out.add {
            for row in 0..rows {
                std::slice::from_raw_parts_mut(out.at(row, 0).start, columns).fill(0.0);
            }
        }
        let out = Target { add: true, ..out };
        let whole = depth - depth % TOGETHER;
        for k in (0..whole).step_by(TOGETHER) {
            for row in 0..rows {
                stream::<TOGETHER>(columns, a.at(row, k).start, b.at(k, 0), out.at(row, 0));
            }
        }
        for k in whole..depth {
            for row in 0..rows {
                stream::<1>(columns, a.at(row, k).start, b.at(k, 0), out.at(row, 0));
            }
        }
    }
}

/// Adds `K` rows of `b`, each times a number of `a`, to a row of the result.
///
/// # Safety
/// `a` has `K` numbers, and all rows have `columns`.
#[inline(always)]
unsafe fn stream<const K: usize>(columns: usize, a: *const f32, b: Rows, out: Target) {
    // SAFETY: by contract.
    unsafe {
        let factors: [Four; K] = std::array::from_fn(|k| Four::load_splat(a.add(k)));
        let starts: [*const f32; K] = std::array::from_fn(|k| b.at(k, 0).start);
        let mut column = 0;
        while column + 4 * LINE <= columns {
            pile::<K, LINE>(column, factors, starts, out);
            column += 4 * LINE;
        }
        while column + 4 <= columns {
            pile::<K, 1>(column, factors, starts, out);
            column += 4;
        }
        for column in column..columns {
            let mut sum = 0.0;
            for (k, start) in starts.into_iter().enumerate() {
                sum += *a.add(k) * *start.add(column);
            }
            out.put_one(0, column, sum);
        }
    }
}

/// Adds `4 C` columns, from `column` on, of each row times its factor.
///
/// # Safety
/// All rows have so many.
#[inline(always)]
unsafe fn pile<const K: usize, const C: usize>(
    column: usize,
    factors: [Four; K],
    starts: [*const f32; K],
    out: Target,
) {
    let mut sums = [Four::zero(); C];
    // SAFETY: by contract.
    unsafe {
        for (factor, start) in factors.into_iter().zip(starts) {
            for (c, sum) in sums.iter_mut().enumerate() {
                *sum = sum.plus_product(factor, Four::load(start.add(column + 4 * c)));
            }
        }
        for (c, sum) in sums.into_iter().enumerate() {
            out.put(0, column + 4 * c, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn every_shape_is_the_product() {
        let sizes = [1, 2, 3, 4, 5, 7, 8, 9, 13, 17, 130, 271];
        for rows in sizes {
            for columns in sizes {
                for depth in [0, 1, 3, 4, 8, 21, 515] {
                    for order in [Order::Rows, Order::Columns] {
                        for add in [false, true] {
                            check(rows, columns, depth, order, add);
                        }
                    }
                }
            }
        }
    }

    fn check(rows: usize, columns: usize, depth: usize, order: Order, add: bool) {
        let (a_stride, out_stride) = (depth + 2, columns + 3);
        let (b_rows, b_columns) = match order {
            Order::Rows => (depth, columns),
            Order::Columns => (columns, depth),
        };
        let b_stride = b_columns + 1;
        let a = numbers(rows * a_stride, 0.7);
        let b = numbers(b_rows * b_stride, 0.3);
        let before = numbers(rows * out_stride, 0.9);
        let mut out = before.clone();
        // SAFETY: the vectors have the sizes that are given.
        unsafe {
            multiply(
                [rows, columns, depth],
                out.as_mut_ptr(),
                out_stride,
                add,
                a.as_ptr(),
                a_stride,
                b.as_ptr(),
                b_stride,
                order,
            );
        }
        for (at, (&actual, &before)) in out.iter().zip(&before).enumerate() {
            let (row, column) = (at / out_stride, at % out_stride);
            let expected = if column < columns {
                let products = (0..depth).map(|k| {
                    let b = match order {
                        Order::Rows => b[k * b_stride + column],
                        Order::Columns => b[column * b_stride + k],
                    };
                    f64::from(a[row * a_stride + k]) * f64::from(b)
                });
                products.sum::<f64>() + if add { f64::from(before) } else { 0.0 }
            } else {
                // What lies between the rows is not touched.
                f64::from(before)
            };
            assert!(
                (f64::from(actual) - expected).abs() <= 2e-5,
                "{rows} x {columns} x {depth}, {order:?}, {add}: {actual}, {expected} at {row}, {column}"
            );
        }
    }
}
