//! Four bits a weight: codes into a fixed table, scaled by small blocks within larger ones.
//!
//! Blocks of 16 follow the weights more closely than larger ones; their factors are cheap because they have only
//! 8 bits and share a scale with 15 others. Half of the precision lost to four bits comes back by looking for the
//! factor that leaves the least error, instead of taking it from the largest weight.

use super::{half, scale};
use crate::Result;

/// Weights that share a block factor.
pub(super) const BLOCK: usize = 16;
/// Weights that share a scale.
pub(super) const SUPER_BLOCK: usize = 256;
/// The integers are up to 127², scales about as large as the weights.
const UNIT: f32 = 16384.0;

/// What the codes 0 to 15 stand for: the levels with the least squared error over blocks of 16 that are normal,
/// Laplace and uniformly distributed, each scaled as [`encode`] does (Lloyd's algorithm). Denser near zero, where
/// weights are, and not symmetric: a block whose largest weight is positive has a negative factor.
pub const CODEBOOK: [i8; 16] = [
    -127, -107, -83, -63, -47, -32, -19, -8, 2, 13, 24, 36, 50, 66, 86, 113,
];

/// The code nearest to `position / 2 - 128` and to everything up to the next half: all midpoints of the table are
/// multiples of one half.
const NEAREST: [u8; 512] = {
    let mut table = [0; 512];
    let mut position = 0;
    while position < 512 {
        let mut code = 0;
        // A midpoint times two is the sum of the two levels.
        while code < 15
            && position as i32 - 256 >= CODEBOOK[code] as i32 + CODEBOOK[code + 1] as i32
        {
            code += 1;
        }
        table[position] = code as u8;
        position += 1;
    }
    table
};

fn nearest(level: f32) -> u8 {
    NEAREST[((level + 128.0) * 2.0).clamp(0.0, 511.0) as usize]
}

/// Quantises a row.
pub(super) fn encode(
    row: &[f32],
    scales: &mut [u8],
    factors: &mut [u8],
    codes: &mut [u8],
) -> Result<()> {
    const BLOCKS: usize = SUPER_BLOCK / BLOCK;
    let supers = row
        .chunks(SUPER_BLOCK)
        .zip(factors.chunks_mut(BLOCKS))
        .zip(codes.chunks_mut(SUPER_BLOCK / 2));
    for (((values, factors), codes), stored) in supers.zip(scales.as_chunks_mut::<2>().0) {
        let mut steps = [0f32; BLOCKS];
        for (step, values) in steps.iter_mut().zip(values.chunks(BLOCK)) {
            *step = best_step(values);
        }
        let largest = steps
            .iter()
            .fold(0f32, |largest, step| largest.max(step.abs()));
        let nan = values.iter().fold(0f32, |sum, x| sum + x * 0.0);
        let scale = half((largest + nan) * UNIT / 127.0)?;
        *stored = scale.to_le_bytes();
        let unit = scale.to_f32() / UNIT;
        let blocks = values.chunks(BLOCK).zip(codes.chunks_mut(BLOCK / 2));
        for (((values, codes), factor), step) in blocks.zip(factors).zip(steps) {
            let chosen = best_factor(values, unit, step);
            *factor = chosen.cast_unsigned();
            let step = unit * f32::from(chosen);
            let inverse = if step == 0.0 { 0.0 } else { 1.0 / step };
            for (pair, code) in values.chunks(2).zip(codes) {
                let nibble = |at: usize| pair.get(at).map_or(0, |value| nearest(value * inverse));
                *code = nibble(0) | nibble(1) << 4;
            }
        }
    }
    Ok(())
}

/// Appends the values of a row.
pub(super) fn decode(
    columns: usize,
    scales: &[u8],
    factors: &[u8],
    codes: &[u8],
    values: &mut Vec<f32>,
) -> Result<()> {
    let end = values.len() + columns;
    let supers = factors
        .chunks(SUPER_BLOCK / BLOCK)
        .zip(codes.chunks(SUPER_BLOCK / 2));
    for ((factors, codes), &stored) in supers.zip(scales.as_chunks::<2>().0) {
        let scale = scale(stored)?;
        for (factor, codes) in factors.iter().zip(codes.chunks(BLOCK / 2)) {
            let factor = i16::from(factor.cast_signed());
            let levels = CODEBOOK.map(|level| scale * f32::from(factor * i16::from(level)) / UNIT);
            for code in codes {
                values.push(levels[usize::from(code & 15)]);
                values.push(levels[usize::from(code >> 4)]);
            }
        }
    }
    values.truncate(end);
    Ok(())
}

/// The step (weight of one unit of the table) with the least squared error.
fn best_step(values: &[f32]) -> f32 {
    let largest = values.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    let mut best = (f32::INFINITY, 0.0);
    for sign in [1.0, -1.0] {
        for candidate in 0..13 {
            // From a table that overhangs the largest weight to one that cuts it off.
            let step = sign * largest / 127.0 * (0.78 + 0.03 * candidate as f32);
            let inverse = 1.0 / step;
            let (mut across, mut square) = (0f32, 0f32);
            for value in values {
                let level = f32::from(CODEBOOK[usize::from(nearest(value * inverse))]);
                across += value * level;
                square += level * level;
            }
            // With these codes, the step of least squares; it explains this much of the values' square.
            let error = -across * across / square;
            if error < best.0 {
                best = (error, across / square);
            }
        }
    }
    best.1
}

/// The integer factor near `step` with the least squared error.
fn best_factor(values: &[f32], unit: f32, step: f32) -> i8 {
    if unit == 0.0 || step == 0.0 {
        return 0;
    }
    let centre = (step / unit).round();
    let mut best = (f32::INFINITY, 0);
    for shift in [0.0, -1.0, 1.0, -2.0, 2.0] {
        let factor = (centre + shift).clamp(-127.0, 127.0) as i8;
        let step = unit * f32::from(factor);
        if factor == 0 {
            continue;
        }
        let inverse = 1.0 / step;
        let error: f32 = values
            .iter()
            .map(|value| {
                let level = f32::from(CODEBOOK[usize::from(nearest(value * inverse))]);
                (value - step * level).powi(2)
            })
            .sum();
        if error < best.0 {
            best = (error, factor);
        }
    }
    let zero: f32 = values.iter().map(|value| value * value).sum();
    if zero <= best.0 { 0 } else { best.1 }
}
