//! Watching a run. The training loop tells what happens; observers write it down or show it, each in its own way.
//!
//! ```text
//!               ┌─► MetricsFile   metrics.jsonl
//! train ─ Event ┼─► Console       a progress bar, plain lines, or the dashboard
//!               ├─► TensorBoard   tensorboard/events.out.tfevents.*
//!               └─► Report        report.html, with run.json and pictures/ to rebuild it from
//! ```
//! An observer that fails, on a full disk for example, is warned about and never stops the training.

mod console;
mod dashboard;
mod interrupt;
mod line;
mod lines;
mod machine;
mod metrics_file;
mod picture;
mod progress;
mod record;
mod report;
mod tensorboard;
mod units;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use coca_model::weights::ModelFolder;
use serde_json::Value;

use crate::data::{Batch, Log, SourceProgress};
use crate::train::TrainConfig;
use metrics_file::MetricsFile;

pub use interrupt::interrupt;
pub use line::now;
pub use picture::Picture;
pub use report::write as write_report;

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// Everything is open; the first step comes next.
    Started(&'a Started<'a>),
    /// A step is done, on this batch.
    Stepped {
        /// Optimiser steps done.
        step: u64,
        /// What it learnt from.
        batch: &'a Batch,
    },
    /// A line of metrics: the means since the last one.
    Logged(&'a Value),
    /// Validation begins, after this step.
    Validating(u64),
    /// Validation is done, on every data set.
    Validated(&'a [Validated]),
    /// A checkpoint is written.
    Saved {
        /// Optimiser steps done.
        step: u64,
        /// How far the data were gone through.
        data: &'a [SourceProgress],
    },
    /// Nothing more comes.
    Ended {
        /// Optimiser steps done.
        step: u64,
        /// How it ended.
        ending: &'a Ending,
        /// How far the data were gone through.
        data: &'a [SourceProgress],
    },
}

/// What is known when training begins.
#[derive(Debug)]
pub struct Started<'a> {
    /// The configuration.
    pub config: &'a TrainConfig,
    /// The model folder, without weights.
    pub frame: &'a ModelFolder,
    /// How many numbers are trained.
    pub parameters: usize,
    /// The device, in words.
    pub device: String,
    /// The data sets as they are now.
    pub data: Vec<SourceProgress>,
    /// Optimiser steps done before; above zero in a resumed run.
    pub step: u64,
}

/// What was measured on one data set.
#[derive(Debug)]
pub struct Validated {
    /// The line of metrics, which names pictures.
    pub line: Value,
    /// Those pictures.
    pub pictures: Vec<Picture>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// It was told to stop, and can be resumed.
    Interrupted,
    /// With what went wrong.
    Failed(String),
}

/// Someone who is told of a run.
trait Observer {
    /// What warnings call it.
    fn name(&self) -> &'static str;

    /// Takes note of an event.
    fn observe(&mut self, event: &Event<'_>) -> Result<()>;
}

/// All observers of a run.
pub struct Observers {
    all: Vec<Box<dyn Observer>>,
    messages: Log,
    warned: BTreeSet<String>,
    seconds: f64,
}

impl Observers {
    /// Opens those that `config` asks for. `step` is where the run starts, and `stop` is set to interrupt it.
    ///
    /// # Errors
    /// The metrics cannot be written in `output`.
    pub fn open(
        config: &TrainConfig,
        output: &Path,
        step: u64,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self> {
        let (metrics, seconds) = MetricsFile::open(output, step)?;
        let (console, messages) = console::open(config, output, step, stop);
        // The report reads what the metrics file has written, so it comes after it.
        let mut all: Vec<Box<dyn Observer>> = vec![Box::new(metrics), console];
        if config.log.tensorboard {
            all.push(Box::new(tensorboard::TensorBoard::new(output)));
        }
        if config.log.report {
            all.push(Box::new(report::Report::new(output)));
        }
        Ok(Self {
            all,
            messages,
            warned: BTreeSet::new(),
            seconds,
        })
    }

    /// Shows lines to whoever sits at the terminal, from any thread.
    pub fn messages(&self) -> Log {
        Arc::clone(&self.messages)
    }

    /// Seconds that the run had taken when it was interrupted; 0 for a new one.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Tells everyone. A failure is shown once.
    pub fn tell(&mut self, event: &Event<'_>) {
        for observer in &mut self.all {
            if let Err(error) = observer.observe(event) {
                let warning = format!(
                    "warning: {}: {error:#}; training goes on without it",
                    observer.name()
                );
                if self.warned.insert(warning.clone()) {
                    (self.messages)(&warning);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use anyhow::bail;

    use super::*;

    struct Failing(Arc<Mutex<usize>>);

    impl Observer for Failing {
        fn name(&self) -> &'static str {
            "the diary"
        }

        fn observe(&mut self, _: &Event<'_>) -> Result<()> {
            *self.0.lock().unwrap() += 1;
            bail!("no space left on device")
        }
    }

    #[test]
    fn a_failing_observer_is_warned_about_once_and_told_on() {
        let (told, shown) = (
            Arc::new(Mutex::new(0)),
            Arc::new(Mutex::new(Vec::<String>::new())),
        );
        let log = Arc::clone(&shown);
        let mut observers = Observers {
            all: vec![
                Box::new(Failing(Arc::clone(&told))),
                Box::new(Failing(Arc::clone(&told))),
            ],
            messages: Arc::new(move |line| log.lock().unwrap().push(line.into())),
            warned: BTreeSet::new(),
            seconds: 0.0,
        };
        observers.tell(&Event::Validating(1));
        observers.tell(&Event::Validating(2));
        assert_eq!(*told.lock().unwrap(), 4);
        let shown = shown.lock().unwrap();
        assert_eq!(shown.len(), 1);
        assert!(
            shown[0].contains("the diary: no space left"),
            "{}",
            shown[0]
        );
    }
}
