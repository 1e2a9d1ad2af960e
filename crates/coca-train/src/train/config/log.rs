//! What is logged, saved and validated.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::data::ShardSpec;

/// What is written and shown, and how often, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Between lines of `metrics.jsonl`.
    pub every: u64,
    /// Between checkpoints.
    pub checkpoint_every: u64,
    /// How many checkpoints are kept.
    pub keep_checkpoints: usize,
    /// Between validations; 0 for one at the end only.
    pub validate_every: u64,
    /// Whether `report.html` is written, at every validation and checkpoint and at the end.
    pub report: bool,
    /// Whether TensorBoard's event files are written.
    pub tensorboard: bool,
    /// Whether the run is shown on the whole terminal instead of a progress bar.
    pub dashboard: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            every: 10,
            checkpoint_every: 1000,
            keep_checkpoints: 2,
            validate_every: 0,
            report: true,
            tensorboard: false,
            dashboard: false,
        }
    }
}

impl LogConfig {
    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<()> {
        let intervals = [
            self.every,
            self.checkpoint_every,
            self.keep_checkpoints as u64,
        ];
        ensure!(
            intervals.iter().all(|&n| n > 0),
            "log.every, checkpoint_every and keep_checkpoints must be at least 1"
        );
        Ok(())
    }
}

/// One measurement on held-out data.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationConfig {
    /// What it is called in the metrics.
    pub name: String,
    /// The shards.
    pub shards: ShardSpec,
    /// Which tasks to measure on them.
    pub tasks: Vec<ValidationTask>,
    /// At most this many samples, evenly spread over the data.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// What can be measured while training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValidationTask {
    /// The losses.
    Loss,
    /// Zero-shot classification of the labels.
    ZeroShot,
    /// Image–text retrieval of the captions.
    Retrieval,
    /// Answers to the questions.
    Vqa,
    /// A few sample captions, for reading.
    Captions,
}
