//! Three optimiser steps and the schedules against open_clip's (`golden_train` and `golden_sched` in
//! `tests/golden/make_golden.py`), and the parts of a batch against the whole.

use burn::tensor::Device;
use coca_model::weights::{LoadOptions, StateDict, load, save};
use coca_model::{Coca, LossWeights, ModelConfig};
use pollster::block_on;
use serde_json::Value;

use super::config::{OptimizerConfig, Schedule};
use super::gradients::gradients;
use super::{Optimizer, learning_rate};
use crate::data::Batch;

fn read(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/../../tests/golden/data/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}

fn tensors(name: &str) -> StateDict {
    StateDict::from_safetensors(read(name)).unwrap()
}

fn model(device: &Device) -> Coca {
    let config: ModelConfig =
        serde_json::from_value(json("model_tiny.json")["config"].clone()).unwrap();
    let weights: StateDict = tensors("model_tiny.safetensors")
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("w.")?.to_string(), tensor.clone())))
        .collect();
    load(
        Coca::new(&config, device).unwrap(),
        &weights,
        &LoadOptions::default(),
    )
    .unwrap()
}

/// One caption for each image, all in the contrastive loss.
fn batch(tensors: &StateDict, image: &str, text: &str) -> Batch {
    let (shape, pixels) = tensors.get_f32(image).unwrap();
    let ids = tensors.get(text).unwrap();
    let count = shape[0];
    let every: Vec<i32> = (0..count as i32).collect();
    Batch {
        step: 0,
        batch_size: count,
        pixels,
        ids: ids.bytes().chunks(8).map(|id| i32::from(id[0])).collect(),
        prefix_lengths: vec![1; count],
        image_index: every.clone(),
        weights: vec![1.0; count],
        contrastive_index: every.clone(),
        contrastive_targets: every,
        keys: vec![String::new(); count],
    }
}

fn scalar(tensor: burn::tensor::Tensor<1>) -> f64 {
    f64::from(tensor.into_scalar::<f32>())
}

fn close(actual: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (actual - expected).abs() / expected.abs().max(1e-12);
    assert!(error <= tolerance, "{what}: {actual}, expected {expected}");
}

#[test]
fn three_steps_of_adamw_equal_open_clip() {
    let (device, golden, log) = (
        Device::flex(),
        tensors("train_tiny.safetensors"),
        json("train_tiny.json"),
    );
    let config = OptimizerConfig {
        learning_rate: 1e-3,
        warmup: 2,
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-6,
        weight_decay: 0.2,
        clip_norm: 1.0,
        ..OptimizerConfig::default()
    };
    let (mut model, mut optimizer) = (model(&device), Optimizer::new(config));
    for step in 0..3 {
        let batch = batch(
            &golden,
            &format!("in.image.{step}"),
            &format!("in.text.{step}"),
        );
        let (losses, gradients) =
            gradients(&model, &batch, LossWeights::default(), 2, &device).unwrap();
        let expected = &log["log"][step as usize];
        let number = |name: &str| expected[name].as_f64().unwrap();
        let rate = learning_rate(&config, 20, step);
        close(rate, number("lr"), 1e-12, "learning rate");
        close(
            scalar(losses.contrastive.unwrap()),
            number("contrastive"),
            1e-5,
            "contrastive loss",
        );
        close(
            2.0 * scalar(losses.caption.unwrap()),
            number("caption_weighted"),
            1e-5,
            "captioning loss",
        );
        let norm = scalar(Optimizer::gradient_norm(&gradients).unwrap());
        close(norm, number("grad_norm_before_clip"), 1e-4, "gradient norm");
        model = optimizer.step(model, gradients, rate, 2).unwrap();
        close(
            scalar(model.log_logit_scale()),
            number("logit_scale"),
            1e-6,
            "logit scale",
        );
    }
    let weights = block_on(save(&model)).unwrap();
    for (name, _) in weights.iter() {
        let (ours, theirs) = (
            weights.get_f32(name).unwrap().1,
            golden.get_f32(&format!("w.{name}")).unwrap().1,
        );
        let largest = theirs
            .iter()
            .fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let error = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(
            error <= 1e-4 * largest.max(0.1),
            "{name}: {error} of {largest}"
        );
    }
}

#[test]
fn parts_of_a_batch_give_the_gradients_of_the_whole() {
    let (device, golden) = (Device::flex(), tensors("train_tiny.safetensors"));
    let model = model(&device);
    let mut batch = batch(&golden, "in.image.0", "in.text.0");
    // One image without a contrastive text, two that mean the same, a given prefix, a row without weight.
    batch.contrastive_index[1] = -1;
    batch.contrastive_targets[3] = 2;
    batch.prefix_lengths[0] = 5;
    batch.weights[1] = 0.0;
    let weights = LossWeights {
        contrastive: 1.0,
        caption: 2.0,
        language_model: 0.5,
    };
    let (whole_losses, whole) = gradients(&model, &batch, weights, 1, &device).unwrap();
    for threads in [2, 3, 4] {
        let (losses, parts) = gradients(&model, &batch, weights, threads, &device).unwrap();
        for (whole, part) in [
            (&whole_losses.contrastive, losses.contrastive),
            (&whole_losses.caption, losses.caption),
            (&whole_losses.language_model, losses.language_model),
        ] {
            close(
                scalar(part.unwrap()),
                scalar(whole.clone().unwrap()),
                1e-5,
                "loss",
            );
        }
        assert!(whole.keys().eq(parts.keys()));
        for (name, whole) in &whole {
            let largest = scalar(whole.clone().abs().max());
            let error = scalar((whole.clone() - parts[name].clone()).abs().max());
            assert!(
                error <= 1e-5 * largest.max(1e-2),
                "{name} on {threads} threads: {error} of {largest}"
            );
        }
    }
}

#[test]
fn schedules_equal_open_clip() {
    let golden = json("sched.json");
    let base = OptimizerConfig {
        learning_rate: 1e-3,
        warmup: 10,
        ..OptimizerConfig::default()
    };
    let cooldown = Schedule::ConstantCooldown {
        steps: 30,
        power: 1.5,
        end: 1e-5,
    };
    let cases = [
        (Schedule::Cosine, &golden["cosine"]),
        (Schedule::Constant, &golden["const"]),
        (cooldown, &golden["const_cooldown"]["lr"]),
    ];
    for (schedule, expected) in cases {
        let config = OptimizerConfig { schedule, ..base };
        for (step, expected) in expected.as_array().unwrap().iter().enumerate() {
            let rate = learning_rate(&config, 100, step as u64);
            close(
                rate,
                expected.as_f64().unwrap(),
                1e-9,
                &format!("{schedule:?} at step {step}"),
            );
        }
    }
}
