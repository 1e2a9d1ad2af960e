//! The model of a command.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::Args;
use coca_model::tasks::Predictor;

use crate::{folder, hub};

/// `--model`, and how to print.
#[derive(Args, Debug)]
pub struct ModelArgs {
    /// The model folder, a repository of the Hugging Face hub (hf:owner/name), or the address of a folder.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

impl ModelArgs {
    /// Loads the model.
    pub fn open(&self, device: &Device) -> Result<Predictor> {
        open(&self.model, device)
    }
}

fn open(path: &Path, device: &Device) -> Result<Predictor> {
    let folder = hub::local(path)?;
    let (predictor, notes) = folder::open(&folder, device)
        .with_context(|| format!("in the model folder {}", path.display()))?;
    for note in notes {
        eprintln!("warning: {}: {note}", path.display());
    }
    Ok(predictor)
}
