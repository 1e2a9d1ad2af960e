//! Quantised matrices: a few bits a weight, in blocks along the rows that each have a scale.
//!
//! A tensor of shape `[R, ..]` is taken as a matrix of R rows and C columns, C being the product of the other
//! extents; blocks never cross rows, and the last block of a row may be short. Two types exist:
//!
//! | type | bits a weight | value of a weight |
//! |---|---|---|
//! | [`Dtype::Q8`](super::Dtype::Q8) | 8.5 | scale · code / 2⁷, a code of 8 bits, a scale for each 32 columns |
//! | [`Dtype::Q4`](super::Dtype::Q4) | 4.3125 | scale · [`FACTORS`]\[factor\] · [`CODEBOOK`]\[code\] / 2¹⁴, a code of 4 bits, a factor of 4 bits for each 16 columns, a scale for each 256 |
//!
//! Scales are f16. The product of the integers is exact, it is multiplied once by the scale in f32, and the
//! division is by a power of two: every reader gets the same bits.
//!
//! In a safetensors file such a tensor is several plain ones, the [`components`], which the header's metadata
//! puts together again. In memory their bytes follow each other.

mod plan;
mod q4;
mod q8;

pub(super) use plan::stored_as;
pub use q4::{CODEBOOK, FACTORS};

use std::ops::Range;

use burn::tensor::{Device, Tensor};

use super::Dtype;
use crate::{Error, Result};

/// A plain tensor that holds a part of a quantised one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    /// What follows the tensor's name.
    pub suffix: &'static str,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

/// The parts that a quantised tensor consists of, in the order in which they lie in memory. None if `dtype` is
/// not quantised, or if the shape has fewer than two axes or too many elements.
pub(super) fn components(dtype: Dtype, shape: &[usize]) -> Option<Vec<Component>> {
    let (&rows, rest) = shape.split_first().filter(|(_, rest)| !rest.is_empty())?;
    let columns = rest
        .iter()
        .try_fold(1usize, |product, &extent| product.checked_mul(extent))?;
    let component = |suffix, dtype: Dtype, columns| {
        dtype.bytes_of(&[rows, columns])?;
        Some(Component {
            suffix,
            dtype,
            shape: vec![rows, columns],
        })
    };
    match dtype {
        Dtype::Q8 => Some(vec![
            component(".q8_scale", Dtype::F16, columns.div_ceil(q8::BLOCK))?,
            component(".q8", Dtype::I8, columns)?,
        ]),
        Dtype::Q4 => {
            let blocks = columns.div_ceil(q4::BLOCK);
            Some(vec![
                component(".q4_scale", Dtype::F16, columns.div_ceil(q4::SUPER_BLOCK))?,
                component(".q4_block", Dtype::U8, blocks.div_ceil(2))?,
                component(".q4", Dtype::U8, blocks.checked_mul(q4::BLOCK / 2)?)?,
            ])
        }
        _ => None,
    }
}

/// Bytes of all components.
pub(super) fn bytes_of(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    components(dtype, shape)?.iter().try_fold(0usize, |sum, c| {
        sum.checked_add(c.dtype.bytes_of(&c.shape)?)
    })
}

/// The name without the suffix of a component.
pub(super) fn without_suffix(name: &str) -> &str {
    [".q8_scale", ".q8", ".q4_scale", ".q4_block", ".q4"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

/// Quantises `values`, row-major.
///
/// # Errors
/// A shape with fewer than two axes, and values that are not finite or beyond the scales' range.
pub(super) fn encode(dtype: Dtype, shape: &[usize], values: &[f32]) -> Result<Vec<u8>> {
    let layout = Layout::new(dtype, shape)?;
    if layout.columns.checked_mul(layout.rows) != Some(values.len()) {
        return Err(Error::Weights(format!(
            "{} values cannot have the shape {shape:?}",
            values.len()
        )));
    }
    let mut bytes = vec![0; layout.total()];
    let [first, rest] = split(&mut bytes, layout.sizes[0]);
    let [second, third] = split(rest, layout.sizes[1]);
    for row in 0..layout.rows {
        let row_of = |size: usize| row * (size / layout.rows)..(row + 1) * (size / layout.rows);
        let values = &values[row * layout.columns..(row + 1) * layout.columns];
        let scales = &mut first[row_of(layout.sizes[0])];
        if dtype == Dtype::Q8 {
            q8::encode(values, scales, &mut second[row_of(layout.sizes[1])])?;
        } else {
            let blocks = &mut second[row_of(layout.sizes[1])];
            q4::encode(values, scales, blocks, &mut third[row_of(layout.sizes[2])])?;
        }
    }
    Ok(bytes)
}

/// The f32 values of a quantised tensor.
///
/// # Errors
/// A number of bytes that does not fit the shape, and a scale that is not finite.
pub(super) fn decode(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Vec<f32>> {
    decode_rows(dtype, shape, bytes, 0..shape.first().copied().unwrap_or(0))
}

/// [`decode`] for some of the rows.
pub(super) fn decode_rows(
    dtype: Dtype,
    shape: &[usize],
    bytes: &[u8],
    rows: Range<usize>,
) -> Result<Vec<f32>> {
    let layout = Layout::new(dtype, shape)?;
    if layout.total() != bytes.len() {
        return Err(unfit_bytes(dtype, shape, bytes));
    }
    let rows = rows.start..rows.end.min(layout.rows);
    let mut values = Vec::with_capacity(rows.len() * layout.columns);
    let (first, rest) = bytes.split_at(layout.sizes[0]);
    let (second, third) = rest.split_at(layout.sizes[1]);
    for row in rows {
        let row_of = |size: usize| row * (size / layout.rows)..(row + 1) * (size / layout.rows);
        let scales = &first[row_of(layout.sizes[0])];
        if dtype == Dtype::Q8 {
            q8::decode(scales, &second[row_of(layout.sizes[1])], &mut values)?;
        } else {
            let blocks = &second[row_of(layout.sizes[1])];
            let codes = &third[row_of(layout.sizes[2])];
            q4::decode(layout.columns, scales, blocks, codes, &mut values)?;
        }
    }
    Ok(values)
}

/// A quantised matrix as the kernels take it: each weight is worth its code, or the code's level, times the scale of its
/// block.
pub(super) struct Matrix {
    pub codes: coca_kernels::Codes,
    pub scales: Vec<f32>,
    /// Neighbours in a row that share a scale.
    pub block: usize,
}

impl Matrix {
    /// The matrix `[rows, columns]` on a device that has kernels for it.
    ///
    /// # Errors
    /// It has none.
    pub fn on(self, shape: [usize; 2], device: &Device) -> Result<Tensor<2>> {
        let Self {
            codes,
            scales,
            block,
        } = self;
        coca_kernels::quantised(codes, scales, shape, block, device)
            .ok_or_else(|| Error::Weights(format!("no kernels for {shape:?} in blocks of {block}")))
    }
}

/// Whether a tensor is a quantised matrix whose rows consist of whole blocks.
pub(super) fn has_codes(dtype: Dtype, shape: &[usize]) -> bool {
    let (&[rows, columns], Some(block)) = (shape, block_of(dtype)) else {
        return false;
    };
    rows > 0 && columns > 0 && columns.is_multiple_of(block)
}

/// Neighbours in a row that share a scale or a factor.
fn block_of(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::Q8 => Some(q8::BLOCK),
        Dtype::Q4 => Some(q4::BLOCK),
        _ => None,
    }
}

/// The matrix as its codes. Four bits become eight without loss, by looking them up in their table, where the device has no
/// kernels for four.
///
/// # Errors
/// As [`decode`], and a tensor that [has none](has_codes).
pub(super) fn matrix(
    dtype: Dtype,
    shape: &[usize],
    mut bytes: Vec<u8>,
    four_bits: bool,
) -> Result<Matrix> {
    let layout = Layout::new(dtype, shape)?;
    let Some(block) = block_of(dtype).filter(|_| has_codes(dtype, shape)) else {
        return Err(Error::Weights(format!(
            "a {dtype} tensor of shape {shape:?} does not consist of whole blocks"
        )));
    };
    if layout.total() != bytes.len() {
        return Err(unfit_bytes(dtype, shape, &bytes));
    }
    let count = layout.rows * layout.columns;
    let mut scales = Vec::with_capacity(count / block);
    if dtype == Dtype::Q8 {
        // They are the codes, behind their scales.
        q8::steps(&bytes[..layout.sizes[0]], &mut scales)?;
        bytes.drain(..layout.sizes[0]);
        let codes = coca_kernels::Codes::Eight(bytes.into_iter().map(u8::cast_signed).collect());
        return Ok(Matrix {
            codes,
            scales,
            block,
        });
    }
    let (first, rest) = bytes.split_at(layout.sizes[0]);
    let second = &rest[..layout.sizes[1]];
    for row in 0..layout.rows {
        let row_of = |size: usize| row * (size / layout.rows)..(row + 1) * (size / layout.rows);
        let (of_row, factors) = (
            &first[row_of(layout.sizes[0])],
            &second[row_of(layout.sizes[1])],
        );
        q4::steps(layout.columns, of_row, factors, &mut scales)?;
    }
    // They are the codes, behind scales and factors.
    bytes.drain(..layout.sizes[0] + layout.sizes[1]);
    let codes = if four_bits {
        coca_kernels::Codes::Four(bytes)
    } else {
        // A GPU gets the scales behind the codes, which then need not move for them.
        let mut levels = Vec::with_capacity(count + 4 * (count / block));
        let nibbles = bytes.iter().flat_map(|code| [code & 15, code >> 4]);
        levels.extend(nibbles.map(|code| CODEBOOK[usize::from(code)]));
        coca_kernels::Codes::Eight(levels)
    };
    Ok(Matrix {
        codes,
        scales,
        block,
    })
}

fn unfit_bytes(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Error {
    Error::Weights(format!(
        "{} bytes cannot be a {dtype} tensor of shape {shape:?}",
        bytes.len()
    ))
}

/// Sizes of a quantised tensor.
struct Layout {
    rows: usize,
    columns: usize,
    /// Bytes of each component; 0 where there is none.
    sizes: [usize; 3],
}

impl Layout {
    fn new(dtype: Dtype, shape: &[usize]) -> Result<Self> {
        let unfit = || Error::Weights(format!("a tensor of shape {shape:?} cannot be {dtype}"));
        let parts = components(dtype, shape).ok_or_else(unfit)?;
        let mut sizes = [0; 3];
        for (size, part) in sizes.iter_mut().zip(&parts) {
            *size = part.dtype.bytes_of(&part.shape).ok_or_else(unfit)?;
        }
        Ok(Self {
            rows: shape.first().copied().unwrap_or(0),
            columns: shape.iter().skip(1).product(),
            sizes,
        })
    }

    fn total(&self) -> usize {
        self.sizes.iter().sum()
    }
}

fn split(bytes: &mut [u8], at: usize) -> [&mut [u8]; 2] {
    let (head, tail) = bytes.split_at_mut(at);
    [head, tail]
}

/// The f16 nearest to a scale. An error if the values that led to it are not finite or too large.
fn half(scale: f32) -> Result<half::f16> {
    let half = half::f16::from_f32(scale);
    if half.is_finite() {
        Ok(half)
    } else {
        Err(Error::Weights(
            "values that are not finite, or above 65000, cannot be quantised; use BF16 or F32"
                .into(),
        ))
    }
}

/// A stored scale as f32.
fn scale(bytes: [u8; 2]) -> Result<f32> {
    let scale = half::f16::from_le_bytes(bytes).to_f32();
    if scale.is_finite() {
        Ok(scale)
    } else {
        Err(Error::Weights(
            "a quantisation scale is not a finite number; the file is damaged".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Deterministic values that look like weights: about normal, standard deviation 0.05.
    fn weights(count: usize) -> Vec<f32> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..count)
            .map(|_| 0.1 * (0..4).map(|_| uniform()).sum::<f32>() / (4.0f32 / 3.0).sqrt() * 1.0)
            .collect()
    }

    fn relative_error(dtype: Dtype, shape: &[usize], values: &[f32]) -> f32 {
        let decoded = decode(dtype, shape, &encode(dtype, shape, values).unwrap()).unwrap();
        let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
        let error = squares(&mut values.iter().zip(&decoded).map(|(a, b)| a - b));
        (error / squares(&mut values.iter().copied())).sqrt()
    }

    #[test]
    fn components_have_the_documented_names_and_shapes() {
        let of = |dtype, shape: &[usize]| {
            let parts = components(dtype, shape).unwrap();
            parts
                .into_iter()
                .map(|part| format!("{} {}{:?}", part.suffix, part.dtype, part.shape))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of(Dtype::Q8, &[6, 40]),
            [".q8_scale F16[6, 2]", ".q8 I8[6, 40]"]
        );
        assert_eq!(
            of(Dtype::Q4, &[6, 3, 10, 9]),
            [
                ".q4_scale F16[6, 2]",
                ".q4_block U8[6, 9]",
                ".q4 U8[6, 136]"
            ]
        );
        assert_eq!(bytes_of(Dtype::Q4, &[1024, 256]), Some(1024 * 138));
        assert_eq!(bytes_of(Dtype::Q8, &[1024, 256]), Some(1024 * 272));
        for shape in [&[][..], &[5], &[2, usize::MAX], &[usize::MAX, 64]] {
            assert_eq!(components(Dtype::Q8, shape), None, "{shape:?}");
            assert_eq!(components(Dtype::Q4, shape), None, "{shape:?}");
        }
        assert_eq!(components(Dtype::F32, &[2, 2]), None);
        assert_eq!(without_suffix("a.weight.q4_scale"), "a.weight");
        assert_eq!(without_suffix("a.weight"), "a.weight");
    }

    /// The format's definition in bytes: what is stored here must be read so for ever.
    #[test]
    fn golden_q8() {
        // 1.5 · 127 / 128 = 1.488…, 1.5 · -64 / 128, 0.25 · 1 / 128
        let mut bytes = Vec::new();
        for scale in [1.5f32, 0.25] {
            bytes.extend(half::f16::from_f32(scale).to_le_bytes());
        }
        bytes.extend([127u8, 0xc0, 0]);
        bytes.resize(2 * 2 + 32, 0);
        bytes.extend([1u8, 0xff]);
        let values = decode(Dtype::Q8, &[1, 34], &bytes).unwrap();
        assert_eq!(values[..3], [1.488_281_2, -0.75, 0.0]);
        assert_eq!(values[32..], [0.25 / 128.0, -0.25 / 128.0]);
        assert_eq!(
            encode(Dtype::Q8, &[1, 2], &[1.0, -0.5]).unwrap(),
            [0x08, 0x3c, 127, 0xc0]
        );
    }

    #[test]
    fn golden_q4() {
        // Scale 2; block factors 5 (101) and 8 (-24); codes 0 (-127), 15 (113), 8 (2), 7 (-8).
        let mut bytes = half::f16::from_f32(2.0).to_le_bytes().to_vec();
        bytes.push(0x85);
        bytes.extend([0xf0, 0x78, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0x0f, 0, 0, 0, 0, 0, 0, 0]);
        let values = decode(Dtype::Q4, &[1, 18], &bytes).unwrap();
        let unit = 2.0 * 101.0 / 16384.0;
        assert_eq!(
            values[..4],
            [-127.0 * unit, 113.0 * unit, 2.0 * unit, -8.0 * unit]
        );
        let unit = 2.0 * -24.0 / 16384.0;
        assert_eq!(values[16..], [113.0 * unit, -127.0 * unit]);
        let encoded = encode(Dtype::Q4, &[1, 4], &values[..4]).unwrap();
        assert_eq!(
            encoded[3..],
            [0xf0, 0x78, 0, 0, 0, 0, 0, 0],
            "the same codes"
        );
        let again = decode(Dtype::Q4, &[1, 4], &encoded).unwrap();
        for (a, b) in again.iter().zip(&values) {
            assert!((a - b).abs() <= 0.002 * b.abs(), "{a} {b}");
        }
    }

    #[test]
    fn errors_are_those_of_the_number_of_bits() {
        let values = weights(64 * 512);
        let q8 = relative_error(Dtype::Q8, &[64, 512], &values);
        let q4 = relative_error(Dtype::Q4, &[64, 512], &values);
        assert!((0.003..0.007).contains(&q8), "{q8}");
        assert!((0.04..0.071).contains(&q4), "{q4}");
        // An outlier spoils its own neighbourhood only.
        let mut spiky = values;
        spiky.iter_mut().step_by(1000).for_each(|x| *x *= 40.0);
        assert!(relative_error(Dtype::Q4, &[64, 512], &spiky) < 0.1);
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for bad in [f32::NAN, f32::INFINITY, 1e6] {
            for dtype in [Dtype::Q8, Dtype::Q4] {
                assert!(
                    encode(dtype, &[1, 2], &[0.0, bad]).is_err(),
                    "{dtype} {bad}"
                );
            }
        }
        let nan = half::f16::NAN.to_le_bytes();
        assert!(decode(Dtype::Q8, &[1, 1], &[nan[0], nan[1], 1]).is_err());
        let mut q4 = nan.to_vec();
        q4.resize(2 + 1 + 8, 0);
        assert!(decode(Dtype::Q4, &[1, 1], &q4).is_err());
        assert!(decode(Dtype::Q4, &[1, 1], &q4[1..]).is_err());
        assert!(encode(Dtype::Q8, &[3, 3], &[0.0; 8]).is_err());
        assert!(encode(Dtype::Q8, &[3], &[0.0; 3]).is_err());
    }

    #[test]
    fn nothing_and_zeros_are_kept() {
        for dtype in [Dtype::Q8, Dtype::Q4] {
            for shape in [[0, 5], [5, 0], [3, 300]] {
                let zeros = vec![0.0; shape.iter().product()];
                let bytes = encode(dtype, &shape, &zeros).unwrap();
                assert_eq!(
                    decode(dtype, &shape, &bytes).unwrap(),
                    zeros,
                    "{dtype} {shape:?}"
                );
            }
        }
    }

    proptest! {
        /// Q8: half a step, of a block's largest value / 127. Q4: the search minimises the square over a block,
        /// which is at most what the widest gap of the table leaves; one value may pay for the others.
        #[test]
        fn errors_are_bounded(
            values in proptest::collection::vec(-3.0f32..3.0, 1..600),
            magnitude in -12i32..12,
            rows in 1usize..4,
        ) {
            let columns = values.len() / rows;
            prop_assume!(columns > 0);
            let values: Vec<f32> = values[..rows * columns].iter().map(|x| x * 2f32.powi(magnitude)).collect();
            for (dtype, shared, block, mean, each) in [(Dtype::Q8, 32, 1, 0.004, 0.004), (Dtype::Q4, 256, 16, 0.1, 0.4)] {
                let bytes = encode(dtype, &[rows, columns], &values).unwrap();
                let decoded = decode(dtype, &[rows, columns], &bytes).unwrap();
                for (a, b) in values.chunks(columns).zip(decoded.chunks(columns)) {
                    for (a, b) in a.chunks(shared).zip(b.chunks(shared)) {
                        let largest = a.iter().fold(0f32, |m, x| m.max(x.abs()));
                        for (a, b) in a.chunks(block).zip(b.chunks(block)) {
                            let errors: Vec<f32> = a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect();
                            let squares: f32 = errors.iter().map(|e| e * e).sum();
                            let root = (squares / errors.len() as f32).sqrt();
                            // Beside the steps, the rounding of the scales, and the smallest f16.
                            prop_assert!(root <= mean * 1.02 * largest + 1e-6, "{dtype}: {root}, largest {largest}: {a:?} {b:?}");
                            prop_assert!(errors.iter().all(|e| *e <= each * 1.02 * largest + 1e-6), "{dtype}: {a:?} {b:?}");
                        }
                    }
                }
            }
        }

        /// Codes and scales are worth the same numbers, to the last bit.
        #[test]
        fn codes_are_the_values(
            values in proptest::collection::vec(-3.0f32..3.0, 1..40),
            rows in 1usize..4,
            blocks in 1usize..12,
        ) {
            let columns = 32 * blocks;
            let values: Vec<f32> = values.into_iter().cycle().take(rows * columns).collect();
            for (dtype, four_bits) in [(Dtype::Q8, false), (Dtype::Q4, false), (Dtype::Q4, true)] {
                let shape = [rows, columns];
                let bytes = encode(dtype, &shape, &values).unwrap();
                let Matrix { codes, scales, block } =
                    matrix(dtype, &shape, bytes.clone(), four_bits).unwrap();
                let levels: Vec<i8> = match codes {
                    coca_kernels::Codes::Eight(codes) => codes,
                    coca_kernels::Codes::Four(codes) => codes
                        .iter()
                        .flat_map(|pair| [pair & 15, pair >> 4].map(|at| CODEBOOK[usize::from(at)]))
                        .collect(),
                };
                let worth: Vec<f32> = levels
                    .chunks(block)
                    .zip(&scales)
                    .flat_map(|(codes, scale)| codes.iter().map(move |&code| scale * f32::from(code)))
                    .collect();
                prop_assert_eq!(worth, decode(dtype, &shape, &bytes).unwrap());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            rows in 0usize..4,
            columns in 0usize..70,
        ) {
            for dtype in [Dtype::Q8, Dtype::Q4] {
                let _ = decode(dtype, &[rows, columns], &bytes);
                let _ = matrix(dtype, &[rows, columns], bytes.clone(), true);
                let mut fitting = bytes.clone();
                fitting.resize(bytes_of(dtype, &[rows, columns]).unwrap(), 0x5a);
                let _ = decode(dtype, &[rows, columns], &fitting);
                let _ = matrix(dtype, &[rows, columns], fitting, false);
            }
        }
    }
}
