//! Layer normalisation of rows.

use super::simd::{sum, sum2, vectorised};

/// What the derivative needs of each row: its mean and 1 / standard deviation.
pub type Statistics = Vec<[f32; 2]>;

vectorised! {
    /// y = (x - mean) / √(variance + ε) · weight + bias, for rows of the weight's length.
    pub fn forward(
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        epsilon: f32,
        y: &mut [f32],
    ) -> Statistics {
        let width = weight.len();
        let mut statistics = Statistics::with_capacity(x.len() / width.max(1));
        for (x, y) in x.chunks_exact(width.max(1)).zip(y.chunks_exact_mut(width.max(1))) {
            let mean = sum(x, |x| x) / width as f32;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = 1.0 / (variance + epsilon).sqrt();
            statistics.push([mean, scale]);
            for ((y, &x), (&weight, &bias)) in y.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
                *y = (x - mean) * scale * weight + bias;
            }
        }
        statistics
    }
}

vectorised! {
    /// g, the gradient at y, becomes the gradient at x; the gradients at weight and bias are added to theirs.
    pub fn backward(
        x: &[f32],
        statistics: &[[f32; 2]],
        weight: &[f32],
        g: &mut [f32],
        weight_gradient: &mut [f32],
        bias_gradient: &mut [f32],
    ) {
        let width = weight.len();
        let share = 1.0 / width as f32;
        let rows = x.chunks_exact(width.max(1)).zip(g.chunks_exact_mut(width.max(1)));
        for ((x, g), &[mean, scale]) in rows.zip(statistics) {
            for ((dw, &x), &g) in weight_gradient.iter_mut().zip(x).zip(g.iter()) {
                *dw += g * ((x - mean) * scale);
            }
            for (db, &g) in bias_gradient.iter_mut().zip(g.iter()) {
                *db += g;
            }
            for (g, &weight) in g.iter_mut().zip(weight) {
                *g *= weight;
            }
            let mean_g = sum(g, |g| g) * share;
            let along = sum2(g, x, |g, x| g * (x - mean)) * scale * share;
            for (g, &x) in g.iter_mut().zip(x) {
                *g = (*g - mean_g - (x - mean) * scale * along) * scale;
            }
        }
    }
}
