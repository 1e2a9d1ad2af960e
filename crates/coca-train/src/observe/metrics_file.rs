//! `metrics.jsonl`: one JSON object a line, for every logged step and every validation. `docs/metrics.md` describes
//! the fields.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Event, Observer, line};
use crate::disk::replace_file;

/// The file's name in the folder of a run.
pub const NAME: &str = "metrics.jsonl";

/// The metrics file of a run.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
}

impl MetricsFile {
    /// Begins the file anew, or, to resume, keeps the lines up to `step`: what came after belongs to steps that are
    /// about to be repeated. Returns it with the seconds that the run had taken by then.
    pub fn open(output: &Path, step: u64) -> Result<(Self, f64)> {
        let path = output.join(NAME);
        let old = if step == 0 {
            String::new()
        } else {
            std::fs::read_to_string(&path).unwrap_or_default()
        };
        let (mut kept, mut seconds) = (String::new(), 0.0f64);
        for text in old.lines() {
            let Ok(parsed) = serde_json::from_str::<Value>(text) else {
                continue;
            };
            if line::step(&parsed).is_some_and(|at| at <= step) {
                kept += text;
                kept.push('\n');
                seconds = seconds.max(parsed["seconds"].as_f64().unwrap_or(0.0));
            }
        }
        replace_file(&path, kept.as_bytes())?;
        Ok((Self { path }, seconds))
    }

    fn append(&self, line: &Value) -> Result<()> {
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

impl Observer for MetricsFile {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Logged(line) => self.append(line),
            Event::Validated(found) => found.iter().try_for_each(|set| self.append(&set.line)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resuming_forgets_what_is_repeated_and_remembers_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, seconds) = MetricsFile::open(folder.path(), 0).unwrap();
        assert_eq!(seconds, 0.0);
        for step in 1..=3 {
            let line = json!({ "step": step, "seconds": step * 10 });
            file.observe(&Event::Logged(&line)).unwrap();
        }
        let (_, seconds) = MetricsFile::open(folder.path(), 2).unwrap();
        let text = std::fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert_eq!((text.lines().count(), seconds), (2, 20.0));
    }
}
