//! How the gradients of a run's batches are computed.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use burn::tensor::{Device, FloatDType};
use coca_model::LossWeights;

use crate::train::collective::Exchange;
use crate::train::config::{Precision, TrainConfig};
use crate::train::patch_dropout::PatchDropout;

/// Everything but the model and the batch.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Weights of the losses; those with weight zero are not computed.
    pub weights: LossWeights,
    /// Of the token losses.
    pub label_smoothing: f64,
    /// Of the contrastive loss.
    pub contrastive_label_smoothing: f64,
    /// A device, without autodiff, for each lane: lanes compute shares of the batch side by side. The first one holds
    /// the model, and the loss and the gradients of the whole batch come together there.
    pub lanes: Vec<Device>,
    /// How they come together there, if lanes are on several devices.
    pub exchange: Exchange,
    /// Parts of each lane's share, one after the other.
    pub accumulate: usize,
    /// Of the matrix products.
    pub precision: Precision,
    /// Whether blocks are computed again in the backward pass.
    pub activation_checkpointing: bool,
    /// Patches that images lose.
    pub patch_dropout: Option<PatchDropout>,
    /// Names of parameters without gradient.
    pub frozen: BTreeSet<String>,
}

impl Plan {
    /// The plan of a run on these devices. Warnings go to `warn`.
    ///
    /// # Errors
    /// A device that cannot compute in the wanted precision, or devices without the wanted collective.
    pub fn new(
        config: &TrainConfig,
        devices: &[Device],
        frozen: BTreeSet<String>,
        warn: fn(&str),
    ) -> Result<Self> {
        if config.precision == Precision::Bf16 {
            for device in devices {
                ensure!(
                    device.supports_dtype(FloatDType::BF16),
                    "precision = \"bf16\": {device:?} has no bfloat16; use \"f32\""
                );
            }
        }
        let lanes = devices
            .iter()
            .flat_map(|device| std::iter::repeat_n(device.clone(), config.threads))
            .collect();
        Ok(Self {
            weights: config.loss.into(),
            label_smoothing: config.loss.label_smoothing,
            contrastive_label_smoothing: config.loss.contrastive_label_smoothing,
            lanes,
            exchange: Exchange::new(config.collective, devices, config.threads, warn)?,
            accumulate: config.accumulate,
            precision: config.precision,
            activation_checkpointing: config.activation_checkpointing,
            patch_dropout: (config.patch_dropout > 0.0).then_some(PatchDropout {
                share: config.patch_dropout,
                seed: config.seed,
            }),
            frozen,
        })
    }
}
