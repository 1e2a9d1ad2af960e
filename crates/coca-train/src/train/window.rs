//! What happened since the last logged step.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::TrainConfig;
use super::config::LossConfig;
use super::trainer::{StepReport, Trainer};
use crate::observe;

/// Reports of the steps since the last logged one.
pub struct Window {
    since: Instant,
    /// What `seconds` counts from.
    began: Instant,
    seconds_before: f64,
    /// Images since the run began.
    samples: u64,
    /// And since the last logged step.
    new_samples: usize,
    reports: Vec<StepReport>,
}

impl Window {
    /// An empty window that starts now, after `step` steps and `seconds_before` seconds of an interrupted run.
    pub fn new(config: &TrainConfig, step: u64, seconds_before: f64) -> Self {
        Self {
            since: Instant::now(),
            began: Instant::now(),
            seconds_before,
            samples: step * config.loader.batch_size as u64,
            new_samples: 0,
            reports: Vec::new(),
        }
    }

    /// One more step, of this many images.
    pub fn add(&mut self, samples: usize, report: StepReport) {
        self.samples += samples as u64;
        self.new_samples += samples;
        self.reports.push(report);
    }

    /// Leaves time that was spent on other things than steps out.
    pub fn pause(&mut self, time: Duration) {
        self.since += time;
    }

    /// The means over the steps that were not skipped as a line of metrics, and a fresh window.
    pub fn line(&mut self, trainer: &Trainer, weights: LossConfig) -> Value {
        let mut line = json!({ "step": trainer.step });
        if let Some(last) = self.reports.last() {
            line["learning_rate"] = json!(last.learning_rate);
        }
        type Part = fn(&StepReport) -> Option<f64>;
        let parts: [(&str, f64, Part); 3] = [
            ("contrastive", weights.contrastive, |report| {
                report.contrastive
            }),
            ("caption", weights.caption, |report| report.caption),
            ("language_model", weights.language_model, |report| {
                report.language_model
            }),
        ];
        let mut total = None;
        for (name, weight, part) in parts {
            if let Some(mean) = self.mean(part) {
                line[name] = json!(mean);
                total = Some(total.unwrap_or(0.0) + weight * mean);
            }
        }
        // No loss at all where every step was skipped.
        if let Some(total) = total {
            line["loss"] = json!(total);
        }
        if let Some(norm) = self.mean(|report| Some(report.gradient_norm)) {
            line["gradient_norm"] = json!(norm);
        }
        if trainer.skipped.total > 0 {
            line["skipped_steps"] = json!(trainer.skipped.total);
        }
        line["samples_per_second"] =
            json!(self.new_samples as f64 / self.since.elapsed().as_secs_f64());
        self.stamp(&mut line);
        self.since = Instant::now();
        self.new_samples = 0;
        self.reports.clear();
        line
    }

    /// Notes in a line when it is written.
    pub fn stamp(&self, line: &mut Value) {
        let seconds = self.seconds_before + self.began.elapsed().as_secs_f64();
        line["time"] = json!(observe::now());
        line["seconds"] = json!((seconds * 1000.0).round() / 1000.0);
        line["samples"] = json!(self.samples);
    }

    fn mean(&self, part: impl Fn(&StepReport) -> Option<f64>) -> Option<f64> {
        let taken = self.reports.iter().filter(|report| !report.skipped);
        let values: Vec<f64> = taken.filter_map(part).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}
