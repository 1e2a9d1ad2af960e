//! Attention.

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use coca_kernels::{
    Mask, Place, Tokens, attention, cached_attention, heads_attention, split_heads,
};

use super::{Checked, close, poison, tensor, types};
use crate::Outcome;

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
        (1, 2, 2, 300, 64),
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

/// Attention over a cache that grows: several tokens first, then one by one; some of the keys hidden, or only those to come.
pub async fn cached_attentions(device: &Device) -> Outcome<Checked> {
    let mut checked = Checked::default();
    for dtype in types(device) {
        for (batch, heads, width) in [(1, 3, 8), (2, 2, 5), (3, 4, 16)] {
            for gaps in [true, false] {
                let sizes = [batch, heads, width];
                cached_case(sizes, gaps, dtype, device, &mut checked).await?;
            }
        }
    }
    Ok(checked)
}

async fn cached_case(
    [batch, heads, width]: [usize; 3],
    gaps: bool,
    dtype: DType,
    device: &Device,
    checked: &mut Checked,
) -> Outcome<()> {
    let (row, capacity) = (heads * width, 9);
    let (packed, values) = tensor([batch, capacity - 1, 3 * row], 1, dtype, device);
    let [q, k, v] = [0, 1, 2].map(|part| columns(&values, 3 * row, part * row, row));
    let hidden = |b: usize, query: usize, key: usize| {
        key > query || gaps && key > 0 && key < query && (b + key).is_multiple_of(3)
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
            "{new} tokens behind {start}, {batch}×{heads}, width {width}, gaps {gaps} ({dtype:?})"
        );
        let marks: Vec<bool> = (0..batch * new * capacity)
            .map(|at| {
                let (b, query, key) = (at / (new * capacity), at / capacity % new, at % capacity);
                hidden(b, start + query, key)
            })
            .collect();
        let mask = if gaps {
            let data = TensorData::new(marks, [batch, 1, new, capacity]);
            Mask::Hidden(Tensor::<4, Bool>::from_data(data, device))
        } else {
            Mask::Causal
        };
        let expected: Vec<f64> = all
            .chunks_exact((capacity - 1) * row)
            .flat_map(|of_batch| of_batch[start * row..(start + new) * row].to_vec())
            .collect();
        let tokens = packed.clone().narrow(1, start, new);
        poison([batch, new, row], dtype, device).await?;
        let y = cached_attention(tokens, [&mut keys, &mut values], Place::Known(start, mask));
        checked.add(close(&what, y, &expected, dtype).await?);
        start += new;
    }
    Ok(())
}
