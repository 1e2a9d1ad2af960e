//! The model of a command.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::Args;
use coca_model::tasks::Predictor;

use crate::folder;

/// `--model`, and how to print.
#[derive(Args, Debug)]
pub struct ModelArgs {
    /// The model folder.
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
    let model = folder::read(path)?;
    for note in folder::fitted(&model, device)?.notes {
        eprintln!("warning: {}: {note}", path.display());
    }
    folder::predictor(&model, device)
        .with_context(|| format!("in the model folder {}", path.display()))
}
