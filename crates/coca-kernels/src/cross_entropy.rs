//! Cross-entropy, and the logarithm of a sum of exponentials.

use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};

/// Σ -log softmax(row)\[label\] over the rows of `logits` `[n, classes]`, `[1]`.
///
/// # Panics
/// There are not n labels, or one is no class.
pub fn cross_entropy(logits: Tensor<2>, labels: &[u32]) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    assert!(
        rows == labels.len() && labels.iter().all(|&label| (label as usize) < classes),
        "a label below {classes} for each of {rows} rows"
    );
    #[cfg(feature = "flex")]
    {
        let input = [logits.clone().into_dispatch()];
        if crate::flex::fit(&input) {
            drop(logits);
            let [input] = input;
            let labels = labels.iter().map(|&label| label as usize).collect();
            return Tensor::from_dispatch(crate::flex::cross_entropy(input, labels));
        }
    }
    let ids: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::from(ids.as_slice()), &logits.device());
    -log_softmax(logits, 1).gather(1, ids.unsqueeze_dim(1)).sum()
}

/// ln Σ e^x, to about 1e-7 of the sum: what the log-probabilities of `x` lack. -∞ of nothing, NaN of NaN.
pub fn log_sum_exp(x: &[f32]) -> f64 {
    #[cfg(feature = "flex")]
    return crate::raw::cross_entropy::log_sum_exp(x);
    #[cfg(not(feature = "flex"))]
    {
        let highest = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let terms = x.iter().map(|&x| (f64::from(x) - highest).exp());
        highest + terms.sum::<f64>().ln()
    }
}
