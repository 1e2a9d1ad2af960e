//! The optimiser.

use anyhow::{Context, Result, ensure};
use regex::Regex;
use serde::{Deserialize, Serialize};

/// How parameters are updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// AdamW for all.
    #[default]
    AdamW,
    /// Adafactor (Shazeer & Stern 2018) with momentum, as the paper trains: second moments of matrices are kept as
    /// row and column means. Use with `beta2 = 0.999`, `weight_decay = 0.01` for the paper's setting.
    Adafactor,
    /// Muon for the matrices inside blocks, AdamW for the rest. Learns more from each sample.
    Muon,
}

/// The learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// Half a cosine from the peak to zero.
    #[default]
    Cosine,
    /// A line from the peak to zero, as the paper.
    Linear,
    /// The peak.
    Constant,
    /// The peak, then a power of the remaining share of the last `steps`, down to `end`.
    ConstantCooldown {
        /// Length of the cool-down.
        steps: u64,
        /// The power; 1 falls along a line.
        power: f64,
        /// The last rate.
        end: f64,
    },
}

/// Settings of the parameters whose open_clip names a pattern matches; of several that match, the last one counts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// A regular expression that is looked for in the name, for example `^visual\.`.
    pub pattern: String,
    /// Multiplies the learning rate.
    #[serde(default = "one")]
    pub learning_rate_factor: f64,
    /// Takes the place of `optimizer.weight_decay`, for vectors and biases too.
    #[serde(default)]
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// The optimiser; open_clip's defaults for a ViT.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The rule.
    pub method: Method,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// What follows the warm-up.
    pub schedule: Schedule,
    /// Decay of the first moment; 0 keeps Adafactor without one.
    pub beta1: f64,
    /// Decay of the second moment. Adafactor's grows as 1 - t^-0.8 up to this.
    pub beta2: f64,
    /// Muon's momentum.
    pub momentum: f64,
    /// Added to the denominator; Adafactor adds 1e-30 to the squared gradient instead.
    pub epsilon: f64,
    /// Decoupled weight decay of matrices; biases, norms, scales and vectors have none.
    pub weight_decay: f64,
    /// Limit of the gradient's global norm; 0 for none.
    pub clip_norm: f64,
    /// Layer-wise decay: each block of a tower learns at this fraction of the rate of the block above it; 1 for none.
    pub layer_decay: f64,
    /// Exceptions by parameter name.
    pub groups: Vec<GroupConfig>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            method: Method::AdamW,
            learning_rate: 5e-4,
            warmup: 10_000,
            schedule: Schedule::Cosine,
            beta1: 0.9,
            beta2: 0.98,
            momentum: 0.95,
            epsilon: 1e-6,
            weight_decay: 0.2,
            clip_norm: 1.0,
            layer_decay: 1.0,
            groups: Vec::new(),
        }
    }
}

impl OptimizerConfig {
    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<()> {
        ensure!(
            self.learning_rate.is_finite() && self.learning_rate > 0.0,
            "optimizer.learning_rate is {}, expected a positive number",
            self.learning_rate
        );
        for (name, beta) in [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("momentum", self.momentum),
        ] {
            ensure!(
                (0.0..1.0).contains(&beta),
                "optimizer.{name} is {beta}, expected at least 0 and less than 1"
            );
        }
        ensure!(
            self.epsilon > 0.0,
            "optimizer.epsilon is {}, expected a positive number",
            self.epsilon
        );
        ensure!(
            self.weight_decay >= 0.0 && self.clip_norm >= 0.0,
            "weight_decay and clip_norm cannot be negative"
        );
        ensure!(
            self.layer_decay > 0.0 && self.layer_decay <= 1.0,
            "optimizer.layer_decay is {}, expected above 0 and at most 1",
            self.layer_decay
        );
        for group in &self.groups {
            let factor = group.learning_rate_factor;
            ensure!(
                factor.is_finite() && factor >= 0.0 && group.weight_decay.unwrap_or(0.0) >= 0.0,
                "optimizer.groups `{}`: learning_rate_factor and weight_decay cannot be negative",
                group.pattern
            );
            pattern(&group.pattern).context("in optimizer.groups")?;
        }
        Ok(())
    }
}

/// A pattern for parameter names.
pub fn pattern(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).with_context(|| format!("`{pattern}` is not a regular expression"))
}
