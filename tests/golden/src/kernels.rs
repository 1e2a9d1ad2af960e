//! The fused kernels against the same sums in double precision, on any device.
//!
//! What a kernel writes to is filled with NaN before: it is given memory that a tensor of its result's size has just
//! left, so that a kernel that does not run, or leaves a part out, cannot pass by what was there.

use burn::tensor::{Bool, DType, Device, FloatDType, Int, Tensor, TensorData};
use coca_kernels::{
    Activation, BLOCKS, Input, Mask, Tokens, Weight, attention, cached_attention, embedding,
    heads_attention, layer_norm, linear, linear_activated, quantised, split_heads,
};

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

/// Number types to check: those that the device stores and has kernels for. The CPU's are for 32 bits; in 16 burn's
/// operations round between them, which the tolerance of one kernel does not allow for.
fn types(device: &Device) -> Vec<DType> {
    let mut types = vec![DType::F32];
    if *device != Device::flex() && device.supports_dtype(FloatDType::F16) {
        types.push(DType::F16);
    }
    types
}

/// Products of every kind: shapes that are odd, narrow, wide and tall, with every fusion.
pub async fn products(device: &Device) -> Outcome<Checked> {
    let shapes = [
        (1, 1, 1),
        (1, 7, 5),
        (3, 33, 4),
        (1, 768, 192),
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
                    let expected: Vec<f64> = (0..rows * columns)
                        .map(|at| {
                            let (row, column) = (at / columns, at % columns);
                            let sum: f64 = (0..width)
                                .map(|k| {
                                    let weight = if input_first {
                                        b[k * columns + column]
                                    } else {
                                        b[column * width + k]
                                    };
                                    a[row * width + k] * weight
                                })
                                .sum();
                            let sum = if has_bias { sum + c[column] } else { sum };
                            let sum = activated(sum, activation);
                            if fused == 2 { sum + d[at] } else { sum }
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

/// A matrix of eight bits on the device, and what it is worth.
fn codes(shape: [usize; 2], block: usize, device: &Device) -> Outcome<(Tensor<2>, Vec<f64>)> {
    let count = shape[0] * shape[1];
    let codes: Vec<i8> = numbers(count, 7)
        .into_iter()
        .map(|x| (x * 63.5).round() as i8)
        .collect();
    let scales: Vec<f32> = numbers(count / block, 8)
        .into_iter()
        .map(|x| x as f32 / 64.0)
        .collect();
    let worth = codes
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
        .ok_or_else(|| format!("{device:?} keeps no matrices of eight bits"))
}

/// Products with matrices of eight bits, whole and by some of their rows, and the look-up of rows.
pub async fn quantised_products(device: &Device) -> Outcome<Checked> {
    // Rows, the width that is summed over, results; from a row of the matrix.
    let shapes = [
        (1, 32, 32, 0),
        (1, 768, 192, 0),
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
        for block in BLOCKS {
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
                    "{rows}×{width} by {width}×{outputs} in blocks of {block} (input first: {input_first})"
                );
                let (w, b) = codes(shape, block, device)?;
                let (x, a) = tensor([1, rows, width], 1, DType::F32, device);
                let (bias, c) = tensor([outputs], 3, DType::F32, device);
                let (residual, d) = tensor([1, rows, outputs], 4, DType::F32, device);
                let fused = at % 2 == 0;
                let expected: Vec<f64> = (0..rows * outputs)
                    .map(|at| {
                        let (row, output) = (at / outputs, at % outputs);
                        let products = (0..width).map(|k| {
                            let weight = if input_first {
                                b[k * outputs + output]
                            } else {
                                b[(first + output) * width + k]
                            };
                            a[row * width + k] * weight
                        });
                        let sum = products.sum::<f64>() + c[output];
                        if fused { sum + d[at] } else { sum }
                    })
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

/// Rows of tables of eight bits.
pub async fn lookups(device: &Device) -> Outcome<Checked> {
    let mut checked = Checked::default();
    for (rows, width, block) in [(5, 32, 32), (300, 320, 16), (9, 48, 16)] {
        let (table, worth) = codes([rows, width], block, device)?;
        let ids: Vec<usize> = (0..6).map(|at| at * 7 % rows).collect();
        let expected: Vec<f64> = ids
            .iter()
            .flat_map(|&id| worth[id * width..(id + 1) * width].to_vec())
            .collect();
        let ids: Vec<i32> = ids.into_iter().map(|id| id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [2, 3]), device);
        poison([2, 3, width], DType::F32, device).await?;
        let found = embedding(table, ids);
        let what = format!("rows of {rows}×{width} in blocks of {block}");
        checked.add(close(&what, found, &expected, DType::F32).await?);
    }
    Ok(checked)
}

/// Rows of `width` in double precision, normalised.
fn normalised(x: &[f64], width: usize, weight: &[f64], bias: &[f64]) -> Vec<f64> {
    x.chunks_exact(width)
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / width as f64;
            let squares = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            let factor = 1.0 / (squares / width as f64 + 1e-5).sqrt();
            let cells = row.iter().zip(weight).zip(bias);
            cells.map(move |((x, b), c)| (x - mean) * factor * b + c)
        })
        .collect()
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
                let expected: Vec<f64> = (0..rows * outputs)
                    .map(|at| {
                        let (row, output) = (at / outputs, at % outputs);
                        let products = (0..width).map(|k| {
                            let weight = if input_first {
                                d[k * outputs + output]
                            } else {
                                d[output * width + k]
                            };
                            a[row * width + k] * weight
                        });
                        products.sum::<f64>() + e[output]
                    })
                    .collect();
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

/// Attention over a cache that grows: several tokens first, then one by one, with some of them hidden.
pub async fn cached_attentions(device: &Device) -> Outcome<Checked> {
    let mut checked = Checked::default();
    for dtype in types(device) {
        for (batch, heads, width) in [(1, 3, 8), (2, 2, 5), (3, 4, 16)] {
            let (row, capacity) = (heads * width, 9);
            let (packed, values) = tensor([batch, capacity - 1, 3 * row], 1, dtype, device);
            let [q, k, v] = [0, 1, 2].map(|part| columns(&values, 3 * row, part * row, row));
            let hidden = |b: usize, query: usize, key: usize| {
                key > query || key > 0 && key < query && (b + key).is_multiple_of(3)
            };
            let case = Case {
                batch,
                heads,
                queries: capacity - 1,
                keys: capacity - 1,
                width,
            };
            let all = case.expected([&q, &k, &v], hidden);
            let empty = || {
                let spoilt = vec![f32::NAN; batch * row * capacity];
                let data = TensorData::new(spoilt, [batch, heads, capacity, width]);
                Tensor::<4>::from_data(data, (device, dtype))
            };
            let (mut keys, mut values) = (empty(), empty());
            let mut start = 0;
            for new in [3, 1, 1, 2, 1] {
                let what = format!(
                    "{new} tokens behind {start}, {batch}×{heads}, width {width} ({dtype:?})"
                );
                let marks: Vec<bool> = (0..batch * new * capacity)
                    .map(|at| {
                        let (b, query, key) =
                            (at / (new * capacity), at / capacity % new, at % capacity);
                        hidden(b, start + query, key)
                    })
                    .collect();
                let data = TensorData::new(marks, [batch, 1, new, capacity]);
                let mask = Mask::Hidden(Tensor::<4, Bool>::from_data(data, device));
                let expected: Vec<f64> = all
                    .chunks_exact((capacity - 1) * row)
                    .flat_map(|of_batch| of_batch[start * row..(start + new) * row].to_vec())
                    .collect();
                let tokens = packed.clone().narrow(1, start, new);
                poison([batch, new, row], dtype, device).await?;
                let y = cached_attention(tokens, [&mut keys, &mut values], start, mask);
                checked.add(close(&what, y, &expected, dtype).await?);
                start += new;
            }
        }
    }
    Ok(checked)
}

/// Normalised rows of every kind of width.
pub async fn layer_norms(device: &Device) -> Outcome<Checked> {
    let mut checked = Checked::default();
    for dtype in types(device) {
        for (batch, rows, width) in [(1, 1, 3), (2, 3, 5), (1, 9, 16), (3, 7, 33), (1, 50, 768)] {
            let what = format!("layer norm of {batch}×{rows}×{width} ({dtype:?})");
            let (x, a) = tensor([batch, rows, width], 1, dtype, device);
            let (weight, b) = tensor([width], 2, dtype, device);
            let (bias, c) = tensor([width], 3, dtype, device);
            let expected = normalised(&a, width, &b, &c);
            poison([batch, rows, width], dtype, device).await?;
            let y = layer_norm(x, weight, bias, 1e-5);
            checked.add(close(&what, y, &expected, dtype).await?);
        }
    }
    Ok(checked)
}

/// One attention to check.
struct Case {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    width: usize,
}

impl Case {
    /// softmax(Q Kᵀ / √width) V on `[batch, tokens, heads · width]`.
    fn expected(
        &self,
        [q, k, v]: [&[f64]; 3],
        hidden: impl Fn(usize, usize, usize) -> bool,
    ) -> Vec<f64> {
        let row = self.heads * self.width;
        let mut y = vec![0.0; self.batch * self.queries * row];
        for b in 0..self.batch {
            for query in 0..self.queries {
                for head in 0..self.heads {
                    let from_q = (b * self.queries + query) * row + head * self.width;
                    let from_k = |key: usize| (b * self.keys + key) * row + head * self.width;
                    let scores: Vec<Option<f64>> = (0..self.keys)
                        .map(|key| {
                            let sum: f64 = (0..self.width)
                                .map(|c| q[from_q + c] * k[from_k(key) + c])
                                .sum();
                            (!hidden(b, query, key)).then_some(sum / (self.width as f64).sqrt())
                        })
                        .collect();
                    let largest = scores
                        .iter()
                        .flatten()
                        .fold(f64::NEG_INFINITY, |a, &b| a.max(b));
                    let parts: Vec<f64> = scores
                        .iter()
                        .map(|score| score.map_or(0.0, |score| (score - largest).exp()))
                        .collect();
                    let sum: f64 = parts.iter().sum();
                    for c in 0..self.width {
                        y[from_q + c] = (0..self.keys)
                            .map(|key| parts[key] / sum * v[from_k(key) + c])
                            .sum();
                    }
                }
            }
        }
        y
    }
}

/// The columns `first..first + count` of rows of `width`.
fn columns(values: &[f64], width: usize, first: usize, count: usize) -> Vec<f64> {
    values
        .chunks_exact(width)
        .flat_map(|row| row[first..first + count].to_vec())
        .collect()
}

/// Attention on every arrangement of queries, keys and values, and every mask.
pub async fn attentions(device: &Device) -> Outcome<Checked> {
    let cases = [
        (1, 1, 1, 1, 4),
        (2, 3, 5, 5, 7),
        (1, 12, 50, 50, 64),
        (2, 2, 3, 17, 8),
        (1, 4, 1, 24, 16),
        (3, 1, 9, 9, 33),
    ];
    let mut checked = Checked::default();
    for dtype in types(device) {
        for (batch, heads, queries, keys, width) in cases {
            let case = Case {
                batch,
                heads,
                queries,
                keys,
                width,
            };
            let row = heads * width;
            let name =
                format!("attention {batch}×{heads}×{queries}×{keys}, width {width} ({dtype:?})");
            let (q, a) = tensor([batch, queries, row], 1, dtype, device);
            let (kv, b) = tensor([batch, keys, 2 * row], 2, dtype, device);
            let (k, v) = (columns(&b, 2 * row, 0, row), columns(&b, 2 * row, row, row));
            let nothing = |_: usize, _: usize, _: usize| false;
            let future = |_: usize, query: usize, key: usize| key + queries > query + keys;
            // Every query sees the first key.
            let marked =
                |b: usize, query: usize, key: usize| key > 0 && (b + query + key).is_multiple_of(3);
            let marks: Vec<bool> = (0..batch * queries * keys)
                .map(|at| marked(at / (queries * keys), at / keys % queries, at % keys))
                .collect();
            let marks = || {
                let data = TensorData::new(marks.clone(), [batch, 1, queries, keys]);
                Mask::Hidden(Tensor::<4, Bool>::from_data(data, device))
            };
            let plain = case.expected([&a, &k, &v], nothing);
            let past = case.expected([&a, &k, &v], future);
            let some = case.expected([&a, &k, &v], marked);
            let masks = || {
                [
                    (Mask::None, &plain),
                    (Mask::Causal, &past),
                    (marks(), &some),
                ]
            };
            for (mask, expected) in masks() {
                let what = format!(
                    "{name}, {}",
                    match &mask {
                        Mask::None => "all seen",
                        Mask::Causal => "the past seen",
                        Mask::Hidden(_) => "some hidden",
                    }
                );
                let out = [batch, queries, row];
                poison(out, dtype, device).await?;
                let y = attention(Tokens::Cross(q.clone(), kv.clone()), heads, mask.clone());
                checked.add(close(&format!("{what}, crossed"), y, expected, dtype).await?);

                let part = |at: usize| kv.clone().narrow(2, at * row, row);
                poison(out, dtype, device).await?;
                let y = attention(
                    Tokens::Separate(q.clone(), part(0), part(1)),
                    heads,
                    mask.clone(),
                );
                checked.add(close(&format!("{what}, separate"), y, expected, dtype).await?);

                poison(out, dtype, device).await?;
                let [q, k, v] = [q.clone(), part(0), part(1)].map(|x| split_heads(x, heads));
                let y = heads_attention(q, k, v, mask.clone());
                checked.add(close(&format!("{what}, split"), y, expected, dtype).await?);

                if queries == keys {
                    let packed = Tensor::cat(vec![q_joined(&case, device, dtype), kv.clone()], 2);
                    poison(out, dtype, device).await?;
                    let y = attention(Tokens::Packed(packed), heads, mask);
                    checked.add(close(&format!("{what}, packed"), y, expected, dtype).await?);
                }
            }
            // One set of queries for all sequences.
            let (q, a) = tensor([1, queries, row], 5, dtype, device);
            let a = a.repeat(batch);
            let expected = case.expected([&a, &k, &v], nothing);
            poison([batch, queries, row], dtype, device).await?;
            let y = attention(Tokens::Cross(q, kv), heads, Mask::None);
            checked.add(close(&format!("{name}, shared queries"), y, &expected, dtype).await?);
        }
    }
    Ok(checked)
}

/// The queries of a case again.
fn q_joined(case: &Case, device: &Device, dtype: DType) -> Tensor<3> {
    let shape = [case.batch, case.queries, case.heads * case.width];
    tensor(shape, 1, dtype, device).0
}
