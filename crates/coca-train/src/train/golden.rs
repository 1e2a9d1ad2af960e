//! Three optimiser steps and the schedules against open_clip's (`golden_train` and `golden_sched` in
//! `tests/golden/make_golden.py`), and the parts of a batch against the whole.

use burn::tensor::Device;
use coca_model::weights::{LoadOptions, StateDict, load, save};
use coca_model::{Coca, LossWeights, ModelConfig};
use pollster::block_on;
use serde_json::Value;

use super::collective::Exchange;
use super::config::{FreezeConfig, OptimizerConfig, Precision, Schedule};
use super::gradients::{BatchLosses, Plan, gradients};
use super::parameters::Parameters;
use super::patch_dropout::PatchDropout;
use super::weights::NamedTensors;
use super::{Optimizer, learning_rate};
use crate::data::Batch;

fn read(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/../../tests/golden/data/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

/// A golden file.
pub fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}

fn tensors(name: &str) -> StateDict {
    StateDict::from_safetensors(read(name)).unwrap()
}

/// The model of the golden files.
pub fn model(device: &Device) -> Coca {
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

/// The first eight images of the golden files in one batch: one has no contrastive text, two mean the same, one has a
/// given prefix and one a row without weight.
pub fn uneven_batch() -> Batch {
    let golden = tensors("train_tiny.safetensors");
    let mut all = batch(&golden, "in.image.0", "in.text.0");
    let more = batch(&golden, "in.image.1", "in.text.1");
    all.batch_size += more.batch_size;
    all.pixels.extend(more.pixels);
    all.ids.extend(more.ids);
    all.prefix_lengths.extend(more.prefix_lengths);
    all.weights.extend(more.weights);
    all.keys.extend(more.keys);
    all.image_index = (0..8).collect();
    all.contrastive_index = (0..8).collect();
    all.contrastive_targets = (0..8).collect();
    all.contrastive_index[1] = -1;
    all.contrastive_targets[6] = 2;
    all.prefix_lengths[0] = 5;
    all.weights[1] = 0.0;
    all
}

/// [`plan`] with everything that makes parts depend on where they are in the batch.
pub fn smoothed_plan() -> Plan {
    Plan {
        label_smoothing: 0.1,
        contrastive_label_smoothing: 0.05,
        patch_dropout: Some(PatchDropout {
            share: 0.4,
            seed: 3,
        }),
        ..plan()
    }
}

/// All three losses and nothing special, in one part.
pub fn plan() -> Plan {
    Plan {
        weights: LossWeights {
            contrastive: 1.0,
            caption: 2.0,
            language_model: 0.5,
        },
        label_smoothing: 0.0,
        contrastive_label_smoothing: 0.0,
        lanes: vec![Device::flex()],
        exchange: Exchange::Copies,
        accumulate: 1,
        precision: Precision::F32,
        activation_checkpointing: false,
        patch_dropout: None,
        frozen: Default::default(),
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
    let (mut model, mut optimizer) = (model(&device), Optimizer::new(config.clone()));
    let parameters = Parameters::new(&config, &FreezeConfig::default(), &model).unwrap();
    let plan = Plan {
        weights: LossWeights::default(),
        lanes: vec![device.clone(); 2],
        ..plan()
    };
    for step in 0..3 {
        let batch = batch(
            &golden,
            &format!("in.image.{step}"),
            &format!("in.text.{step}"),
        );
        let (losses, gradients) = gradients(&model, &batch, &plan).unwrap();
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
        optimizer
            .step(&mut model, &parameters, gradients, norm, rate, 2)
            .unwrap();
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

/// Losses and gradients to 1e-5.
pub fn assert_equal(
    found: (BatchLosses, NamedTensors),
    whole: &(BatchLosses, NamedTensors),
    what: &str,
) {
    let (losses, whole_losses) = (found.0, whole.0.clone());
    for (whole, part) in [
        (whole_losses.contrastive, losses.contrastive),
        (whole_losses.caption, losses.caption),
        (whole_losses.language_model, losses.language_model),
    ] {
        close(scalar(part.unwrap()), scalar(whole.unwrap()), 1e-5, what);
    }
    assert!(whole.1.keys().eq(found.1.keys()), "{what}");
    for (name, whole) in &whole.1 {
        let largest = scalar(whole.clone().abs().max());
        let error = scalar((whole.clone() - found.1[name].clone()).abs().max());
        assert!(
            error <= 1e-5 * largest.max(1e-2),
            "{what}: {name} is off by {error} of {largest}"
        );
    }
}

/// Lanes stand for threads and for devices: both are shares with replicas of their own, and meet in the same places.
#[test]
fn every_way_of_computing_a_batch_gives_its_gradients() {
    let model = model(&Device::flex());
    let batch = uneven_batch();
    let base = smoothed_plan();
    let whole = gradients(&model, &batch, &base).unwrap();
    assert!(whole.1.contains_key("logit_scale"));
    for (lanes, accumulate, activation_checkpointing) in [
        (2, 1, false),
        (3, 1, true),
        (1, 2, false),
        (1, 3, false),
        (1, 8, true),
        (1, 1, true),
        (2, 2, false),
        (3, 2, true),
    ] {
        let plan = Plan {
            lanes: vec![Device::flex(); lanes],
            accumulate,
            activation_checkpointing,
            ..base.clone()
        };
        let found = gradients(&model, &batch, &plan).unwrap();
        let what =
            format!("{lanes} lanes of {accumulate}, checkpointing {activation_checkpointing}");
        assert_equal(found, &whole, &what);
    }
}

#[test]
fn frozen_parameters_have_no_gradient_and_change_no_other() {
    let model = model(&Device::flex());
    let (_, whole) = gradients(&model, &uneven_batch(), &plan()).unwrap();
    let frozen = whole
        .keys()
        .filter(|name| name.starts_with("visual.transformer") || *name == "logit_scale")
        .cloned()
        .collect();
    for activation_checkpointing in [false, true] {
        let plan = Plan {
            frozen: std::collections::BTreeSet::clone(&frozen),
            activation_checkpointing,
            ..plan()
        };
        let (_, found) = gradients(&model, &uneven_batch(), &plan).unwrap();
        assert_eq!(found.len() + frozen.len(), whole.len());
        for (name, gradient) in found {
            let error = scalar((whole[&name].clone() - gradient).abs().max());
            assert!(error < 1e-5, "{name}: {error}");
        }
    }
}

#[test]
fn mixed_precision_gives_nearly_the_same_gradients() {
    let model = model(&Device::flex());
    let (losses, whole) = gradients(&model, &uneven_batch(), &plan()).unwrap();
    for activation_checkpointing in [false, true] {
        let plan = Plan {
            precision: Precision::Bf16,
            activation_checkpointing,
            ..plan()
        };
        let (found, gradients) = gradients(&model, &uneven_batch(), &plan).unwrap();
        let caption = |losses: &BatchLosses| scalar(losses.caption.clone().unwrap());
        let (single, half) = (caption(&losses), caption(&found));
        close(half, single, 0.01, "captioning loss");
        assert_ne!(half, single, "products are rounded");
        let (mut dot, mut norms) = (0.0, [0.0; 2]);
        for (name, a) in &whole {
            let b = gradients[name].clone();
            assert_eq!(b.dtype(), burn::tensor::DType::F32);
            dot += scalar((a.clone() * b.clone()).sum());
            norms[0] += scalar(a.clone().square().sum());
            norms[1] += scalar(b.square().sum());
        }
        let cosine = dot / (norms[0] * norms[1]).sqrt();
        assert!(cosine > 0.999, "{cosine}");
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
        let config = OptimizerConfig {
            schedule,
            ..base.clone()
        };
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

#[test]
fn the_linear_schedule_falls_along_a_line_to_zero() {
    let config = OptimizerConfig {
        learning_rate: 8e-4,
        warmup: 2,
        schedule: Schedule::Linear,
        ..OptimizerConfig::default()
    };
    let rates: Vec<f64> = (0..6).map(|step| learning_rate(&config, 6, step)).collect();
    for (rate, expected) in rates.into_iter().zip([4e-4, 8e-4, 8e-4, 6e-4, 4e-4, 2e-4]) {
        close(rate, expected, 1e-12, "rate");
    }
    assert_eq!(learning_rate(&config, 6, 6), 0.0);
}
