//! The progress bar.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::lines::gone_through;
use super::{Ending, Event, Observer, line};
use crate::data::Log;
use crate::train::TrainConfig;

const STYLE: &str =
    "{bar:30} {percent:>3}% {human_pos}/{human_len} samples, {per_sec}, {eta} left  {wide_msg}";

/// A bar of samples, with the losses beside it.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    losses: String,
}

impl Progress {
    /// A bar that starts at `step`.
    pub fn new(config: &TrainConfig, step: u64) -> Self {
        let batch = config.loader.batch_size as u64;
        let bar = ProgressBar::new(config.steps.saturating_mul(batch))
            .with_position(step.saturating_mul(batch));
        bar.set_style(
            ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.reset_eta();
        // So that it does not look dead in a long step.
        bar.enable_steady_tick(Duration::from_secs(1));
        Self {
            bar,
            losses: String::new(),
        }
    }

    /// Shows lines above the bar.
    pub fn messages(&self) -> Log {
        let bar = self.bar.clone();
        Arc::new(move |line| bar.suspend(|| eprintln!("{line}")))
    }
}

impl Observer for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Stepped { batch, .. } => self.bar.inc(batch.batch_size as u64),
            Event::Logged(logged) => {
                self.losses = line::losses(logged);
                self.bar.set_message(self.losses.clone());
            }
            Event::Validating(step) => self
                .bar
                .set_message(format!("{} (validating step {step})", self.losses)),
            Event::Validated(found) => {
                self.bar.set_message(self.losses.clone());
                for set in *found {
                    self.bar.println(line::measured(&set.line));
                }
            }
            Event::Ended { ending, data, .. } => {
                match ending {
                    Ending::Finished => self.bar.finish(),
                    Ending::Interrupted | Ending::Failed(_) => self.bar.abandon(),
                }
                gone_through(data).for_each(|text| eprintln!("{text}"));
            }
            Event::Started(_) | Event::Saved { .. } => {}
        }
        Ok(())
    }
}
