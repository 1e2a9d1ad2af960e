//! Products of a row with a matrix in eight bits in WebAssembly, whose compiler does not find the instructions that widen
//! codes by itself.
//!
//! Widening takes longer than reading would. So where a row of the matrix is multiplied by x, the numbers of x become
//! whole numbers of 16 bits, each block with the finest step that holds its largest: exact sums of whole products, with
//! an instruction for eight of them. It moves a result by about 1e-5 of what is usual for it, a hundredth of what the eight
//! bits of the matrix moved it.

#![allow(
    unsafe_code,
    reason = "inner loops without bounds checks; the lengths are checked for whole rows"
)]

use crate::raw::four::{Four, Whole};

/// Codes that are widened at a time.
const WIDE: usize = 16;
/// Rows of the matrix that are added at a time: the sum is read and written once for them.
const TOGETHER: usize = 8;

/// out\[j\] += x · row j; `block` codes share a scale.
///
/// # Panics
/// The lengths do not fit.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
pub fn add_dots(out: &mut [f32], x: &[f32], codes: &[i8], scales: &[f32], block: usize) {
    check(x.len(), out.len(), codes, scales, block);
    let blocks = x.len() / block;
    let (x, steps) = whole(x, block);
    for ((codes, scales), out) in codes
        .chunks_exact(x.len())
        .zip(scales.chunks_exact(blocks))
        .zip(out)
    {
        // SAFETY: x and the row consist of as many blocks as there are scales and steps.
        *out += match block {
            16 => unsafe { dot::<16>(&x, &steps, codes, scales) },
            _ => unsafe { dot::<32>(&x, &steps, codes, scales) },
        };
    }
}

/// The largest whole number of x.
const LARGEST: f32 = 32_767.0;

/// x as whole numbers, and what one is worth in each block. A block with a number that is not finite is worth NaN.
fn whole(x: &[f32], block: usize) -> (Vec<i16>, Vec<f32>) {
    let mut whole = Vec::with_capacity(x.len());
    let steps = x.chunks_exact(block).map(|x| {
        let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        // `max` passes over a NaN; a sum does not.
        let not_finite = x.iter().map(|x| x * 0.0).sum::<f32>();
        let inverse = if largest > 0.0 {
            LARGEST / largest
        } else {
            0.0
        };
        whole.extend(x.iter().map(|x| (x * inverse).round_ties_even() as i16));
        largest / LARGEST + not_finite
    });
    let steps = steps.collect();
    (whole, steps)
}

/// out += Σ x\[k\] · row k; `block` codes share a scale.
///
/// # Panics
/// The lengths do not fit.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "relaxed-simd"))]
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
/// x and `codes` have `B` elements for each of the steps and scales.
#[inline(always)]
unsafe fn dot<const B: usize>(x: &[i16], steps: &[f32], codes: &[i8], scales: &[f32]) -> f32 {
    let mut sums = Four::zero();
    let (mut x, mut codes) = (x.as_ptr(), codes.as_ptr());
    for (step, scale) in steps.iter().zip(scales) {
        let mut block = Whole::zero();
        for _ in 0..B / WIDE {
            // SAFETY: by contract; the pointers end one step behind the last element.
            block = unsafe { block.plus_products(x, codes) };
            x = x.wrapping_add(WIDE);
            codes = codes.wrapping_add(WIDE);
        }
        sums = sums.plus_product(Four::splat(step * scale), block.to_four());
    }
    let [a, b, c, d] = sums.to_array();
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
                // Half a step of x for every code, and rounding.
                let (_, steps) = whole(&x, block);
                for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let codes = codes[row * columns..][..columns].chunks(block);
                    let scales = &scales[row * (columns / block)..];
                    let bound =
                        codes
                            .zip(scales.iter().zip(&steps))
                            .map(|(codes, (scale, step))| {
                                let codes: f32 =
                                    codes.iter().map(|&code| f32::from(code).abs()).sum();
                                0.5 * step * scale.abs() * codes
                            });
                    let bound = bound.sum::<f32>() + 1e-5;
                    assert!(
                        (found - expected).abs() <= bound,
                        "{found}, {expected}, {bound}"
                    );
                }

                let (mut found, mut expected) = (numbers(columns), numbers(columns));
                let mut wide = vec![0.0; codes.len()];
                let mut expected_wide = wide.clone();
                widen(&mut wide, &codes, &scales, block);
                plain::widen(&mut expected_wide, &codes, &scales, block);
                assert_eq!(wide, expected_wide);

                let x = numbers(rows);
                add_rows(&mut found, &x, &codes, &scales, block);
                plain::add_rows(&mut expected, &x, &codes, &scales, block);
                close(&found, &expected, 1e-6);
            }
        }
    }

    fn close(found: &[f32], expected: &[f32], tolerance: f32) {
        let largest = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance * largest);
        }
    }

    #[test]
    fn numbers_that_are_none_stay_none() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = vec![0.5; 64];
            x[40] = bad;
            let mut out = [0.0; 2];
            add_dots(&mut out, &x, &[1; 128], &[1.0; 4], 32);
            assert!(out.iter().all(|out| out.is_nan()), "{bad}: {out:?}");
        }
    }
}
