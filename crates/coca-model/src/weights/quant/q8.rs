//! Eight bits a weight: symmetric, a scale for each block of 32.

use super::{half, scale};
use crate::Result;

/// Weights that share a scale.
pub(super) const BLOCK: usize = 32;
/// A power of two, so that scales are about as large as the weights: f16 has few digits below 6e-5.
const UNIT: f32 = 128.0;

/// Quantises a row.
pub(super) fn encode(row: &[f32], scales: &mut [u8], codes: &mut [u8]) -> Result<()> {
    let blocks = row.chunks(BLOCK).zip(codes.chunks_mut(BLOCK));
    for ((values, codes), stored) in blocks.zip(scales.as_chunks_mut::<2>().0) {
        // `max` would pass over a NaN; a sum does not.
        let largest = values.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let nan = values.iter().fold(0f32, |sum, x| sum + x * 0.0);
        let scale = half((largest + nan) * UNIT / 127.0)?;
        *stored = scale.to_le_bytes();
        let scale = scale.to_f32();
        let inverse = if scale > 0.0 { UNIT / scale } else { 0.0 };
        for (code, value) in codes.iter_mut().zip(values) {
            *code = ((value * inverse).round().clamp(-127.0, 127.0) as i8).cast_unsigned();
        }
    }
    Ok(())
}

/// Appends the values of a row.
pub(super) fn decode(scales: &[u8], codes: &[u8], values: &mut Vec<f32>) -> Result<()> {
    for (codes, &stored) in codes.chunks(BLOCK).zip(scales.as_chunks::<2>().0) {
        let step = scale(stored)? / UNIT;
        values.extend(
            codes
                .iter()
                .map(|code| step * f32::from(code.cast_signed())),
        );
    }
    Ok(())
}

/// Appends what a code is worth in each block.
pub(super) fn steps(scales: &[u8], into: &mut Vec<f32>) -> Result<()> {
    for &stored in scales.as_chunks::<2>().0 {
        into.push(scale(stored)? / UNIT);
    }
    Ok(())
}
