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
    /// ln Σ e^x; -∞ of nothing.
    pub fn log_sum_exp(x: &[f32]) -> f64 {
        let highest = largest(x);
        if highest == f32::NEG_INFINITY {
            return f64::NEG_INFINITY;
        }
        // Sums of short parts, so that a long row loses no digits.
        let parts = x.chunks(PART).map(|part| f64::from(sum(part, |x| exp(x - highest))));
        f64::from(highest) + parts.sum::<f64>().ln()
    }
}

/// Numbers that are summed in single precision.
const PART: usize = 1024;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_of_sums_are_close() {
        for count in [0, 1, 15, 1000, 50_000] {
            for offset in [0.0, 1000.0, -1000.0] {
                let x: Vec<f32> = (0..count)
                    .map(|at| offset + 9.0 * (at as f32 * 0.7).sin())
                    .collect();
                let terms = x.iter().map(|&x| f64::from(x - offset).exp());
                let expected = f64::from(offset) + terms.sum::<f64>().ln();
                let actual = log_sum_exp(&x);
                assert!(
                    actual == expected || (actual - expected).abs() <= 1e-6,
                    "{count}, {offset}: {actual}, {expected}"
                );
            }
        }
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY; 3]), f64::NEG_INFINITY);
        assert!(log_sum_exp(&[0.0, f32::NAN]).is_nan());
    }
}
