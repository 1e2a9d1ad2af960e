//! The fused kernels against the same sums in double precision, on any device.
//!
//! What a kernel writes to is filled with NaN before: it is given memory that a tensor of its result's size has just
//! left, so that a kernel that does not run, or leaves a part out, cannot pass by what was there.

mod attention;
mod products;
mod rows;

pub use attention::{attentions, cached_attentions};
pub use products::{normalised_products, products, quantised_products};
pub use rows::{largest_of_rows, layer_norms, lookups};

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use coca_kernels::{BLOCKS, CODEBOOK, Codes, FOUR_BIT_BLOCK, keeps_four_bits, quantised};

use crate::Outcome;

/// What was checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// The largest error, relative to the largest magnitude of its result.
    pub error: f32,
    /// Calls, each of which starts one kernel where there are kernels.
    pub calls: usize,
}

impl Checked {
    fn add(&mut self, error: f32) {
        self.error = self.error.max(error);
        self.calls += 1;
    }
}

/// Largest error that a kernel may make, relative to the largest magnitude of its result.
fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F16 { 2e-3 } else { 1e-5 }
}

/// Numbers in ±2 that do not repeat, and that 16 bits hold exactly.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let numbers = (0..count).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 53) as f64 / 512.0 - 2.0
    });
    numbers.collect()
}

/// A tensor on the device and its numbers here.
fn tensor<const D: usize>(
    shape: [usize; D],
    seed: u64,
    dtype: DType,
    device: &Device,
) -> (Tensor<D>, Vec<f64>) {
    let values = numbers(shape.iter().product(), seed);
    let data = TensorData::new(values.clone(), shape);
    (Tensor::from_data(data, (device, dtype)), values)
}

/// Leaves NaN in the memory that tensors of this shape are given next.
async fn poison<const D: usize>(shape: [usize; D], dtype: DType, device: &Device) -> Outcome {
    let count = shape.iter().product::<usize>();
    let spoilt: Vec<Tensor<1>> = (0..2)
        .map(|_| {
            Tensor::from_data(
                TensorData::new(vec![f32::NAN; count], [count]),
                (device, dtype),
            )
        })
        .collect();
    for tensor in spoilt {
        tensor
            .into_data_async()
            .await
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn close<const D: usize>(
    what: &str,
    actual: Tensor<D>,
    expected: &[f64],
    dtype: DType,
) -> Outcome<f32> {
    within(what, actual, expected, tolerance(dtype)).await
}

async fn within<const D: usize>(
    what: &str,
    actual: Tensor<D>,
    expected: &[f64],
    tolerance: f64,
) -> Outcome<f32> {
    let data = actual
        .into_data_async()
        .await
        .map_err(|error| format!("{what}: {error}"))?;
    let actual: Vec<f32> = data
        .try_into_vec_as()
        .map_err(|error| format!("{what}: {error:?}"))?;
    if actual.len() != expected.len() {
        return Err(format!(
            "{what}: {} numbers, expected {}",
            actual.len(),
            expected.len()
        ));
    }
    let largest = expected.iter().fold(1e-30_f64, |a, b| a.max(b.abs()));
    let mut worst = 0.0_f64;
    for (at, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(actual) - expected).abs() / largest;
        if error.is_nan() || error > tolerance {
            return Err(format!(
                "{what}, element {at}: {actual}, expected {expected}; relative error {error:.1e}"
            ));
        }
        worst = worst.max(error);
    }
    Ok(worst as f32)
}

/// Number types to check: those that the device stores and has kernels for. The CPU's are for 32 bits; in 16 burn's
/// operations round between them, which the tolerance of one kernel does not allow for.
fn types(device: &Device) -> Vec<DType> {
    let mut types = vec![DType::F32];
    if *device != Device::flex() && device.supports_dtype(FloatDType::F16) {
        types.push(DType::F16);
    }
    types
}

/// Bits of a code and extent of a block.
type Kind = (u32, usize);

/// The kinds of quantised matrices that the device has kernels for.
fn kinds(device: &Device) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = BLOCKS.map(|block| (8, block)).to_vec();
    if keeps_four_bits(device) {
        kinds.push((4, FOUR_BIT_BLOCK));
    }
    kinds
}

/// A quantised matrix on the device, and what it is worth.
fn codes(
    shape: [usize; 2],
    (bits, block): Kind,
    device: &Device,
) -> Outcome<(Tensor<2>, Vec<f64>)> {
    let count = shape[0] * shape[1];
    let numbers_of_codes = numbers(count, 7);
    let (codes, levels): (_, Vec<i8>) = if bits == 4 {
        let places: Vec<u8> = numbers_of_codes
            .iter()
            .map(|x| ((x + 2.0) * 4.0) as u8 & 15)
            .collect();
        let pairs = places.chunks(2).map(|pair| pair[0] | pair[1] << 4);
        let levels = places.iter().map(|&place| CODEBOOK[usize::from(place)]);
        (Codes::Four(pairs.collect()), levels.collect())
    } else {
        let codes = numbers_of_codes.iter().map(|x| (x * 63.5).round() as i8);
        let codes: Vec<i8> = codes.collect();
        (Codes::Eight(codes.clone()), codes)
    };
    let scales: Vec<f32> = numbers(count / block, 8)
        .into_iter()
        .map(|x| x as f32 / 64.0)
        .collect();
    let worth = levels
        .chunks(block)
        .zip(&scales)
        .flat_map(|(codes, &scale)| {
            codes
                .iter()
                .map(move |&code| f64::from(scale) * f64::from(code))
        });
    let worth = worth.collect();
    let matrix = quantised(codes, scales, shape, block, device);
    matrix
        .map(|matrix| (matrix, worth))
        .ok_or_else(|| format!("{device:?} keeps no matrices of {bits} bits"))
}
