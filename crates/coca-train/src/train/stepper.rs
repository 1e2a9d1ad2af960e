//! Training steps by themselves, without data or files.

use anyhow::Result;
use burn::tensor::Device;
use coca_model::{Coca, LossWeights};

use super::Optimizer;
use super::collective::Exchange;
use super::config::{FreezeConfig, OptimizerConfig, Precision};
use super::gradients::{Plan, gradients};
use super::parameters::Parameters;
use crate::data::Batch;

/// A learning rate at which random weights stay where they are, roughly.
const RATE: f64 = 1e-5;

/// An optimiser with its default settings at a small constant learning rate, without clipping.
pub struct Stepper {
    optimizer: Optimizer,
    parameters: Parameters,
    plan: Plan,
}

impl Stepper {
    /// Steps of models like `model` on `threads` threads.
    ///
    /// # Errors
    /// The model has no parameter that learns.
    pub fn new(model: &Coca, threads: usize, device: &Device) -> Result<Self> {
        let config = OptimizerConfig {
            clip_norm: 0.0,
            ..OptimizerConfig::default()
        };
        let parameters = Parameters::new(&config, &FreezeConfig::default(), model)?;
        Ok(Self {
            plan: Plan {
                weights: LossWeights::default(),
                label_smoothing: 0.0,
                contrastive_label_smoothing: 0.0,
                lanes: vec![device.clone(); threads],
                exchange: Exchange::Copies,
                accumulate: 1,
                precision: Precision::F32,
                activation_checkpointing: false,
                patch_dropout: None,
                frozen: parameters.frozen.clone(),
            },
            optimizer: Optimizer::new(config),
            parameters,
        })
    }

    /// One step of `model` on `batch`; the captioning loss before it.
    ///
    /// # Errors
    /// The batch does not fit the model.
    pub fn step(&mut self, model: &mut Coca, batch: &Batch) -> Result<f64> {
        let (losses, gradients) = gradients(model, batch, &self.plan)?;
        let threads = self.plan.lanes.len();
        // Without clipping the norm does not matter.
        self.optimizer
            .step(model, &self.parameters, gradients, 0.0, RATE, threads)?;
        let caption = losses.caption;
        Ok(caption.map_or(f64::NAN, |loss| f64::from(loss.into_scalar::<f32>())))
    }
}
