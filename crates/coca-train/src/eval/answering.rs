//! Answers to the questions of a data set.

use anyhow::{Result, ensure};
use coca_model::generate::GenerateOptions;
use pollster::block_on;

use super::vqa_accuracy::{exact_match, vqa_match};
use super::{Metrics, Report, Runner};
use crate::data::EvalSamples;

/// `exact_match` and `vqa_accuracy` of greedy answers.
///
/// # Errors
/// There is no question, and what the model fails on.
pub fn answer_questions(runner: &Runner<'_>, samples: EvalSamples) -> Result<Report> {
    let options = GenerateOptions::for_answers();
    let right = runner.over(samples, |chunk| {
        let asked: Vec<(usize, &(String, String))> = chunk
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
        let judge = |(answer, (_, (_, truth))): (
            coca_model::tasks::Answer,
            &(usize, &(String, String)),
        )| {
            (
                exact_match(&answer.text, truth),
                vqa_match(&answer.text, truth),
            )
        };
        Ok(answers.into_iter().zip(&asked).map(judge).collect())
    })?;
    ensure!(!right.is_empty(), "no sample has a question (`qa`)");
    let share = |count: usize| count as f64 / right.len() as f64;
    let metrics = Metrics::from([
        (
            "exact_match",
            share(right.iter().filter(|(exact, _)| *exact).count()),
        ),
        (
            "vqa_accuracy",
            share(right.iter().filter(|(_, vqa)| *vqa).count()),
        ),
    ]);
    Ok(Report {
        n: right.len(),
        metrics,
    })
}
