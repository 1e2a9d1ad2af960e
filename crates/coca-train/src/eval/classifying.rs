//! Zero-shot classification of a data set.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result};
use pollster::block_on;

use super::ranking::{classification, dot, rank};
use super::{Report, Runner};
use crate::data::{EvalSamples, label_text};

/// `top1`, `top5` and `mean_per_class` of the zero-shot classifier of `labels`, or of all labels that occur, in
/// `templates`, or the model's own.
///
/// # Errors
/// A sample without a label or with one that is not in `labels`, and what the model fails on.
pub fn classify_images(
    runner: &Runner<'_>,
    samples: EvalSamples,
    labels: Option<&[String]>,
    templates: Option<&[String]>,
) -> Result<Report> {
    let found: Vec<(String, Vec<f32>)> = runner.over(samples, |chunk| {
        let label = |(sample, embedding): (&crate::data::EvalSample, &Vec<f32>)| {
            let label = sample.label.clone();
            let label = label.with_context(|| format!("the sample {} has no label", sample.key))?;
            Ok((label, embedding.clone()))
        };
        chunk
            .samples
            .iter()
            .zip(chunk.images.embeddings())
            .map(label)
            .collect()
    })?;
    let occurring: BTreeSet<&str> = found.iter().map(|(label, _)| label.as_str()).collect();
    let labels: Vec<String> = match labels {
        Some(labels) => labels.iter().map(|label| label_text(label)).collect(),
        None => occurring.into_iter().map(String::from).collect(),
    };
    let number: HashMap<&str, usize> = labels.iter().map(String::as_str).zip(0..).collect();
    let classifier = block_on(runner.predictor.zero_shot_classifier(&labels, templates))?;
    let (mut classes, mut ranks) = (Vec::new(), Vec::new());
    for (label, image) in &found {
        let &class = number.get(label.as_str()).with_context(|| {
            format!(
                "the data has the label \"{label}\", which is not among the {} given",
                labels.len()
            )
        })?;
        let scores: Vec<f32> = classifier
            .embeddings()
            .iter()
            .map(|text| dot(image, text))
            .collect();
        classes.push(class);
        ranks.push(rank(&scores, class));
    }
    Ok(Report {
        n: found.len(),
        metrics: classification(&classes, &ranks),
    })
}
