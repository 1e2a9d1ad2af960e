//! Answers to read.

use anyhow::Result;
use coca_model::generate::GenerateOptions;
use pollster::block_on;
use serde::Serialize;

use super::Runner;
use super::vqa_accuracy::exact_match;
use crate::data::{EvalSample, EvalSamples};

/// An answer to read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleAnswer {
    /// The sample's key.
    pub key: String,
    /// Its first question.
    pub question: String,
    /// What the model wrote.
    pub answer: String,
    /// What the data say.
    pub reference: String,
    /// Whether they are the same, as `exact_match` counts.
    pub correct: bool,
}

/// Greedy answers to the first question of each sample that has one.
pub fn sample_answers(runner: &Runner<'_>, samples: EvalSamples) -> Result<Vec<SampleAnswer>> {
    let options = GenerateOptions::for_answers();
    runner.over(samples, |chunk| {
        let asked: Vec<(usize, &EvalSample, &(String, String))> = chunk
            .samples
            .iter()
            .enumerate()
            .filter_map(|(image, sample)| Some((image, sample, sample.qa.first()?)))
            .collect();
        let questions: Vec<(usize, &str)> = asked
            .iter()
            .map(|(image, _, (question, _))| (*image, question.as_str()))
            .collect();
        let predictor = runner.predictor;
        let answers = block_on(predictor.answer_many(chunk.images, &questions, &options))?;
        let sample = |(answer, (_, sample, (question, reference))): (
            coca_model::tasks::Answer,
            &(usize, &EvalSample, &(String, String)),
        )| SampleAnswer {
            key: sample.key.clone(),
            question: question.clone(),
            correct: exact_match(&answer.text, reference),
            answer: answer.text,
            reference: reference.clone(),
        };
        Ok(answers.into_iter().zip(&asked).map(sample).collect())
    })
}
