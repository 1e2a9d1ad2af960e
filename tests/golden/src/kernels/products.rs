//! Products of matrices.

use burn::tensor::{DType, Device};
use coca_kernels::{Activation, Input, Weight, linear, linear_activated};

use super::rows::normalised;
use super::{Checked, close, codes, kinds, poison, tensor, types, within};
use crate::Outcome;

/// The error function to 1e-15, by its series and its continued fraction.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a > 6.0 {
        return x.signum();
    }
    let value = if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..100 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let mut fraction = 0.0;
        for n in (1..200).rev() {
            fraction = f64::from(n) / 2.0 / (a + fraction);
        }
        1.0 - (-a * a).exp() / (a + fraction) / std::f64::consts::PI.sqrt()
    };
    value * x.signum()
}

fn activated(x: f64, activation: Option<Activation>) -> f64 {
    match activation {
        None => x,
        Some(Activation::Gelu) => x * (1.0 + erf(x / std::f64::consts::SQRT_2)) / 2.0,
        Some(Activation::QuickGelu) => x / (1.0 + (-1.702 * x).exp()),
    }
}

/// x W + bias in double precision, x `[.., width]`: `weight` is `[width, columns]` if the input is first, else `[columns,
/// width]` behind `first` rows of others.
fn product(
    x: &[f64],
    weight: &[f64],
    bias: Option<&[f64]>,
    [width, columns]: [usize; 2],
    input_first: bool,
    first: usize,
) -> Vec<f64> {
    let of_row = |x: &[f64]| {
        let sums = (0..columns).map(|column| {
            let products = x.iter().enumerate().map(|(k, x)| {
                x * match input_first {
                    true => weight[k * columns + column],
                    false => weight[(first + column) * width + k],
                }
            });
            products.sum::<f64>() + bias.map_or(0.0, |bias| bias[column])
        });
        sums.collect::<Vec<f64>>()
    };
    x.chunks_exact(width).flat_map(of_row).collect()
}

/// Products of every kind: shapes that are odd, narrow, wide and tall, with every fusion.
pub async fn products(device: &Device) -> Outcome<Checked> {
    let shapes = [
        (1, 1, 1),
        (1, 7, 5),
        (3, 33, 4),
        (1, 768, 192),
        (1, 2048, 10),
        (2, 130, 66),
        (4, 64, 1028),
        (7, 40, 33),
        (8, 64, 64),
        (50, 96, 200),
        (300, 20, 520),
        (65, 129, 63),
    ];
    let mut checked = Checked::default();
    for dtype in types(device) {
        for (at, (rows, width, columns)) in shapes.into_iter().enumerate() {
            for input_first in [false, true] {
                // Every fusion with several shapes, but not with all: compiling is most of the time.
                for fused in [at % 5, (at + 2) % 5] {
                    let what = format!(
                        "{rows}×{width} by {width}×{columns} ({dtype:?}, input first: {input_first}, fusions {fused})"
                    );
                    let (x, a) = tensor([1, rows, width], 1, dtype, device);
                    let shape = if input_first {
                        [width, columns]
                    } else {
                        [columns, width]
                    };
                    let (w, b) = tensor(shape, 2, dtype, device);
                    let (bias, c) = tensor([columns], 3, dtype, device);
                    let (residual, d) = tensor([1, rows, columns], 4, dtype, device);
                    let has_bias = matches!(fused, 1 | 3 | 4);
                    let activation = match fused {
                        3 => Some(Activation::Gelu),
                        4 => Some(Activation::QuickGelu),
                        _ => None,
                    };
                    // Small enough that an activation is more than the identity or 0.
                    let scale = if activation.is_some() { 0.125 } else { 1.0 };
                    let (x, a): (_, Vec<f64>) = (x * scale, a.iter().map(|a| a * scale).collect());
                    let bias_of = has_bias.then_some(&c[..]);
                    let sums = product(&a, &b, bias_of, [width, columns], input_first, 0);
                    let expected: Vec<f64> = sums
                        .into_iter()
                        .zip(&d)
                        .map(|(sum, d)| {
                            let sum = activated(sum, activation);
                            if fused == 2 { sum + d } else { sum }
                        })
                        .collect();
                    let weight = if input_first {
                        Weight::InputFirst(w)
                    } else {
                        Weight::OutputFirst(w)
                    };
                    let bias = has_bias.then_some(bias);
                    poison([1, rows, columns], dtype, device).await?;
                    let y = match activation {
                        Some(activation) => linear_activated(x, weight, bias, activation),
                        None => linear(x, weight, bias, (fused == 2).then_some(residual)),
                    };
                    checked.add(close(&what, y, &expected, dtype).await?);
                }
            }
        }
    }
    Ok(checked)
}

/// Products with matrices of eight and four bits, whole and by some of their rows.
pub async fn quantised_products(device: &Device) -> Outcome<Checked> {
    // Rows, the width that is summed over, results; from a row of the matrix.
    let shapes = [
        (1, 32, 32, 0),
        (1, 768, 192, 0),
        (1, 2048, 24, 0),
        (1, 48, 40, 0),
        (2, 64, 66, 0),
        (3, 96, 33, 31),
        (7, 128, 64, 64),
        (50, 64, 96, 0),
        (300, 32, 64, 0),
        (5, 33, 96, 0),
        (1, 70, 128, 0),
    ];
    let mut checked = Checked::default();
    // The browser's CPU multiplies in whole numbers, those of x in 16 bits.
    let whole = cfg!(target_arch = "wasm32") && *device == Device::flex();
    let tolerance = if whole { 5e-5 } else { 1e-5 };
    for (at, (rows, width, outputs, first)) in shapes.into_iter().enumerate() {
        for (bits, block) in kinds(device) {
            for input_first in [false, true] {
                let shape: [usize; 2] = if input_first {
                    [width, outputs]
                } else {
                    [first + outputs, width]
                };
                if !shape[1].is_multiple_of(block) {
                    continue;
                }
                let what = format!(
                    "{rows}×{width} by {width}×{outputs} of {bits} bits in blocks of {block} (input first: {input_first})"
                );
                let (w, b) = codes(shape, (bits, block), device)?;
                let (x, a) = tensor([1, rows, width], 1, DType::F32, device);
                let (bias, c) = tensor([outputs], 3, DType::F32, device);
                let (residual, d) = tensor([1, rows, outputs], 4, DType::F32, device);
                let fused = at % 2 == 0;
                let sums = product(&a, &b, Some(&c), [width, outputs], input_first, first);
                let expected: Vec<f64> = sums
                    .into_iter()
                    .zip(&d)
                    .map(|(sum, d)| if fused { sum + d } else { sum })
                    .collect();
                let weight = if input_first {
                    Weight::InputFirst(w)
                } else {
                    Weight::Rows(w, first..first + outputs)
                };
                poison([1, rows, outputs], DType::F32, device).await?;
                let y = linear(x, weight, Some(bias), fused.then_some(residual));
                checked.add(within(&what, y, &expected, tolerance).await?);
            }
        }
    }
    Ok(checked)
}

/// Products of few normalised rows, each in one kernel.
pub async fn normalised_products(device: &Device) -> Outcome<Checked> {
    let mut checked = Checked::default();
    for dtype in types(device) {
        for (rows, width, outputs) in [(1, 8, 5), (1, 768, 192), (2, 64, 66), (4, 516, 64)] {
            for input_first in [false, true] {
                let what = format!(
                    "{rows}×{width}, normalised, by {width}×{outputs} ({dtype:?}, input first: {input_first})"
                );
                let (x, a) = tensor([1, rows, width], 1, dtype, device);
                let (gamma, b) = tensor([width], 2, dtype, device);
                let (beta, c) = tensor([width], 3, dtype, device);
                let shape = if input_first {
                    [width, outputs]
                } else {
                    [outputs, width]
                };
                let (w, d) = tensor(shape, 4, dtype, device);
                let (bias, e) = tensor([outputs], 5, dtype, device);
                let a = normalised(&a, width, &b, &c);
                let expected = product(&a, &d, Some(&e), [width, outputs], input_first, 0);
                let weight = if input_first {
                    Weight::InputFirst(w)
                } else {
                    Weight::OutputFirst(w)
                };
                poison([1, rows, outputs], dtype, device).await?;
                let x = Input::normalised(x, gamma, beta, 1e-5);
                let y = linear(x, weight, Some(bias), None);
                checked.add(close(&what, y, &expected, dtype).await?);
            }
        }
    }
    Ok(checked)
}
