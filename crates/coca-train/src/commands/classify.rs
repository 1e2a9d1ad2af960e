//! `coca-train classify`: zero-shot classification of images.

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::Device;
use coca_model::tasks::LabelScore;
use pollster::block_on;
use serde::Serialize;

use super::model::ModelArgs;
use super::{UsageError, images, labels, output};

/// Say which label fits each image best.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The labels, separated by commas, or @FILE with one a line.
    #[arg(long, value_name = "LABELS")]
    labels: String,
    /// A prompt template with {} for the label; several are averaged. The model's own if not given.
    #[arg(long = "template", value_name = "TEMPLATE", value_parser = labels::template)]
    templates: Vec<String>,
    /// The images.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Line<'a> {
    image: &'a str,
    labels: Vec<Score<'a>>,
}

#[derive(Serialize)]
struct Score<'a> {
    label: &'a str,
    score: f32,
}

/// Runs the command.
pub fn run(args: &Args, device: &Device) -> Result<()> {
    let labels = labels::list(&args.labels, "label")?;
    let templates = (!args.templates.is_empty()).then_some(args.templates.as_slice());
    let predictor = args.model.open(device)?;
    let classifier = block_on(predictor.zero_shot_classifier(&labels, templates))
        .map_err(UsageError::from_setting)?;
    images::each_batch(&predictor, &args.images, |names, images| {
        let scores = block_on(predictor.classify(images, &classifier))?;
        names
            .iter()
            .zip(&scores)
            .try_for_each(|(image, scores)| print(args.model.json, image, scores))
    })
}

fn print(json: bool, image: &str, scores: &[LabelScore]) -> Result<()> {
    if json {
        let labels = scores
            .iter()
            .map(|score| Score {
                label: &score.label,
                score: score.score,
            })
            .collect();
        return output::json(&Line { image, labels });
    }
    output::line(image)?;
    // The rest of a long list is noise for people.
    scores.iter().take(5).try_for_each(|score| {
        output::line(format!("{:>7.2} %  {}", 100.0 * score.score, score.label))
    })
}
