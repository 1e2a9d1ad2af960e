//! Cross-entropy of rows of logits against one label each.

use super::simd::{exp, largest, sum, vectorised};

vectorised! {
    /// Σ -log softmax(row)\[label\], and each row's logarithm of Σ e^logit.
    pub fn forward(logits: &[f32], labels: &[usize]) -> (f32, Vec<f32>) {
        let width = logits.len() / labels.len().max(1);
        let mut loss = 0.0_f64;
        let mut normalisers = Vec::with_capacity(labels.len());
        for (row, &label) in logits.chunks_exact(width.max(1)).zip(labels) {
            let highest = largest(row);
            let normaliser = highest + sum(row, |x| exp(x - highest)).ln();
            loss += f64::from(normaliser - row[label]);
            normalisers.push(normaliser);
        }
        (loss as f32, normalisers)
    }
}

vectorised! {
    /// The logits become their gradient: scale · (softmax(row) - 1 at the label).
    pub fn backward(logits: &mut [f32], normalisers: &[f32], labels: &[usize], scale: f32) {
        let width = logits.len() / labels.len().max(1);
        let rows = logits.chunks_exact_mut(width.max(1)).zip(normalisers);
        for ((row, &normaliser), &label) in rows.zip(labels) {
            for x in row.iter_mut() {
                *x = exp(*x - normaliser) * scale;
            }
            row[label] -= scale;
        }
    }
}
