//! `metrics.jsonl`: one JSON object a line, for every logged step and every validation.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// The metrics file of a run.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
}

impl Metrics {
    /// Begins the file anew, or, to resume, keeps the lines up to `step`: what came after belongs to steps that are
    /// about to be repeated.
    pub fn open(output: &Path, step: u64) -> Result<Self> {
        let path = output.join("metrics.jsonl");
        let old = if step == 0 {
            String::new()
        } else {
            std::fs::read_to_string(&path).unwrap_or_default()
        };
        let kept: String = old
            .lines()
            .filter(|line| {
                let parsed: Option<Value> = serde_json::from_str(line).ok();
                parsed
                    .and_then(|line| line["step"].as_u64())
                    .is_some_and(|at| at <= step)
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let mut file = tempfile::NamedTempFile::new_in(output)
            .with_context(|| format!("writing in {}", output.display()))?;
        file.write_all(kept.as_bytes())?;
        file.persist(&path)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { path })
    }

    /// Appends one line.
    pub fn write(&self, line: &Value) -> Result<()> {
        let append = || -> std::io::Result<()> {
            let mut file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.path)?;
            // One call, so that a line is never torn by another writer or an interruption in between.
            file.write_all(format!("{line}\n").as_bytes())
        };
        append().with_context(|| format!("writing {}", self.path.display()))
    }
}
