//! Evaluation: the metrics, and what runs a model over a data set to compute them. Used by `coca-train eval` and
//! while training.

mod answering;
mod bleu;
mod captioning;
mod cider;
mod classifying;
mod ngrams;
mod ranking;
mod retrieving;
mod rouge;
mod runner;
mod sample_answers;
mod vqa_accuracy;
mod words;

use std::collections::BTreeMap;

use serde::Serialize;

pub use answering::answer_questions;
pub use captioning::{caption_images, sample_captions};
pub use classifying::classify_images;
pub use retrieving::{retrieve, retrieve_with_examples};
pub use runner::Runner;
pub use sample_answers::sample_answers;

/// Metrics by name; fractions, not per cent.
pub type Metrics = BTreeMap<&'static str, f64>;

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How many images (for questions: questions) the metrics are over.
    pub n: usize,
    /// The metrics.
    pub metrics: Metrics,
}

/// A caption and what people wrote about the same image, as words.
#[derive(Clone, Debug, PartialEq)]
struct Described {
    caption: Vec<String>,
    references: Vec<Vec<String>>,
}
