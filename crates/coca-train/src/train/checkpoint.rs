//! Checkpoints: a model folder with the optimiser beside it, whole or not there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use coca_model::weights::{ModelFolder, StateDict};
use serde::{Deserialize, Serialize};

use super::{Optimizer, TrainConfig};
use crate::folder::{self, replace_folder, write_file};

const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "train_state.json";

/// Where a run is; with the seed in its configuration this fixes everything that comes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TrainState {
    /// Optimiser steps done.
    pub step: u64,
    /// The configuration, without the fields that may change on resuming.
    pub config: serde_json::Value,
}

impl TrainState {
    /// The state after `step` steps.
    pub fn new(step: u64, config: &TrainConfig) -> Result<Self> {
        let mut config = serde_json::to_value(config)?;
        if let Some(fields) = config.as_object_mut() {
            // How much is logged and where does not change what is learnt.
            for free in [
                "log",
                "output",
                "validation",
                "prompts",
                "provenance",
                "name",
                "init",
                "data_dir",
            ] {
                fields.remove(free);
            }
            if let Some(loader) = fields
                .get_mut("loader")
                .and_then(serde_json::Value::as_object_mut)
            {
                for free in ["workers", "prefetch", "cache_mb"] {
                    loader.remove(free);
                }
            }
        }
        Ok(Self { step, config })
    }
}

/// The checkpoints of a run, oldest first.
pub fn list(output: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(output.join("checkpoints"))
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let step = entry
                .file_name()
                .to_str()?
                .strip_prefix("step-")?
                .parse()
                .ok()?;
            Some((step, entry.path()))
        })
        .collect();
    found.sort();
    found
}

/// Writes a checkpoint and removes all but the newest `keep`.
pub fn save(
    output: &Path,
    model: &ModelFolder,
    optimizer: &Optimizer,
    state: &TrainState,
    keep: usize,
) -> Result<()> {
    let path = output
        .join("checkpoints")
        .join(format!("step-{:08}", state.step));
    replace_folder(&path, |temporary| {
        model.write(None, u64::MAX, |name, bytes| -> Result<()> {
            write_file(&temporary.join(name), bytes)
        })?;
        write_file(
            &temporary.join(OPTIMIZER),
            &optimizer
                .state()?
                .to_safetensors(None, &Default::default())?,
        )?;
        write_file(
            &temporary.join(STATE),
            serde_json::to_string_pretty(state)?.as_bytes(),
        )
    })
    .context("saving a checkpoint; the previous one is untouched")?;
    let all = list(output);
    for (_, old) in all.iter().take(all.len().saturating_sub(keep)) {
        std::fs::remove_dir_all(old)
            .with_context(|| format!("removing the old checkpoint {}", old.display()))?;
    }
    Ok(())
}

/// The newest checkpoint of a run.
///
/// # Errors
/// There is none, it is damaged, or it belongs to another configuration.
pub fn load(
    output: &Path,
    config: &TrainConfig,
    device: &Device,
) -> Result<(ModelFolder, Optimizer, TrainState)> {
    let (_, path) = list(output).pop().with_context(|| {
        format!(
            "--resume: there is no checkpoint in {}; start without --resume",
            output.display()
        )
    })?;
    let read = |name: &str| {
        let file = path.join(name);
        std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
    };
    let state: TrainState = serde_json::from_slice(&read(STATE)?).with_context(|| {
        format!(
            "{} is damaged; remove {} to resume earlier",
            STATE,
            path.display()
        )
    })?;
    let expected = TrainState::new(state.step, config)?;
    let changed = changed_fields(&state.config, &expected.config);
    ensure!(
        changed.is_empty(),
        "--resume: the configuration changed since the checkpoint ({}); a resumed run would not be the same run. \
         Start a new one with `init = \"{}\"` instead",
        changed.join(", "),
        path.display()
    );
    let optimizer = StateDict::from_safetensors(read(OPTIMIZER)?)?;
    let optimizer = Optimizer::restore(config.optimizer, &optimizer, state.step, device)?;
    Ok((folder::read(&path)?, optimizer, state))
}

/// Names of top-level fields that differ.
fn changed_fields(old: &serde_json::Value, new: &serde_json::Value) -> Vec<String> {
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value
            .as_object()
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut all = keys(old);
    all.extend(keys(new));
    all.sort();
    all.dedup();
    all.retain(|key| old.get(key) != new.get(key));
    all
}
