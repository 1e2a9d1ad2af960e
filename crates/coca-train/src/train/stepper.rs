//! Training steps by themselves, without data or files.

use anyhow::Result;
use burn::tensor::Device;
use coca_model::{Coca, LossWeights};

use super::Optimizer;
use super::config::OptimizerConfig;
use super::gradients::gradients;
use crate::data::Batch;

/// An optimiser with its default settings at a small constant learning rate, without clipping.
pub struct Stepper {
    optimizer: Optimizer,
    threads: usize,
    device: Device,
}

impl Stepper {
    /// Steps on `threads` threads.
    pub fn new(threads: usize, device: &Device) -> Self {
        let config = OptimizerConfig {
            clip_norm: 0.0,
            ..OptimizerConfig::default()
        };
        Self {
            optimizer: Optimizer::new(config),
            threads,
            device: device.clone(),
        }
    }

    /// The model after one step on `batch`, and the captioning loss before it.
    pub fn step(
        &mut self,
        model: Coca,
        batch: &Batch,
        weights: LossWeights,
    ) -> Result<(Coca, f64)> {
        let (losses, gradients) = gradients(&model, batch, weights, self.threads, &self.device)?;
        let model = self.optimizer.step(model, gradients, 1e-5, self.threads)?;
        let loss = losses
            .caption
            .map_or(f64::NAN, |loss| f64::from(loss.into_scalar::<f32>()));
        Ok((model, loss))
    }
}
