//! The data sets that a command is about.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use crate::data::{AugmentConfig, DataConfig, Files, LoaderConfig};

/// What a data command needs of a training configuration.
#[derive(Debug, Deserialize)]
pub struct Sources {
    /// The data sets.
    #[serde(default)]
    pub data: Vec<DataConfig>,
    /// Where relative names start.
    #[serde(default)]
    pub data_dir: PathBuf,
    /// How batches are made.
    #[serde(default)]
    pub loader: LoaderConfig,
    /// How images are changed.
    #[serde(default)]
    pub augment: AugmentConfig,
}

impl Sources {
    /// The data sets of a SPEC, or of a configuration. `folder` is where relative names start, if not where the
    /// configuration says.
    pub fn read(spec: &str, folder: Option<&Path>) -> Result<Self> {
        let mut sources = if Path::new(spec).extension().is_some_and(|e| e == "toml") {
            let text = std::fs::read_to_string(spec).with_context(|| format!("reading {spec}"))?;
            let mut read: Self = toml::from_str(&text).with_context(|| format!("in {spec}"))?;
            ensure!(!read.data.is_empty(), "{spec} has no [[data]] table");
            let base = Path::new(spec).parent().unwrap_or(Path::new(""));
            read.data_dir = base.join(&read.data_dir);
            read
        } else {
            Self {
                data: vec![DataConfig::new(spec)],
                data_dir: PathBuf::new(),
                loader: LoaderConfig::default(),
                augment: AugmentConfig::default(),
            }
        };
        if let Some(folder) = folder {
            sources.data_dir = folder.into();
        }
        sources.data.iter().try_for_each(DataConfig::validate)?;
        sources.loader.validate()?;
        sources.augment.validate()?;
        Ok(sources)
    }

    /// What opens their files.
    pub fn files(&self) -> Files {
        self.loader.files(&self.data_dir)
    }
}

/// A share of the samples, as an argument.
pub fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a share between 0 and 1, for example 0.01".into())
}

/// A bar for `len` samples.
pub fn progress_bar(len: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:30} {human_pos}/{human_len} samples, {per_sec}, {eta} left",
    );
    ProgressBar::new(len as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
