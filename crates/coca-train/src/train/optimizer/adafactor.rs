//! Adafactor (Shazeer & Stern 2018, arXiv 1804.04235), as the CoCa paper trains: with momentum, and with the learning
//! rate given from outside instead of relative to the parameter's scale. Momentum applies to the finished update, as in
//! T5 and transformers.

use burn::tensor::Tensor;

use super::Slots;
use crate::train::config::OptimizerConfig;

/// Added to the squared gradient (the paper's ε₁).
const EPSILON: f64 = 1e-30;
/// The root mean square that an update may have (the paper's d).
const CLIP: f64 = 1.0;
/// The second moment's decay is 1 - t^this, up to `beta2`.
const DECAY: f64 = -0.8;

/// What is subtracted from a parameter of `shape` in its update number `update`, from 1. Of a matrix's second moment
/// `slots` hold the means of rows and columns; more dimensions are a stack of matrices.
pub fn change(
    config: &OptimizerConfig,
    shape: &[usize],
    gradient: Tensor<1>,
    slots: &mut Slots,
    update: u64,
    rate: f64,
) -> Tensor<1> {
    let count = shape.iter().product::<usize>();
    let decay = (1.0 - (update as f64).powf(DECAY)).min(config.beta2);
    let square = gradient.clone().square() + EPSILON;
    let mut mean = |slot: &'static str, new: Tensor<1>| {
        let mean = match slots.remove(slot) {
            Some(old) => old * decay + new * (1.0 - decay),
            None => new * (1.0 - decay),
        };
        slots.insert(slot, mean.clone());
        mean
    };
    let scaled = if let &[ref stack @ .., rows, columns] = shape {
        let stack = stack.iter().product::<usize>();
        let square = square.reshape([stack, rows, columns]);
        let row = mean("row", square.clone().mean_dim(2).reshape([stack * rows]));
        let column = mean("column", square.mean_dim(1).reshape([stack * columns]));
        let row: Tensor<3> = row.reshape([stack, rows, 1]);
        let row = (row.clone() / row.mean_dim(1)).sqrt().recip();
        let column: Tensor<3> = column.reshape([stack, 1, columns]).sqrt().recip();
        (gradient.reshape([stack, rows, columns]) * row * column).reshape([count])
    } else {
        mean("second", square).sqrt().recip() * gradient
    };
    let size = scaled.clone().square().mean().sqrt();
    let change = scaled / (size / CLIP).clamp_min(1.0) * rate;
    if config.beta1 == 0.0 {
        return change;
    }
    let first = match slots.remove("first") {
        Some(old) => old * config.beta1 + change * (1.0 - config.beta1),
        None => change * (1.0 - config.beta1),
    };
    slots.insert("first", first.clone());
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use serde_json::Value;

    fn floats(value: &Value) -> Vec<f32> {
        let number = |value: &Value| value.as_f64().unwrap() as f32;
        value.as_array().unwrap().iter().map(number).collect()
    }

    /// transformers' Adafactor: `python tests/golden/make_optimizer_golden.py tests/golden/data`.
    #[test]
    fn updates_equal_those_of_transformers() {
        let device = Device::flex();
        let tensor = |values: &[f32]| Tensor::<1>::from_data(TensorData::from(values), &device);
        let golden = crate::train::golden::json("optimizer.json");
        let cases = golden["adafactor"].as_array().unwrap();
        assert_eq!(cases.len(), 3);
        for case in cases {
            let number = |name: &str| case[name].as_f64().unwrap();
            let config = OptimizerConfig {
                beta1: number("beta1"),
                beta2: number("beta2"),
                ..OptimizerConfig::default()
            };
            for parameter in case["parameters"].as_array().unwrap() {
                let shape: Vec<usize> = serde_json::from_value(parameter["shape"].clone()).unwrap();
                let mut value = tensor(&floats(&parameter["start"]));
                let mut slots = Slots::new();
                let steps = parameter["gradients"].as_array().unwrap().iter();
                for (step, gradient) in steps.enumerate() {
                    let rate = case["rates"][step].as_f64().unwrap();
                    let gradient = tensor(&floats(gradient));
                    let update = step as u64 + 1;
                    let change = change(&config, &shape, gradient, &mut slots, update, rate);
                    value = value * (1.0 - rate * number("weight_decay")) - change;
                    let expected = tensor(&floats(&parameter["after"][step]));
                    let error: f32 = (value.clone() - expected).abs().max().into_scalar();
                    assert!(
                        error < 2e-6,
                        "{}, {shape:?}, update {update}: {error}",
                        case["name"]
                    );
                }
            }
        }
    }
}
