//! Products of a row with a matrix in eight bits in WebAssembly, whose compiler does not find the instructions that widen
//! codes by itself.

#![allow(
    unsafe_code,
    reason = "inner loops without bounds checks; the lengths are checked for whole rows"
)]

use crate::raw::four::Four;

/// Codes that are widened at a time.
const WIDE: usize = 16;
/// Rows of the matrix that are added at a time: the sum is read and written once for them.
const TOGETHER: usize = 8;

/// out\[j\] += x · row j; `block` codes share a scale.
///
/// # Panics
/// The lengths do not fit.
pub fn add_dots(out: &mut [f32], x: &[f32], codes: &[i8], scales: &[f32], block: usize) {
    check(x.len(), out.len(), codes, scales, block);
    let blocks = x.len() / block;
    for ((codes, scales), out) in codes
        .chunks_exact(x.len())
        .zip(scales.chunks_exact(blocks))
        .zip(out)
    {
        // SAFETY: x and the row consist of as many blocks as there are scales.
        *out += match block {
            16 => unsafe { dot::<16>(x, codes, scales) },
            _ => unsafe { dot::<32>(x, codes, scales) },
        };
    }
}

/// out += Σ x\[k\] · row k; `block` codes share a scale.
///
/// # Panics
/// The lengths do not fit.
pub fn add_rows(out: &mut [f32], x: &[f32], codes: &[i8], scales: &[f32], block: usize) {
    check(out.len(), x.len(), codes, scales, block);
    let (columns, blocks) = (out.len(), out.len() / block);
    let rows = codes
        .chunks(TOGETHER * columns)
        .zip(scales.chunks(TOGETHER * blocks));
    for (x, (codes, scales)) in x.chunks(TOGETHER).zip(rows) {
        // SAFETY: there are as many rows as numbers in x, and out consists of as many blocks as a row has scales.
        unsafe {
            match block {
                16 => add_some::<16>(out, x, codes, scales),
                _ => add_some::<32>(out, x, codes, scales),
            }
        }
    }
}

/// out = scale · code; `block` codes share a scale.
///
/// # Panics
/// The lengths do not fit.
pub fn widen(out: &mut [f32], codes: &[i8], scales: &[f32], block: usize) {
    check(out.len(), 1, codes, scales, block);
    let blocks = out.chunks_exact_mut(block).zip(codes.chunks_exact(block));
    for ((out, codes), &scale) in blocks.zip(scales) {
        let scale = Four::splat(scale);
        for (out, codes) in out.chunks_exact_mut(WIDE).zip(codes.chunks_exact(WIDE)) {
            // SAFETY: both have as many elements as are read and written.
            unsafe {
                for (at, wide) in Four::load_codes(codes.as_ptr()).into_iter().enumerate() {
                    scale.times(wide).store(out.as_mut_ptr().add(4 * at));
                }
            }
        }
    }
}

fn check(columns: usize, rows: usize, codes: &[i8], scales: &[f32], block: usize) {
    assert!(
        matches!(block, 16 | 32)
            && columns.is_multiple_of(block)
            && codes.len() == rows * columns
            && scales.len() * block == codes.len(),
        "a matrix of {rows} x {columns} in blocks of {block}"
    );
}

/// # Safety
/// x and `codes` have `B` elements for each of the scales.
#[inline(always)]
unsafe fn dot<const B: usize>(x: &[f32], codes: &[i8], scales: &[f32]) -> f32 {
    let mut sums = [Four::zero(); 4];
    let (mut x, mut codes) = (x.as_ptr(), codes.as_ptr());
    for scale in scales {
        let mut block = [Four::zero(); 4];
        for _ in 0..B / WIDE {
            // SAFETY: by contract; the pointers end one step behind the last element.
            unsafe {
                let wide = Four::load_codes(codes);
                for (at, (sum, wide)) in block.iter_mut().zip(wide).enumerate() {
                    *sum = sum.plus_product(Four::load(x.add(4 * at)), wide);
                }
            }
            x = x.wrapping_add(WIDE);
            codes = codes.wrapping_add(WIDE);
        }
        let scale = Four::splat(*scale);
        for (sum, block) in sums.iter_mut().zip(block) {
            *sum = sum.plus_product(scale, block);
        }
    }
    let [a, b, c, d] = sums;
    let [a, b, c, d] = a.plus(b).plus(c.plus(d)).to_array();
    (a + b) + (c + d)
}

/// # Safety
/// `codes` has a row of the length of out, a multiple of `B`, for each number in x, and `scales` one for each block.
#[inline(always)]
unsafe fn add_some<const B: usize>(out: &mut [f32], x: &[f32], codes: &[i8], scales: &[f32]) {
    let columns = out.len();
    for at in 0..columns / B {
        // SAFETY: by contract.
        unsafe {
            let out = out.as_mut_ptr().add(at * B);
            for part in (0..B).step_by(WIDE) {
                let mut sums: [Four; 4] =
                    std::array::from_fn(|i| Four::load(out.add(part + 4 * i)));
                for (k, x) in x.iter().enumerate() {
                    let factor = Four::splat(x * scales.get_unchecked(k * (columns / B) + at));
                    let wide = Four::load_codes(codes.as_ptr().add(k * columns + at * B + part));
                    for (sum, wide) in sums.iter_mut().zip(wide) {
                        *sum = sum.plus_product(factor, wide);
                    }
                }
                for (i, sum) in sums.into_iter().enumerate() {
                    sum.store(out.add(part + 4 * i));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::quantised::plain;

    #[test]
    fn both_are_what_plain_loops_give() {
        for block in [16, 32] {
            for (rows, columns) in [(1, 32), (3, 64), (8, 96), (21, 160)] {
                let codes: Vec<i8> = (0..rows * columns)
                    .map(|at| (at * 37 % 255) as i8)
                    .collect();
                let scales: Vec<f32> = (0..codes.len() / block)
                    .map(|at| (at as f32 * 0.7).sin() / 128.0)
                    .collect();
                let numbers = |count: usize| -> Vec<f32> {
                    (0..count).map(|at| (at as f32 * 0.3).cos()).collect()
                };
                let (mut found, mut expected) = (numbers(rows), numbers(rows));
                let x = numbers(columns);
                add_dots(&mut found, &x, &codes, &scales, block);
                plain::add_dots(&mut expected, &x, &codes, &scales, block);
                close(&found, &expected);

                let (mut found, mut expected) = (numbers(columns), numbers(columns));
                let mut wide = vec![0.0; codes.len()];
                let mut expected_wide = wide.clone();
                widen(&mut wide, &codes, &scales, block);
                plain::widen(&mut expected_wide, &codes, &scales, block);
                assert_eq!(wide, expected_wide);

                let x = numbers(rows);
                add_rows(&mut found, &x, &codes, &scales, block);
                plain::add_rows(&mut expected, &x, &codes, &scales, block);
                close(&found, &expected);
            }
        }
    }

    fn close(found: &[f32], expected: &[f32]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0));
        }
    }
}
