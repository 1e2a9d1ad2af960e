//! Plain lines, where standard error is a file or a pipe.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::{Event, Observer, line, units};
use crate::data::SourceProgress;
use crate::train::TrainConfig;

/// Steps are shown no more often than this.
const PAUSE: Duration = Duration::from_secs(30);

/// One line every so often.
#[derive(Debug)]
pub struct Lines {
    steps: u64,
    batch: u64,
    shown: Option<Instant>,
}

impl Lines {
    /// Lines of a run.
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            steps: config.steps,
            batch: config.loader.batch_size as u64,
            shown: None,
        }
    }

    /// The line for a logged step, unless the last one was just now.
    fn step(&mut self, logged: &Value) -> Option<String> {
        let step = line::step(logged)?;
        let recent = self.shown.is_some_and(|shown| shown.elapsed() < PAUSE);
        if recent && step < self.steps {
            return None;
        }
        self.shown = Some(Instant::now());
        let speed = logged["samples_per_second"].as_f64()?;
        let left = self.steps.saturating_sub(step) * self.batch;
        Some(format!(
            "step {step}/{} ({}%)  {}  {speed:.1} samples/s, {} left",
            self.steps,
            100 * step / self.steps.max(1),
            line::losses(logged),
            units::duration(left as f64 / speed)
        ))
    }
}

impl Observer for Lines {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Logged(logged) => {
                if let Some(text) = self.step(logged) {
                    eprintln!("{text}");
                }
            }
            Event::Validated(found) => {
                for set in *found {
                    eprintln!("{}", line::measured(&set.line));
                }
            }
            Event::Ended { data, .. } => gone_through(data).for_each(|text| eprintln!("{text}")),
            _ => {}
        }
        Ok(())
    }
}

/// What became of each data set.
pub fn gone_through(data: &[SourceProgress]) -> impl Iterator<Item = String> {
    data.iter().map(|data| {
        format!(
            "{}: {} samples, gone through {:.1} times, {} broken",
            data.shards, data.samples, data.epochs, data.broken
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_few_and_the_last_step_is_among_them() {
        let mut lines = Lines {
            steps: 100,
            batch: 8,
            shown: None,
        };
        let at = |step: u64| json!({ "step": step, "loss": 1.5, "samples_per_second": 4.0 });
        assert_eq!(
            lines.step(&at(10)).unwrap(),
            "step 10/100 (10%)  loss 1.500  4.0 samples/s, 3 min 00 s left"
        );
        assert_eq!(lines.step(&at(20)), None);
        assert!(lines.step(&at(100)).unwrap().ends_with("0 s left"));
    }
}
