//! Captions of a data set: how they compare with people's, and how probable people's are.

use std::ops::ControlFlow;

use anyhow::{Result, ensure};
use coca_model::tasks::{CaptionOptions, Predictor, Surprise};
use pollster::block_on;
use serde::Serialize;

use super::bleu::bleu;
use super::cider::cider_d;
use super::meteor::Meteor;
use super::ptb::words;
use super::rouge::rouge_l;
use super::runner::Chunk;
use super::{Described, Metrics, Report, Runner};
use crate::data::EvalSamples;

/// `bleu1` to `bleu4`, `meteor`, `rouge_l` and `cider` of the captions that `options` give, and the `perplexity` of
/// people's captions.
///
/// # Errors
/// A sample without a caption, settings without meaning, what the model fails on, and METEOR's data.
pub fn caption_images(
    runner: &Runner<'_>,
    samples: EvalSamples,
    options: &CaptionOptions,
    meteor: &Meteor,
) -> Result<Report> {
    let found = runner.over(samples, |chunk| {
        for sample in chunk.samples {
            ensure!(
                !sample.captions.is_empty(),
                "the sample {} has no caption",
                sample.key
            );
        }
        let written = captions(runner.predictor, &chunk, options)?.into_iter();
        let described = written
            .zip(chunk.samples)
            .map(|(caption, sample)| Described {
                caption: words(&caption),
                references: sample.captions.iter().map(|text| words(text)).collect(),
            });
        let numbered = chunk.samples.iter().enumerate();
        let peoples: Vec<(usize, &str)> = numbered
            .flat_map(|(image, sample)| {
                sample
                    .captions
                    .iter()
                    .map(move |text| (image, text.as_str()))
            })
            .collect();
        let surprise = block_on(runner.predictor.caption_surprise(chunk.images, &peoples))?;
        Ok(vec![(described.collect::<Vec<_>>(), surprise)])
    })?;
    let (described, surprise): (Vec<Vec<Described>>, Vec<Surprise>) = found.into_iter().unzip();
    let described: Vec<Described> = described.into_iter().flatten().collect();
    let mut metrics = caption_metrics(&described, meteor, runner.threads)?;
    let surprise: Surprise = surprise.into_iter().sum();
    metrics.insert("perplexity", surprise.perplexity());
    Ok(Report {
        meteor_modules: meteor.modules(),
        ..Report::new(described.len(), metrics)
    })
}

/// What the COCO caption evaluation computes, but for SPICE.
fn caption_metrics(described: &[Described], meteor: &Meteor, threads: usize) -> Result<Metrics> {
    let [bleu1, bleu2, bleu3, bleu4] = bleu(described);
    Ok(Metrics::from([
        ("bleu1", bleu1),
        ("bleu2", bleu2),
        ("bleu3", bleu3),
        ("bleu4", bleu4),
        ("meteor", meteor.score(described, threads)?),
        ("rouge_l", rouge_l(described)),
        ("cider", cider_d(described)),
    ]))
}

/// A caption to read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleCaption {
    /// The sample's key.
    pub key: String,
    /// What the model wrote.
    pub caption: String,
    /// What the data says: the first caption, or the label.
    pub reference: Option<String>,
}

/// Greedy captions of the samples.
pub fn sample_captions(runner: &Runner<'_>, samples: EvalSamples) -> Result<Vec<SampleCaption>> {
    runner.over(samples, |chunk| {
        let captions = captions(runner.predictor, &chunk, &CaptionOptions::default())?;
        let sample = |(caption, sample): (String, &crate::data::EvalSample)| SampleCaption {
            key: sample.key.clone(),
            caption,
            reference: sample.captions.first().or(sample.label.as_ref()).cloned(),
        };
        Ok(captions
            .into_iter()
            .zip(chunk.samples)
            .map(sample)
            .collect())
    })
}

fn captions(
    predictor: &Predictor,
    chunk: &Chunk<'_>,
    options: &CaptionOptions,
) -> Result<Vec<String>> {
    let written =
        block_on(predictor.caption(chunk.images, options, &mut |_| ControlFlow::Continue(())))?;
    Ok(written.into_iter().map(|caption| caption.text).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        captions: Vec<String>,
        references: Vec<Vec<String>>,
        metrics: BTreeMap<String, f64>,
        meteor_with_data: BTreeMap<String, f64>,
    }

    /// Numbers of pycocoevalcap; see tests/python/make_caption_metrics.py.
    #[test]
    fn metrics_are_those_of_the_coco_caption_evaluation() {
        let text = include_str!("../../../../tests/golden/data/captions.json");
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        let described: Vec<Described> = fixture
            .captions
            .iter()
            .zip(&fixture.references)
            .map(|(caption, references)| Described {
                caption: words(caption),
                references: references.iter().map(|text| words(text)).collect(),
            })
            .collect();
        assert!(described.len() > 100);
        let found = caption_metrics(&described, &Meteor::default(), 2).unwrap();
        for (name, expected) in &fixture.metrics {
            let found = found[name.as_str()];
            assert!(
                (found - expected).abs() < 1e-9,
                "{name}: {found} {expected}"
            );
        }
        assert_eq!(found.len(), fixture.metrics.len());
        let data = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/golden/data/meteor"
        );
        let meteor = Meteor::open(Path::new(data)).unwrap();
        let expected = fixture.meteor_with_data[&meteor.modules().join(" ")];
        let found = meteor.score(&described, 3).unwrap();
        assert!(
            (found - expected).abs() < 1e-9,
            "meteor with data: {found} {expected}"
        );
    }
}
