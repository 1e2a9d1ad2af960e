//! Evaluation: the metrics, and what runs a model over a data set to compute them. Used by `coca-train eval` and
//! while training.

mod answering;
mod bleu;
mod captioning;
mod cider;
mod classifying;
mod confusion;
mod meteor;
mod names;
mod ngrams;
mod ptb;
mod ranking;
mod retrieving;
mod rouge;
mod runner;
mod sample_answers;
mod summary;
mod templates;
mod vqa_accuracy;

use std::collections::BTreeMap;

pub use answering::answer_questions;
pub use captioning::{caption_images, sample_captions};
pub use classifying::{ZeroShot, classify_images};
use confusion::Confusion;
pub use meteor::Meteor;
pub use names::ClassNames;
pub use retrieving::{retrieve, retrieve_with_examples};
pub use runner::Runner;
pub use sample_answers::sample_answers;
pub use summary::Summary;
pub use templates::Templates;

/// Metrics by name; fractions, not per cent.
pub type Metrics = BTreeMap<&'static str, f64>;

/// What an evaluation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// How many images (for questions: questions) the metrics are over.
    pub n: usize,
    /// The metrics.
    pub metrics: Metrics,
    /// For captions: how METEOR matched words.
    pub meteor_modules: Vec<&'static str>,
    /// For zero-shot classification: which class was taken for which.
    pub confusion: Option<Confusion>,
}

impl Report {
    /// With metrics alone.
    pub fn new(n: usize, metrics: Metrics) -> Self {
        Self {
            n,
            metrics,
            ..Self::default()
        }
    }
}

/// A caption and what people wrote about the same image, as words.
#[derive(Clone, Debug, PartialEq)]
struct Described {
    caption: Vec<String>,
    references: Vec<Vec<String>>,
}

impl Described {
    /// With a word such as `1 1/2` as two: some of the reference implementations split at any blank, others do not.
    fn without_blanks(&self) -> Self {
        let split = |words: &Vec<String>| -> Vec<String> {
            let parts = words.iter().flat_map(|word| word.split_whitespace());
            parts.map(String::from).collect()
        };
        Self {
            caption: split(&self.caption),
            references: self.references.iter().map(split).collect(),
        }
    }
}
