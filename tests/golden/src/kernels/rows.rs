//! What is done to rows one by one: layer norms, and the look-up in tables.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use coca_kernels::{embedding, layer_norm};

use super::{Checked, close, codes, kinds, poison, tensor, types};
use crate::Outcome;

/// Rows of `width` in double precision, normalised.
pub(super) fn normalised(x: &[f64], width: usize, weight: &[f64], bias: &[f64]) -> Vec<f64> {
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

/// Rows of tables of eight and four bits.
pub async fn lookups(device: &Device) -> Outcome<Checked> {
    let mut checked = Checked::default();
    let shapes: [(usize, usize); 3] = [(5, 32), (300, 320), (9, 48)];
    for (rows, width, (bits, block)) in kinds(device)
        .into_iter()
        .flat_map(|kind| shapes.map(|(rows, width)| (rows, width, kind)))
    {
        if !width.is_multiple_of(block) {
            continue;
        }
        let (table, worth) = codes([rows, width], (bits, block), device)?;
        let ids: Vec<usize> = (0..6).map(|at| at * 7 % rows).collect();
        let expected: Vec<f64> = ids
            .iter()
            .flat_map(|&id| worth[id * width..(id + 1) * width].to_vec())
            .collect();
        let ids: Vec<i32> = ids.into_iter().map(|id| id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [2, 3]), device);
        poison([2, 3, width], DType::F32, device).await?;
        let found = embedding(table, ids);
        let what = format!("rows of {rows}×{width} of {bits} bits in blocks of {block}");
        checked.add(close(&what, found, &expected, DType::F32).await?);
    }
    Ok(checked)
}

/// The largest numbers of rows, some of which are equal, and of one that is spoilt.
pub async fn largest_of_rows(device: &Device) -> Outcome<Checked> {
    let mut checked = Checked::default();
    for dtype in types(device) {
        for (rows, width, count) in [(1, 5, 5), (3, 700, 4), (2, 49_408, 7)] {
            let what = format!("the {count} largest of {rows}×{width} ({dtype:?})");
            let (x, values) = tensor([rows, width], 6, dtype, device);
            let Some(found) = coca_kernels::largest(x, count).await else {
                continue;
            };
            let found = found.map_err(|error| format!("{what}: {error}"))?;
            for (row, found) in values.chunks_exact(width).zip(&found) {
                let mut sorted: Vec<(u32, f64)> = (0..).zip(row.iter().copied()).collect();
                sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                let expected: Vec<(u32, f32)> = sorted[..count]
                    .iter()
                    .map(|&(place, x)| (place, x as f32))
                    .collect();
                if found.found != expected || !found.is_finite {
                    return Err(format!("{what}: {found:?}, expected {expected:?}"));
                }
                let total = row.iter().map(|x| x.exp()).sum::<f64>().ln();
                let error = (f64::from(found.log_sum_exp) - total).abs() / total.abs().max(1.0);
                if error.is_nan() || error > 2e-6 {
                    return Err(format!(
                        "{what}: log-sum-exp {}, expected {total}",
                        found.log_sum_exp
                    ));
                }
                checked.error = checked.error.max(error as f32);
            }
            checked.calls += 1;
        }
    }
    for spoilt in [f32::NAN, f32::INFINITY] {
        let mut values = vec![0.5f32; 600];
        values[77] = spoilt;
        let x = Tensor::<2>::from_data(TensorData::new(values, [1, 600]), device);
        if let Some(found) = coca_kernels::largest(x, 2).await {
            checked.calls += 1;
            if found.map_err(|error| error.to_string())?[0].is_finite {
                return Err(format!("{spoilt} among numbers was not noticed"));
            }
        }
    }
    Ok(checked)
}
