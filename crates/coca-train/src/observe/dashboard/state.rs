//! What the dashboard knows.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::observe::{Event, line, metrics_file};
use crate::train::TrainConfig;

/// Messages that are kept.
const MESSAGES: usize = 100;
/// Points of a curve that are kept; when there are more, every other one goes.
const POINTS: usize = 4096;

/// The curves by the names that metrics have.
pub const LOSSES: [&str; 4] = ["loss", "contrastive", "caption", "language_model"];

/// What the dashboard shows.
#[derive(Debug, Default)]
pub struct State {
    /// The model's name.
    pub name: String,
    /// Steps of the run.
    pub steps: u64,
    /// Images of a step.
    pub batch: u64,
    /// Steps done.
    pub step: u64,
    /// What it is doing.
    pub doing: Doing,
    /// Logged steps.
    pub history: Vec<Value>,
    /// The last captions and answers.
    pub samples: Vec<Sample>,
    /// The last measurement on every data set.
    pub validations: Vec<Value>,
    /// The last messages, oldest first.
    pub messages: VecDeque<String>,
    /// Whether losses are shown on a logarithmic scale.
    pub logarithmic: bool,
    /// Set when the run is to stop.
    pub stop: Arc<AtomicBool>,
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Opening data.
    #[default]
    Starting,
    /// Training.
    Training,
    /// Validating.
    Validating,
}

/// What the model wrote about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The sample's key.
    pub key: String,
    /// The question, if it is an answer.
    pub question: Option<String>,
    /// What the model wrote.
    pub text: String,
    /// What the data say.
    pub reference: String,
}

impl State {
    /// The state before the first step. A resumed run continues its curves.
    pub fn new(config: &TrainConfig, output: &Path, step: u64, stop: &Arc<AtomicBool>) -> Self {
        let mut state = Self {
            name: config.name.clone(),
            steps: config.steps,
            batch: config.loader.batch_size as u64,
            step,
            stop: Arc::clone(stop),
            ..Self::default()
        };
        // Curves that start late are no reason not to train.
        let text = std::fs::read_to_string(output.join(metrics_file::NAME)).unwrap_or_default();
        for line in text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
        {
            state.note(&line);
        }
        state
    }

    /// Takes note of an event.
    pub fn update(&mut self, event: &Event<'_>) {
        match event {
            Event::Started(_) => self.doing = Doing::Training,
            Event::Stepped { step, .. } => {
                self.step = *step;
                self.doing = Doing::Training;
            }
            Event::Logged(logged) => self.note(logged),
            Event::Validating(_) => self.doing = Doing::Validating,
            Event::Validated(found) => {
                self.doing = Doing::Training;
                self.validations.clear();
                self.samples.clear();
                found.iter().for_each(|set| self.note(&set.line));
            }
            Event::Saved { step, .. } => self.say(format!("saved step {step}")),
            Event::Ended { .. } => {}
        }
    }

    /// Takes note of a line of metrics.
    fn note(&mut self, logged: &Value) {
        let Some(name) = line::validation(logged) else {
            self.history.push(logged.clone());
            if self.history.len() > POINTS {
                let mut at = 0;
                self.history.retain(|_| {
                    at += 1;
                    at % 2 == 0
                });
            }
            return;
        };
        self.validations
            .retain(|old| line::validation(old) != Some(name));
        self.validations.push(logged.clone());
        for list in ["captions", "answers"] {
            for entry in logged[list].as_array().into_iter().flatten() {
                let text = |field: &str| Some(entry[field].as_str()?.to_owned());
                let Some(key) = text("key") else { continue };
                self.samples.push(Sample {
                    key,
                    question: text("question"),
                    text: text("caption")
                        .or_else(|| text("answer"))
                        .unwrap_or_default(),
                    reference: text("reference").unwrap_or_default(),
                });
            }
        }
    }

    /// Keeps a message.
    pub fn say(&mut self, message: String) {
        if self.messages.len() == MESSAGES {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    /// A measurement over the logged steps.
    pub fn curve(&self, name: &str) -> Vec<(f64, f64)> {
        let point = |line: &Value| Some((line::step(line)? as f64, line[name].as_f64()?));
        self.history.iter().filter_map(point).collect()
    }

    /// The last value of a measurement.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.history.last()?[name].as_f64()
    }

    /// Whether the run has been told to stop.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
