//! Muon (Jordan 2024): momentum made orthogonal, for the matrices inside blocks.

use burn::tensor::Tensor;

use super::Slots;
use crate::train::config::OptimizerConfig;

/// Coefficients of the quintic Newton–Schulz iteration, tuned for the steepest rise at zero.
const QUINTIC: (f64, f64, f64) = (3.4445, -4.7750, 2.0315);
/// Iterations; five bring all singular values into about 0.7 to 1.2.
const ITERATIONS: usize = 5;

/// Whether Muon applies: matrices that map activations to activations. Embeddings, queries and the projections at
/// either end stay with AdamW.
pub fn applies(name: &str, shape: &[usize]) -> bool {
    let inside = ["resblocks", "cross_attn", "attn_pool"]
        .iter()
        .any(|part| name.contains(part));
    shape.len() == 2 && inside && name.ends_with("weight")
}

/// What is subtracted from the parameter `name` of `shape`; `slots` hold its momentum.
pub fn change(
    config: &OptimizerConfig,
    name: &str,
    shape: &[usize],
    gradient: Tensor<1>,
    slots: &mut Slots,
    rate: f64,
) -> Tensor<1> {
    let first = slots
        .remove("first")
        .unwrap_or_else(|| gradient.zeros_like());
    let first = first * config.momentum + gradient.clone();
    slots.insert("first", first.clone());
    let ahead = gradient + first * config.momentum;
    let (stacked, count) = (stacked(name), shape.iter().product::<usize>());
    let matrices = ahead.reshape([stacked, shape[0] / stacked, shape[1]]);
    orthogonalise(matrices).reshape([count]) * rate
}

/// How many matrices a parameter stacks: queries, keys and values are projections of their own.
fn stacked(name: &str) -> usize {
    if name.ends_with("in_proj_weight") {
        3
    } else {
        1
    }
}

/// The nearest (semi-)orthogonal matrix of each of `x` `[n, rows, columns]`, roughly, scaled so that its
/// root-mean-square is that of an AdamW update (Liu et al. 2025, arXiv 2502.16982, equation 4).
fn orthogonalise(x: Tensor<3>) -> Tensor<3> {
    let [_, rows, columns] = x.dims();
    let tall = rows > columns;
    let mut x = if tall { x.swap_dims(1, 2) } else { x };
    let norm = x.clone().square().sum_dim(2).sum_dim(1).sqrt();
    x = x / (norm + 1e-7);
    let (a, b, c) = QUINTIC;
    for _ in 0..ITERATIONS {
        let gram = x.clone().matmul(x.clone().swap_dims(1, 2));
        let polynomial = gram.clone() * b + gram.clone().matmul(gram) * c;
        x = x.clone() * a + polynomial.matmul(x);
    }
    let x = if tall { x.swap_dims(1, 2) } else { x };
    x * (0.2 * (rows.max(columns) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn singular_values_come_close_to_one() {
        let device = Device::flex();
        for (rows, columns) in [(24, 8), (8, 24), (16, 16)] {
            let x =
                Tensor::<3>::random([2, rows, columns], Distribution::Normal(0.0, 3.0), &device);
            let scale = 0.2 * (rows.max(columns) as f64).sqrt();
            let y = orthogonalise(x) / scale;
            let small = if rows > columns {
                y.clone().swap_dims(1, 2).matmul(y)
            } else {
                y.clone().matmul(y.swap_dims(1, 2))
            };
            let trace: f32 = (small * Tensor::<2>::eye(rows.min(columns), &device).unsqueeze())
                .sum()
                .into_scalar();
            let mean = trace / (2 * rows.min(columns)) as f32;
            assert!(
                (0.5..1.5).contains(&mean),
                "{rows} x {columns}: mean squared singular value {mean}"
            );
        }
    }

    #[test]
    fn only_matrices_inside_blocks() {
        assert!(applies(
            "visual.transformer.resblocks.0.mlp.c_fc.weight",
            &[8, 2]
        ));
        assert!(applies("visual.attn_pool.attn.in_proj_weight", &[6, 2]));
        assert!(!applies("visual.transformer.resblocks.0.ln_1.weight", &[8]));
        assert!(!applies("text.token_embedding.weight", &[8, 2]));
        assert!(!applies("visual.attn_pool.query", &[8, 2]));
        assert!(!applies("visual.proj", &[8, 2]));
    }
}
