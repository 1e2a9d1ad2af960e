//! Checkpoints: a model folder with the optimiser beside it, whole or not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use coca_model::weights::{ModelFolder, StateDict};
use serde::{Deserialize, Serialize};

use super::ema::Ema;
use super::trainer::{Skipped, Trainer};
use super::{Optimizer, TrainConfig};
use crate::disk::{self, replace_folder, write_file};

const OPTIMIZER: &str = "optimizer.safetensors";
const EMA: &str = "ema.safetensors";
const STATE: &str = "train_state.json";

/// Where a run is; with the seeds in its configuration this fixes everything that comes: nothing random is drawn from a
/// state, all of it is computed from seed and step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TrainState {
    /// Steps done, skipped ones included.
    pub step: u64,
    /// Optimiser updates done.
    pub updates: u64,
    /// Skipped steps.
    pub skipped: Skipped,
    /// The configuration, without the fields that may change on resuming.
    pub config: serde_json::Value,
    /// The other files of the checkpoint.
    pub files: BTreeMap<String, Mark>,
}

/// What a file is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Mark {
    /// Its size.
    pub bytes: u64,
    /// Its checksum.
    pub crc32: u32,
}

impl Mark {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            crc32: crc32fast::hash(bytes),
        }
    }
}

/// What a run continues from.
pub struct Checkpoint {
    /// The model folder.
    pub folder: ModelFolder,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The average of the weights, if the run keeps one.
    pub ema: Option<Ema>,
    /// Where it is.
    pub state: TrainState,
}

/// The fields of the configuration that decide what is learnt.
fn decisive(config: &TrainConfig) -> Result<serde_json::Value> {
    let mut fields = serde_json::to_value(config)?;
    let remove = |fields: &mut serde_json::Value, names: &[&str]| {
        if let Some(fields) = fields.as_object_mut() {
            names.iter().for_each(|name| drop(fields.remove(*name)));
        }
    };
    // How much is logged and where does not change what is learnt.
    let free = [
        "log",
        "output",
        "validation",
        "prompts",
        "provenance",
        "name",
        "init",
        "data_dir",
        "max_skipped",
    ];
    remove(&mut fields, &free);
    remove(
        &mut fields["loader"],
        &["workers", "prefetch", "cache_mb", "cache_dir", "cache_gb"],
    );
    remove(&mut fields["ema"], &["validate", "finish"]);
    if config.devices == 1 {
        remove(&mut fields, &["collective"]);
    }
    Ok(fields)
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

/// Writes a checkpoint and removes all but the newest that the configuration keeps.
///
/// # Errors
/// It cannot be written; those before it are as they were.
pub fn save(
    output: &Path,
    model: &ModelFolder,
    trainer: &Trainer,
    config: &TrainConfig,
) -> Result<()> {
    let path = output
        .join("checkpoints")
        .join(format!("step-{:08}", trainer.step));
    let mut state = TrainState {
        step: trainer.step,
        updates: trainer.optimizer.updates(),
        skipped: trainer.skipped,
        config: decisive(config)?,
        files: BTreeMap::new(),
    };
    replace_folder(&path, |temporary| {
        let mut put = |name: &str, bytes: &[u8]| -> Result<()> {
            state.files.insert(name.to_string(), Mark::of(bytes));
            write_file(&temporary.join(name), bytes)
        };
        model.write(None, u64::MAX, &mut put)?;
        let bytes = |dict: StateDict| dict.to_safetensors(None, &Default::default());
        put(OPTIMIZER, &bytes(trainer.optimizer.state()?)?)?;
        if let Some(ema) = &trainer.ema {
            put(EMA, &bytes(ema.state()?)?)?;
        }
        write_file(
            &temporary.join(STATE),
            serde_json::to_string_pretty(&state)?.as_bytes(),
        )
    })
    .context("saving a checkpoint; the previous one is untouched")?;
    let all = list(output);
    for (_, old) in all
        .iter()
        .take(all.len().saturating_sub(config.log.keep_checkpoints))
    {
        std::fs::remove_dir_all(old)
            .with_context(|| format!("removing the old checkpoint {}", old.display()))?;
    }
    Ok(())
}

/// The newest whole checkpoint of a run. Damaged ones are set aside and reported to `warn`.
///
/// # Errors
/// There is none, or it belongs to another configuration.
pub fn load(
    output: &Path,
    config: &TrainConfig,
    device: &Device,
    warn: impl Fn(&str),
) -> Result<Checkpoint> {
    let all = list(output);
    ensure!(
        !all.is_empty(),
        "--resume: there is no checkpoint in {}; start without --resume",
        output.display()
    );
    for (_, path) in all.iter().rev() {
        let (state, files) = match read(path) {
            Ok(read) => read,
            Err(error) => {
                let aside = path.with_extension("damaged");
                warn(&format!(
                    "the checkpoint {} is damaged ({error:#}); it is now {}, and an earlier one is used",
                    path.display(),
                    aside.display()
                ));
                // It may be there from an earlier mishap, or not ours to move; that is no reason to stop.
                let _ = std::fs::rename(path, &aside);
                continue;
            }
        };
        let changed = changed_fields(&state.config, &decisive(config)?);
        ensure!(
            changed.is_empty(),
            "--resume: the configuration changed since the checkpoint ({}); a resumed run would not be the same run. \
             Start a new one with `init = \"{}\"` instead",
            changed.join(", "),
            path.display()
        );
        return open(path, state, files, config, device);
    }
    bail!(
        "--resume: none of the checkpoints in {} is whole; start a new run in another `output`",
        output.display()
    )
}

/// The state and all files of a checkpoint, compared with their marks.
fn read(path: &Path) -> Result<(TrainState, BTreeMap<String, Vec<u8>>)> {
    let read = |name: &str| std::fs::read(path.join(name)).with_context(|| name.to_string());
    let state: TrainState = serde_json::from_slice(&read(STATE)?).context(STATE)?;
    let mut files = BTreeMap::new();
    for (name, mark) in &state.files {
        let bytes = read(name)?;
        ensure!(
            Mark::of(&bytes) == *mark,
            "{name} is not what was written: {} bytes, expected {}",
            bytes.len(),
            mark.bytes
        );
        files.insert(name.clone(), bytes);
    }
    Ok((state, files))
}

fn open(
    path: &Path,
    state: TrainState,
    mut files: BTreeMap<String, Vec<u8>>,
    config: &TrainConfig,
    device: &Device,
) -> Result<Checkpoint> {
    let mut dict = |name: &str| -> Result<StateDict> {
        let bytes = files
            .remove(name)
            .with_context(|| format!("{} has no {name}", path.display()))?;
        Ok(StateDict::from_safetensors(bytes)?)
    };
    let optimizer = Optimizer::restore(
        config.optimizer.clone(),
        &dict(OPTIMIZER)?,
        state.updates,
        device,
    )?;
    let ema = match config.ema {
        Some(ema) => Some(Ema::restore(ema, &dict(EMA)?, device)?),
        None => None,
    };
    let folder = ModelFolder::from_files(|name| Ok(files.remove(name)))
        .map_err(|error: anyhow::Error| error.context(format!("in {}", path.display())))?;
    Ok(Checkpoint {
        folder,
        optimizer,
        ema,
        state,
    })
}

/// Removes what a run that was killed left half done in its folder.
pub fn tidy(output: &Path) {
    for place in ["", "checkpoints", "pictures"] {
        disk::tidy(&output.join(place));
    }
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
