//! The metrics of a run.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::observe::{line, metrics_file};

/// Larger files are not read whole.
const MAX_BYTES: u64 = 4 << 30;

/// Points of a curve: step and value.
pub type Points = Vec<(f64, f64)>;

/// The lines of `metrics.jsonl`.
#[derive(Debug, Default)]
pub struct History {
    /// Lines of training, in the order of the steps.
    pub steps: Vec<Value>,
    /// Lines of validation, in the order of the steps.
    pub validations: Vec<Value>,
    /// How many lines could not be read.
    pub unreadable: usize,
}

impl History {
    /// Reads the metrics of the run in `output`.
    ///
    /// # Errors
    /// There are none.
    pub fn read(output: &Path) -> Result<Self> {
        let path = output.join(metrics_file::NAME);
        let found = std::fs::metadata(&path).with_context(|| {
            format!(
                "{} is not there; give the folder that a training configuration names as `output`",
                path.display()
            )
        })?;
        ensure!(
            found.len() <= MAX_BYTES,
            "{} has more than 4 GiB; log less often",
            path.display()
        );
        let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// Sorts lines. One that a killed run left half written is passed over.
    pub fn parse(text: &str) -> Self {
        let mut history = Self::default();
        for text in text.lines().filter(|text| !text.trim().is_empty()) {
            let parsed: Option<Value> = serde_json::from_str(text).ok();
            match parsed.filter(|parsed| line::step(parsed).is_some()) {
                Some(parsed) if line::validation(&parsed).is_some() => {
                    history.validations.push(parsed);
                }
                Some(parsed) => history.steps.push(parsed),
                None => history.unreadable += 1,
            }
        }
        history.steps.sort_by_key(line::step);
        history.validations.sort_by_key(line::step);
        history
    }

    /// A measurement of the training.
    pub fn training(&self, name: &str) -> Points {
        curve(self.steps.iter(), |line| line[name].as_f64())
    }

    /// A measurement on a data set, by its name as in [`line::scalars`].
    pub fn validation(&self, set: &str, name: &str) -> Points {
        let pointer = format!("/{name}");
        let lines = self
            .validations
            .iter()
            .filter(|line| line::validation(line) == Some(set));
        curve(lines, |line| line.pointer(&pointer)?.as_f64())
    }

    /// The names of the measurements of the training, sorted.
    pub fn training_names(&self) -> Vec<String> {
        names(self.steps.iter())
    }

    /// The names of the measurements on a data set, sorted.
    pub fn validation_names(&self, set: &str) -> Vec<String> {
        let lines = self.validations.iter();
        names(lines.filter(|line| line::validation(line) == Some(set)))
    }

    /// The names of the data sets.
    pub fn sets(&self) -> Vec<&str> {
        let mut sets = Vec::new();
        for set in self.validations.iter().filter_map(line::validation) {
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
        sets
    }

    /// The last line.
    pub fn last(&self) -> Option<&Value> {
        let (step, validation) = (self.steps.last(), self.validations.last());
        step.into_iter()
            .chain(validation)
            .max_by_key(|line| line::step(line))
    }
}

fn curve<'a>(
    lines: impl Iterator<Item = &'a Value>,
    value: impl Fn(&Value) -> Option<f64>,
) -> Points {
    lines
        .filter_map(|line| Some((line::step(line)? as f64, value(line)?)))
        .filter(|(_, value)| value.is_finite())
        .collect()
}

fn names<'a>(lines: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in lines.flat_map(line::scalars) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_by_cached_key(|name| natural(name));
    names
}

/// A key that puts `r5` before `r10`.
fn natural(name: &str) -> (String, u64) {
    let text = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name
        .get(text.len()..)
        .and_then(|digits| digits.parse().ok());
    (text.into(), number.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_and_torn_ones_counted() {
        let history = History::parse(
            "{\"step\": 2, \"loss\": 1.5}\n{\"step\": 1, \"loss\": 2}\n\n[1]\n\
             {\"step\": 2, \"validation\": \"a\", \"vqa\": {\"exact_match\": 0.5}}\n{\"step\": 3, \"lo",
        );
        assert_eq!(history.training("loss"), [(1.0, 2.0), (2.0, 1.5)]);
        assert_eq!(history.validation("a", "vqa/exact_match"), [(2.0, 0.5)]);
        assert_eq!(history.validation_names("a"), ["vqa/exact_match"]);
        assert_eq!((history.sets(), history.unreadable), (vec!["a"], 2));
        let mut names = ["r10", "r5", "b", "r1"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["b", "r1", "r5", "r10"]);
        assert!(
            History::read(Path::new("nowhere"))
                .unwrap_err()
                .to_string()
                .contains("`output`")
        );
    }
}
