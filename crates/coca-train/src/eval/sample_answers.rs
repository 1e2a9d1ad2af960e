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
    /// What the data say: each different answer once, with strokes between them.
    pub reference: String,
    /// Whether they are the same, as `exact_match` counts.
    pub correct: bool,
}

/// An image's place in its chunk, its sample, and a question with its answers.
type Asked<'a> = (usize, &'a EvalSample, &'a (String, Vec<String>));

/// Greedy answers to the first question of each sample that has one.
pub fn sample_answers(runner: &Runner<'_>, samples: EvalSamples) -> Result<Vec<SampleAnswer>> {
    let options = GenerateOptions::for_answers();
    runner.over(samples, |chunk| {
        let asked: Vec<Asked<'_>> = chunk
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
        let sample = |(answer, (_, sample, (question, references))): (
            coca_model::tasks::Answer,
            &Asked<'_>,
        )| SampleAnswer {
            key: sample.key.clone(),
            question: question.clone(),
            correct: exact_match(&answer.text, references),
            answer: answer.text,
            reference: different(references).join(" / "),
        };
        Ok(answers.into_iter().zip(&asked).map(sample).collect())
    })
}

/// Each answer once, in their order.
fn different(answers: &[String]) -> Vec<&str> {
    let mut different: Vec<&str> = Vec::new();
    for answer in answers {
        if !different.contains(&answer.as_str()) {
            different.push(answer);
        }
    }
    different
}
