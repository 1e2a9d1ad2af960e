//! Four bits a weight: codes into a fixed table, scaled by small blocks within larger ones.
//!
//! Blocks of 16 follow the weights more closely than larger ones; their factors are cheap because they too are codes
//! of four bits into a table, and share a scale with 15 others. Half of the precision lost to four bits comes back by
//! looking for the factors and the scale that leave the least error, instead of taking them from the largest weight.

pub use coca_kernels::CODEBOOK;
use half::f16;

use super::{half, scale};
use crate::Result;

/// Weights that share a block factor.
pub(super) const BLOCK: usize = 16;
/// Weights that share a scale.
pub(super) const SUPER_BLOCK: usize = 256;
/// The integers are up to 127², scales about as large as the weights.
const UNIT: f32 = 16384.0;

/// What the codes of block factors stand for. Close to each other near the largest, where the blocks of one scale are;
/// the others are for blocks beside an outlier, and zeros.
pub const FACTORS: [i8; 16] = [
    0, 50, 67, 79, 90, 101, 113, 127, -24, -50, -67, -79, -90, -101, -113, -127,
];

/// Scales that are tried, of the one that gives the largest block its own step.
const SCALES: [f32; 3] = [1.0, 0.95, 0.9];

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
    let supers = row
        .chunks(SUPER_BLOCK)
        .zip(factors.chunks_mut(SUPER_BLOCK / BLOCK / 2))
        .zip(codes.chunks_mut(SUPER_BLOCK / 2));
    for (((values, factors), codes), stored) in supers.zip(scales.as_chunks_mut::<2>().0) {
        let (scale, chosen) = best_factors(values)?;
        *stored = scale.to_le_bytes();
        let unit = scale.to_f32() / UNIT;
        for (pair, factor) in chosen.chunks(2).zip(factors) {
            *factor = pair[0] | pair.get(1).unwrap_or(&0) << 4;
        }
        let blocks = values.chunks(BLOCK).zip(codes.chunks_mut(BLOCK / 2));
        for ((values, codes), factor) in blocks.zip(chosen) {
            let inverse = inverse(unit * f32::from(FACTORS[usize::from(factor)]));
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
        .chunks(SUPER_BLOCK / BLOCK / 2)
        .zip(codes.chunks(SUPER_BLOCK / 2));
    for ((factors, codes), &stored) in supers.zip(scales.as_chunks::<2>().0) {
        let scale = scale(stored)?;
        let factors = factors.iter().flat_map(|pair| [pair & 15, pair >> 4]);
        for (factor, codes) in factors.zip(codes.chunks(BLOCK / 2)) {
            let factor = i16::from(FACTORS[usize::from(factor)]);
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

/// Appends the block scales of a row, which consists of whole blocks.
pub(super) fn steps(
    columns: usize,
    scales: &[u8],
    factors: &[u8],
    steps: &mut Vec<f32>,
) -> Result<()> {
    let end = steps.len() + columns / BLOCK;
    for (factors, &stored) in factors
        .chunks(SUPER_BLOCK / BLOCK / 2)
        .zip(scales.as_chunks::<2>().0)
    {
        let scale = scale(stored)?;
        let factors = factors.iter().flat_map(|pair| [pair & 15, pair >> 4]);
        // Exact: scales have 11 bits, factors 7.
        steps.extend(factors.map(|factor| scale * f32::from(FACTORS[usize::from(factor)]) / UNIT));
    }
    steps.truncate(end);
    Ok(())
}

/// The scale of these values, and the code of each block's factor, with the least squared error.
fn best_factors(values: &[f32]) -> Result<(f16, Vec<u8>)> {
    let largest = values
        .chunks(BLOCK)
        .map(|block| best_step(block).abs())
        .fold(0f32, f32::max);
    // `max` passes over a NaN; a sum does not.
    let nan = values.iter().fold(0f32, |sum, x| sum + x * 0.0);
    let mut best = (f32::INFINITY, f16::ZERO, Vec::new());
    for shrunk in SCALES {
        let scale = half((largest + nan) * shrunk * UNIT / 127.0)?;
        let unit = scale.to_f32() / UNIT;
        let (errors, chosen): (Vec<f32>, Vec<u8>) = values
            .chunks(BLOCK)
            .map(|block| best_factor(block, unit))
            .unzip();
        let error = errors.iter().sum();
        if best.2.is_empty() || error < best.0 {
            best = (error, scale, chosen);
        }
    }
    Ok((best.1, best.2))
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

/// The squared error of a block with the factor that leaves the least, and that factor's code.
fn best_factor(values: &[f32], unit: f32) -> (f32, u8) {
    let zero = values.iter().map(|value| value * value).sum();
    let mut best = (zero, 0);
    for (code, factor) in (0u8..).zip(FACTORS) {
        let step = unit * f32::from(factor);
        let inverse = inverse(step);
        if inverse == 0.0 {
            continue;
        }
        let error: f32 = values
            .iter()
            .map(|value| {
                let level = f32::from(CODEBOOK[usize::from(nearest(value * inverse))]);
                (value - step * level).powi(2)
            })
            .sum();
        if error < best.0 {
            best = (error, code);
        }
    }
    best
}

fn inverse(step: f32) -> f32 {
    if step == 0.0 { 0.0 } else { 1.0 / step }
}
