//! `coca-train answer`: answers to a question about images.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use coca_model::generate::GenerateOptions;
use coca_model::tasks::Answer;
use pollster::block_on;
use serde::Serialize;

use super::model::ModelArgs;
use super::{UsageError, images, labels, output};

/// Answer a question about each image.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The question.
    #[arg(long, value_name = "TEXT", value_parser = labels::not_blank)]
    question: String,
    /// The possible answers, separated by commas, or @FILE with one a line; without them the answer is free.
    #[arg(long, value_name = "CHOICES")]
    choices: Option<String>,
    /// The images.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Line<'a> {
    image: &'a str,
    question: &'a str,
    answer: &'a str,
    log_prob: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    choices: Option<Vec<Choice<'a>>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    answer: &'a str,
    score: f32,
}

/// Runs the command.
pub fn run(args: &Args, device: &Device) -> Result<()> {
    let choices = args
        .choices
        .as_deref()
        .map(|text| labels::list(text, "choice"))
        .transpose()?;
    let predictor = args.model.open(device)?;
    let options = GenerateOptions::for_answers();
    images::each_batch(&predictor, &args.images, |names, images| {
        let mut go_on = |_: coca_model::tasks::TextEvent<'_>| ControlFlow::Continue(());
        let answers = predictor.answer(
            images,
            &args.question,
            choices.as_deref(),
            &options,
            &mut go_on,
        );
        let answers = block_on(answers).map_err(UsageError::from_setting)?;
        names
            .iter()
            .zip(&answers)
            .try_for_each(|(image, answer)| print(args, image, answer))
    })
}

fn print(args: &Args, image: &str, answer: &Answer) -> Result<()> {
    let choices = answer.choices.as_deref();
    if args.model.json {
        let choices = choices.map(|choices| {
            choices
                .iter()
                .map(|choice| Choice {
                    answer: &choice.answer,
                    score: choice.score,
                })
                .collect()
        });
        let (question, log_prob) = (args.question.as_str(), answer.log_prob);
        return output::json(&Line {
            image,
            question,
            answer: &answer.text,
            log_prob,
            choices,
        });
    }
    output::line(format!("{image}: {}", answer.text))?;
    choices.unwrap_or_default().iter().try_for_each(|choice| {
        output::line(format!(
            "{:>7.2} %  {}",
            100.0 * choice.score,
            choice.answer
        ))
    })
}
