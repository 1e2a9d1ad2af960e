//! The losses.

use anyhow::{Result, ensure};
use coca_model::LossWeights;
use serde::{Deserialize, Serialize};

/// λ_con, λ_cap and λ_lm, and how certain the targets are.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// λ_con.
    pub contrastive: f64,
    /// λ_cap.
    pub caption: f64,
    /// λ_lm.
    pub language_model: f64,
    /// The share of a token's target that is spread evenly over the vocabulary, in the captioning and the
    /// language-modelling loss (PyTorch's `label_smoothing`).
    pub label_smoothing: f64,
    /// The share of a pair's target that is spread evenly over the batch, in the contrastive loss.
    pub contrastive_label_smoothing: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        let LossWeights {
            contrastive,
            caption,
            language_model,
        } = LossWeights::default();
        Self {
            contrastive,
            caption,
            language_model,
            label_smoothing: 0.0,
            contrastive_label_smoothing: 0.0,
        }
    }
}

impl From<LossConfig> for LossWeights {
    fn from(config: LossConfig) -> Self {
        Self {
            contrastive: config.contrastive,
            caption: config.caption,
            language_model: config.language_model,
        }
    }
}

impl LossConfig {
    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<()> {
        let weights = [self.contrastive, self.caption, self.language_model];
        ensure!(
            weights
                .iter()
                .all(|weight| weight.is_finite() && *weight >= 0.0)
                && weights.iter().sum::<f64>() > 0.0,
            "the loss weights must not be negative, and one must be above 0"
        );
        for (name, share) in [
            ("label_smoothing", self.label_smoothing),
            (
                "contrastive_label_smoothing",
                self.contrastive_label_smoothing,
            ),
        ] {
            ensure!(
                (0.0..1.0).contains(&share),
                "loss.{name} is {share}, expected at least 0 and less than 1"
            );
        }
        Ok(())
    }
}
