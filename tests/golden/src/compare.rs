//! Comparing numbers.

use burn::tensor::Tensor;

use crate::{Golden, Outcome};

/// Reads a tensor back and compares it with the golden tensor `name`.
///
/// The error is relative to the largest expected magnitude, as the tolerances of the golden files are stated.
pub(crate) async fn tensor<const D: usize>(
    golden: &Golden,
    name: &str,
    actual: Tensor<D>,
    tolerance: f32,
) -> Outcome<f32> {
    let shape = actual.dims().to_vec();
    let data = actual
        .into_data_async()
        .await
        .map_err(|error| format!("{name}: {error}"))?;
    let actual: Vec<f32> = data
        .try_into_vec_as()
        .map_err(|error| format!("{name}: {error:?}"))?;
    let (expected_shape, expected) = golden.f32(name)?;
    if shape != expected_shape {
        return Err(format!(
            "{name}: shape {shape:?}, expected {expected_shape:?}"
        ));
    }
    values(name, &actual, &expected, tolerance)
}

/// Compares two lists; returns the largest error relative to the largest expected magnitude.
pub(crate) fn values(name: &str, actual: &[f32], expected: &[f32], tolerance: f32) -> Outcome<f32> {
    if actual.len() != expected.len() {
        return Err(format!(
            "{name}: {} values, expected {}",
            actual.len(),
            expected.len()
        ));
    }
    let magnitude = expected
        .iter()
        .fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let mut worst = (0.0_f32, 0);
    for (at, (a, e)) in actual.iter().zip(expected).enumerate() {
        let error = (a - e).abs() / magnitude;
        if error > worst.0 || error.is_nan() {
            worst = (error, at);
        }
    }
    if worst.0 <= tolerance {
        Ok(worst.0)
    } else {
        Err(format!(
            "{name}: error {:.2e} at {}, more than {tolerance:.0e} (found {}, expected {})",
            worst.0, worst.1, actual[worst.1], expected[worst.1]
        ))
    }
}
