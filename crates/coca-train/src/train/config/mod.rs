//! The training configuration: one TOML file, every field documented here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use coca_model::ModelConfig;
use serde::{Deserialize, Serialize};

mod compute;
mod freeze;
mod log;
mod loss;
mod optimizer;
mod overrides;

use crate::data::{AugmentConfig, DataConfig, LoaderConfig};

pub use compute::{Collective, EmaConfig, Precision};
pub use freeze::FreezeConfig;
pub use log::{LogConfig, ValidationConfig, ValidationTask};
pub use loss::LossConfig;
#[cfg(test)]
pub use optimizer::GroupConfig;
pub use optimizer::{Method, OptimizerConfig, Schedule, pattern};

/// `coca-train train CONFIG.toml`. Relative paths start at the file's folder.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What the model is called in `coca.json`.
    pub name: String,
    /// A preset (`coca_tiny`, `coca_ViT-B-32`, …), the path of an `open_clip_config.json`, or `init` for the shape of
    /// the model that training starts from.
    pub model: String,
    /// A model folder to start from (fine-tuning); without it the weights are random.
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
    /// Devices that each compute a share of every batch, with the contrastive loss over all of it.
    #[serde(default = "one")]
    pub devices: usize,
    /// How devices put together what they computed.
    #[serde(default)]
    pub collective: Collective,
    /// Computes each share of a batch in this many parts, one after the other, and keeps only one part's activations
    /// at a time (GradCache, Gao et al. 2021, arXiv 2101.06983). The gradient is that of the whole batch, contrastive
    /// loss included; the encoders run forward twice.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// The number format of the matrix products.
    #[serde(default)]
    pub precision: Precision,
    /// Keeps only the blocks' inputs for the backward pass and computes each block once more there.
    #[serde(default)]
    pub activation_checkpointing: bool,
    /// The share of the image's patches that each training image loses before the transformer (Li et al. 2022, arXiv
    /// 2212.00794).
    #[serde(default)]
    pub patch_dropout: f64,
    /// Steps in a row that may be skipped because the loss or the gradient is not finite, before training stops.
    #[serde(default = "ten")]
    pub max_skipped: u64,
    /// What does not learn.
    #[serde(default)]
    pub freeze: FreezeConfig,
    /// A moving average of the weights; none if not given.
    #[serde(default)]
    pub ema: Option<EmaConfig>,
    /// Where the token vocabulary comes from.
    #[serde(default)]
    pub tokenizer: TokenizerSource,
    /// Weights of the three losses, and their targets.
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

fn ten() -> u64 {
    10
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
    /// That of the model folder that training starts from.
    Init,
    /// A `tokenizer.json`.
    File(PathBuf),
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
            overrides::apply(&mut table, change)?;
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
        ensure!(self.steps > 0, "steps is 0; set how long to train");
        for (name, value) in [
            ("threads", self.threads),
            ("devices", self.devices),
            ("accumulate", self.accumulate),
        ] {
            ensure!(
                (1..=1024).contains(&value),
                "{name} is {value}, expected 1 to 1024"
            );
        }
        let parts = self.devices * self.threads * self.accumulate;
        ensure!(
            parts <= self.loader.batch_size,
            "devices * threads * accumulate is {parts}, but a batch has only {} images",
            self.loader.batch_size
        );
        ensure!(
            (0.0..1.0).contains(&self.patch_dropout),
            "patch_dropout is {}, expected at least 0 and less than 1",
            self.patch_dropout
        );
        ensure!(
            self.collective != Collective::Nccl || self.devices > 1,
            "collective = \"nccl\" is between several devices, but devices is 1"
        );
        ensure!(self.max_skipped > 0, "max_skipped must be at least 1");
        ensure!(
            self.init.is_some() || self.model != "init" && self.tokenizer != TokenizerSource::Init,
            "model = \"init\" and tokenizer = \"init\" need `init`, the folder of a model"
        );
        self.loss.validate()?;
        self.optimizer.validate()?;
        self.freeze.validate()?;
        self.ema.as_ref().map_or(Ok(()), EmaConfig::validate)?;
        self.log.validate()?;
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

    /// The shape of the model, if it is not that of `init`.
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

#[cfg(test)]
pub mod tests {
    use super::*;

    const SMALLEST: &str =
        "name = 'x'\nmodel = 'coca_tiny'\noutput = 'out'\nsteps = 5\n[[data]]\nshards = 'a.tar'\n";

    /// The smallest configuration, with changes.
    pub fn read(changes: &[&str]) -> Result<TrainConfig> {
        read_text(SMALLEST, changes)
    }

    fn read_text(text: &str, changes: &[&str]) -> Result<TrainConfig> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        Ok(TrainConfig::read(file.path(), &changes)?.0)
    }

    #[test]
    fn changes_reach_nested_fields() {
        let config = read_text(
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
            |text: &str, changes: &[&str]| format!("{:#}", read_text(text, changes).unwrap_err());
        assert!(error(SMALLEST, &["optimizer.lerning_rate=1"]).contains("lerning_rate"));
        assert!(error(SMALLEST, &["steps=0"]).contains("steps"));
        assert!(error(SMALLEST, &["steps"]).contains("key=value"));
        assert!(error(SMALLEST, &["optimizer.beta1=1.5"]).contains("beta1"));
        assert!(error(SMALLEST, &["data=[]"]).contains("[[data]]"));
        for (change, word) in [
            ("loss.label_smoothing=1", "label_smoothing"),
            ("accumulate=100", "batch has only 64"),
            ("patch_dropout=1.0", "patch_dropout"),
            ("freeze.image_unlocked_groups=2", "freeze.image"),
            ("freeze.patterns=['(']", "regular expression"),
            ("optimizer.groups=[{ pattern = '[' }]", "optimizer.groups"),
            ("optimizer.layer_decay=0", "layer_decay"),
            ("ema={ decay = 1.0 }", "ema.decay"),
            ("tokenizer=init", "need `init`"),
            ("precision=fp16", "fp16"),
            ("collective=gloo", "gloo"),
            ("collective=nccl", "devices is 1"),
        ] {
            let error = error(SMALLEST, &[change]);
            assert!(error.contains(word), "{change}: {error}");
        }
    }

    #[test]
    fn every_recipe_is_a_valid_configuration() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
        let mut recipes = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let (config, _) = TrainConfig::read(&path, &[]).unwrap();
            assert!(config.optimizer.warmup < config.steps, "{}", path.display());
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let tuned = name.starts_with("finetune") || name == "vqa";
            assert_eq!(tuned, config.init.is_some(), "{name}");
            recipes.push(name);
        }
        recipes.sort();
        let expected = [
            "finetune-both",
            "finetune-caption",
            "finetune-contrastive",
            "pretrain",
            "resume",
            "vqa",
        ];
        assert_eq!(recipes, expected);
    }

    #[test]
    fn every_option_is_in_the_reference() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/training.md");
        let reference = std::fs::read_to_string(folder).unwrap();
        let ema = EmaConfig {
            decay: 0.9,
            warmup: true,
            validate: true,
            finish: true,
        };
        let mut config = read(&[]).unwrap();
        config.ema = Some(ema);
        let config = serde_json::to_value(config).unwrap();
        let mut names: Vec<&String> = config.as_object().unwrap().keys().collect();
        for table in ["loss", "optimizer", "freeze", "ema", "log", "loader"] {
            names.extend(config[table].as_object().unwrap().keys());
        }
        for name in names {
            assert!(
                reference.contains(name),
                "{name} is not in docs/training.md"
            );
        }
    }
}
