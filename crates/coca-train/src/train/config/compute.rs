//! How a step is computed, and what is kept of it.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// The number format of the matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Products in bfloat16; weights, norms, softmax and losses stay in single precision.
    Bf16,
}

/// How several devices put gradients and embeddings together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Collective {
    /// NCCL between NVIDIA GPUs if it works, else copies.
    #[default]
    Auto,
    /// Copies from and to the first device.
    Copy,
    /// NCCL's all-reduce; without it there is an error.
    Nccl,
}

/// An exponential moving average of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EmaConfig {
    /// The share of the old average that each step keeps.
    pub decay: f64,
    /// Begins with a smaller decay, min(decay, (1 + t) / (10 + t)) after t updates, to forget the initial weights.
    #[serde(default = "yes")]
    pub warmup: bool,
    /// Validates the average instead of the latest weights.
    #[serde(default = "yes")]
    pub validate: bool,
    /// Puts the average into the finished model's folder instead of the latest weights.
    #[serde(default = "yes")]
    pub finish: bool,
}

fn yes() -> bool {
    true
}

impl EmaConfig {
    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<()> {
        ensure!(
            (0.0..1.0).contains(&self.decay),
            "ema.decay is {}, expected at least 0 and less than 1",
            self.decay
        );
        Ok(())
    }
}
