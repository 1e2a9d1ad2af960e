//! Answers to the questions of a data set.

use anyhow::{Result, ensure};
use coca_model::generate::GenerateOptions;
use coca_model::tasks::Answer;
use pollster::block_on;

use super::vqa_accuracy::{exact_match, vqa_accuracy};
use super::{Metrics, Report, Runner};
use crate::data::EvalSamples;

/// `exact_match` and `vqa_accuracy` of greedy answers.
///
/// # Errors
/// There is no question, and what the model fails on.
pub fn answer_questions(runner: &Runner<'_>, samples: EvalSamples) -> Result<Report> {
    let options = GenerateOptions::for_answers();
    let right = runner.over(samples, |chunk| {
        let asked: Vec<(usize, &(String, Vec<String>))> = chunk
            .samples
            .iter()
            .enumerate()
            .flat_map(|(image, sample)| sample.qa.iter().map(move |qa| (image, qa)))
            .collect();
        let questions: Vec<(usize, &str)> = asked
            .iter()
            .map(|(image, (question, _))| (*image, question.as_str()))
            .collect();
        let answers = block_on(
            runner
                .predictor
                .answer_many(chunk.images, &questions, &options),
        )?;
        let judge = |(answer, (_, (_, truths))): (Answer, &(usize, &(String, Vec<String>)))| {
            let exact = f64::from(u8::from(exact_match(&answer.text, truths)));
            (exact, vqa_accuracy(&answer.text, truths))
        };
        Ok(answers.into_iter().zip(&asked).map(judge).collect())
    })?;
    ensure!(!right.is_empty(), "no sample has a question (`qa`)");
    let mean = |sum: f64| sum / right.len() as f64;
    let metrics = Metrics::from([
        (
            "exact_match",
            mean(right.iter().map(|(exact, _)| exact).sum()),
        ),
        ("vqa_accuracy", mean(right.iter().map(|(_, vqa)| vqa).sum())),
    ]);
    Ok(Report::new(right.len(), metrics))
}
