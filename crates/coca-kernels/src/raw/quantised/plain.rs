//! The loops as the compiler vectorises them on other processors.

use crate::raw::simd::{LANES, total, vectorised};

vectorised! {
    /// out\[j\] += x · row j.
    pub fn add_dots(out: &mut [f32], x: &[f32], codes: &[i8], scales: &[f32], block: usize) {
        let rows = codes.chunks_exact(x.len()).zip(scales.chunks_exact(x.len() / block));
        for ((codes, scales), out) in rows.zip(out) {
            *out += match block {
                16 => dot::<16>(x, codes, scales),
                _ => dot::<32>(x, codes, scales),
            };
        }
    }
}

/// Σ over blocks of scale · (x · codes), `B` a multiple of the lanes.
#[inline(always)]
fn dot<const B: usize>(x: &[f32], codes: &[i8], scales: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let blocks = x.as_chunks::<B>().0.iter().zip(codes.as_chunks::<B>().0);
    for ((x, codes), &scale) in blocks.zip(scales) {
        let mut block = [0.0; LANES];
        for at in (0..B).step_by(LANES) {
            for (lane, sum) in block.iter_mut().enumerate() {
                *sum += x[at + lane] * f32::from(codes[at + lane]);
            }
        }
        for (sum, block) in sums.iter_mut().zip(block) {
            *sum += scale * block;
        }
    }
    total(sums)
}

/// Rows of the matrix that are added at a time: the sum is read and written once for them.
const TOGETHER: usize = 8;

vectorised! {
    /// out += Σ x\[k\] · row k.
    pub fn add_rows(out: &mut [f32], x: &[f32], codes: &[i8], scales: &[f32], block: usize) {
        let (columns, blocks) = (out.len(), out.len() / block);
        let rows = codes.chunks(TOGETHER * columns).zip(scales.chunks(TOGETHER * blocks));
        for (x, (codes, scales)) in x.chunks(TOGETHER).zip(rows) {
            match (block, x.as_array()) {
                (16, Some(x)) => add_some::<16, TOGETHER>(out, x, codes, scales),
                (_, Some(x)) => add_some::<32, TOGETHER>(out, x, codes, scales),
                (_, None) => {
                    let rows = codes.chunks_exact(columns).zip(scales.chunks_exact(blocks));
                    for (&x, (codes, scales)) in x.iter().zip(rows) {
                        match block {
                            16 => add_some::<16, 1>(out, &[x], codes, scales),
                            _ => add_some::<32, 1>(out, &[x], codes, scales),
                        }
                    }
                }
            }
        }
    }
}

/// out += Σ x\[k\] · row k of `K` rows, block by block.
#[inline(always)]
fn add_some<const B: usize, const K: usize>(
    out: &mut [f32],
    x: &[f32; K],
    codes: &[i8],
    scales: &[f32],
) {
    let columns = out.len();
    for (at, out) in out.as_chunks_mut::<B>().0.iter_mut().enumerate() {
        for (k, x) in x.iter().enumerate() {
            let factor = x * scales[k * (columns / B) + at];
            let codes = &codes[k * columns + at * B..][..B];
            for (out, &code) in out.iter_mut().zip(codes) {
                *out += factor * f32::from(code);
            }
        }
    }
}

vectorised! {
    /// scale · code, block by block.
    pub fn widen(out: &mut [f32], codes: &[i8], scales: &[f32], block: usize) {
        let blocks = out.chunks_exact_mut(block).zip(codes.chunks_exact(block));
        for ((out, codes), &scale) in blocks.zip(scales) {
            for (out, codes) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(codes.as_chunks::<LANES>().0) {
                for (out, &code) in out.iter_mut().zip(codes) {
                    *out = scale * f32::from(code);
                }
            }
        }
    }
}
