//! The training configuration: one TOML file, every field documented here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use coca_model::{LossWeights, ModelConfig};
use serde::{Deserialize, Serialize};

use crate::data::{AugmentConfig, DataConfig, LoaderConfig, ShardSpec};

/// `coca-train train CONFIG.toml`. Relative paths start at the file's folder.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What the model is called in `coca.json`.
    pub name: String,
    /// A preset (`coca_tiny`, `coca_ViT-B-32`, …), or the path of an `open_clip_config.json`.
    pub model: String,
    /// A model folder to start from; without it the weights are random.
    #[serde(default)]
    pub init: Option<PathBuf>,
    /// Where checkpoints, metrics and the trained model go.
    pub output: PathBuf,
    /// Where the names of shards start; the configuration's folder if not given.
    #[serde(default)]
    pub data_dir: PathBuf,
    /// Number of optimiser steps.
    pub steps: u64,
    /// Decides the initial weights; the order of the data is decided by `loader.seed`.
    #[serde(default)]
    pub seed: u64,
    /// Threads that each compute a share of every batch; for the CPU, where it is faster than threads within an
    /// operation. The sum's rounding depends on their number, so it belongs to the run.
    #[serde(default = "one")]
    pub threads: usize,
    /// Where the token vocabulary comes from.
    #[serde(default)]
    pub tokenizer: TokenizerSource,
    /// Weights of the three losses.
    #[serde(default)]
    pub loss: LossConfig,
    /// The optimiser and its learning rate.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// What is logged, saved and validated, and how often.
    #[serde(default)]
    pub log: LogConfig,
    /// Batches.
    #[serde(default)]
    pub loader: LoaderConfig,
    /// Random changes of training images.
    #[serde(default)]
    pub augment: AugmentConfig,
    /// The data sets to mix.
    pub data: Vec<DataConfig>,
    /// What is measured while training.
    #[serde(default)]
    pub validation: Vec<ValidationConfig>,
    /// Prompt templates that the model folder records for its users.
    #[serde(default)]
    pub prompts: coca_model::weights::Prompts,
    /// Free text for the model folder: data, licences, remarks.
    #[serde(default)]
    pub provenance: Option<toml::Value>,
}

fn one() -> usize {
    1
}

/// Where the token vocabulary comes from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerSource {
    /// CLIP's 49,408 tokens, built in.
    #[default]
    Clip,
    /// A byte-pair vocabulary of the model's size, made from the training texts.
    Train,
    /// A `tokenizer.json`.
    File(PathBuf),
}

/// λ_con, λ_cap and λ_lm.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// λ_con.
    pub contrastive: f64,
    /// λ_cap.
    pub caption: f64,
    /// λ_lm.
    pub language_model: f64,
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
        }
    }
}

impl From<LossConfig> for LossWeights {
    fn from(config: LossConfig) -> Self {
        let LossConfig {
            contrastive,
            caption,
            language_model,
        } = config;
        Self {
            contrastive,
            caption,
            language_model,
        }
    }
}

/// How parameters are updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// AdamW for all.
    #[default]
    AdamW,
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

/// The optimiser; open_clip's defaults for a ViT.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
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
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Muon's momentum.
    pub momentum: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay of matrices; biases, norms, scales and vectors have none.
    pub weight_decay: f64,
    /// Limit of the gradient's global norm; 0 for none.
    pub clip_norm: f64,
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
        }
    }
}

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

impl TrainConfig {
    /// Reads the file, applies `key=value` changes (dotted keys, TOML values) and checks it. Returns it with the
    /// folder that relative paths start at.
    pub fn read(path: &Path, changes: &[String]) -> Result<(Self, PathBuf)> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut table: toml::Table = toml::from_str(&text)
            .with_context(|| format!("{} is not valid TOML", path.display()))?;
        for change in changes {
            apply(&mut table, change)?;
        }
        let config: Self = table
            .try_into()
            .with_context(|| format!("in {}", path.display()))?;
        config
            .validate()
            .with_context(|| format!("in {}", path.display()))?;
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok((config, base))
    }

    fn validate(&self) -> Result<()> {
        let o = &self.optimizer;
        ensure!(
            (1..=1024).contains(&self.threads),
            "threads is {}, expected 1 to 1024",
            self.threads
        );
        ensure!(self.steps > 0, "steps is 0; set how long to train");
        ensure!(
            o.learning_rate.is_finite() && o.learning_rate > 0.0,
            "optimizer.learning_rate is {}, expected a positive number",
            o.learning_rate
        );
        for (name, beta) in [
            ("beta1", o.beta1),
            ("beta2", o.beta2),
            ("momentum", o.momentum),
        ] {
            ensure!(
                (0.0..1.0).contains(&beta),
                "optimizer.{name} is {beta}, expected at least 0 and less than 1"
            );
        }
        ensure!(
            o.epsilon > 0.0,
            "optimizer.epsilon is {}, expected a positive number",
            o.epsilon
        );
        ensure!(
            o.weight_decay >= 0.0 && o.clip_norm >= 0.0,
            "weight_decay and clip_norm cannot be negative"
        );
        let l = &self.loss;
        let weights = [l.contrastive, l.caption, l.language_model];
        ensure!(
            weights
                .iter()
                .all(|weight| weight.is_finite() && *weight >= 0.0)
                && weights.iter().sum::<f64>() > 0.0,
            "the loss weights must not be negative, and one must be above 0"
        );
        let intervals = [
            self.log.every,
            self.log.checkpoint_every,
            self.log.keep_checkpoints as u64,
        ];
        ensure!(
            intervals.iter().all(|&n| n > 0),
            "log.every, checkpoint_every and keep_checkpoints must be at least 1"
        );
        ensure!(
            !self.data.is_empty(),
            "there is no [[data]] table; name the shards to train on"
        );
        self.data.iter().try_for_each(DataConfig::validate)?;
        Ok(())
    }

    /// Where the names of shards start.
    pub fn data_dir(&self, base: &Path) -> PathBuf {
        base.join(&self.data_dir)
    }

    /// The shape of the model.
    pub fn model_config(&self, base: &Path) -> Result<ModelConfig> {
        if let Some(preset) = ModelConfig::preset(&self.model) {
            return Ok(preset);
        }
        let path = base.join(&self.model);
        let json = std::fs::read(&path).with_context(|| {
            let presets = coca_model::config::PRESETS.join(", ");
            format!(
                "model = \"{}\" is neither a preset ({presets}) nor a readable file",
                self.model
            )
        })?;
        let mut value: serde_json::Value = serde_json::from_slice(&json)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        let config = value
            .get_mut("model_cfg")
            .map(serde_json::Value::take)
            .unwrap_or(value);
        ModelConfig::from_json(config.to_string().as_bytes())
            .with_context(|| format!("in {}", path.display()))
    }
}

/// Sets one dotted key of the table.
fn apply(table: &mut toml::Table, change: &str) -> Result<()> {
    let Some((key, value)) = change.split_once('=') else {
        bail!("--set {change}: expected key=value, for example optimizer.learning_rate=1e-3");
    };
    let value: toml::Value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        // What is not a TOML value is a string without its quotes.
        .unwrap_or_else(|| toml::Value::String(value.to_string()));
    let mut keys: Vec<&str> = key.trim().split('.').collect();
    let Some(last) = keys.pop() else {
        bail!("--set {change}: the key is empty")
    };
    let mut at = table;
    for key in keys {
        let entry = at
            .entry(key)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = match entry.as_table_mut() {
            Some(table) => table,
            None => bail!("--set {change}: `{key}` is not a table"),
        };
    }
    at.insert(last.to_string(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str =
        "name = 'x'\nmodel = 'coca_tiny'\noutput = 'out'\nsteps = 5\n[[data]]\nshards = 'a.tar'\n";

    fn read(text: &str, changes: &[&str]) -> Result<TrainConfig> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        Ok(TrainConfig::read(file.path(), &changes)?.0)
    }

    #[test]
    fn changes_reach_nested_fields() {
        let config = read(
            SMALLEST,
            &["optimizer.learning_rate=0.25", "steps=7", "name=other"],
        )
        .unwrap();
        assert_eq!(
            (
                config.optimizer.learning_rate,
                config.steps,
                config.name.as_str()
            ),
            (0.25, 7, "other")
        );
    }

    #[test]
    fn mistakes_are_named() {
        let error =
            |text: &str, changes: &[&str]| format!("{:#}", read(text, changes).unwrap_err());
        assert!(error(SMALLEST, &["optimizer.lerning_rate=1"]).contains("lerning_rate"));
        assert!(error(SMALLEST, &["steps=0"]).contains("steps"));
        assert!(error(SMALLEST, &["steps"]).contains("key=value"));
        assert!(error(SMALLEST, &["optimizer.beta1=1.5"]).contains("beta1"));
        assert!(error(SMALLEST, &["data=[]"]).contains("[[data]]"));
    }
}
