//! Captions of a data set: how they compare with people's, and how probable people's are.

use std::ops::ControlFlow;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Tensor, TensorData};
use coca_model::tasks::{CaptionOptions, Predictor};
use coca_model::{LossWeights, TextBatch};
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
        let described = captions(runner.predictor, &chunk, options)?
            .into_iter()
            .zip(chunk.samples);
        let described = described.map(|(caption, sample)| Described {
            caption: words(&caption),
            references: sample
                .captions
                .iter()
                .map(|caption| words(caption))
                .collect(),
        });
        Ok(described
            .zip(negative_log_probs(runner.predictor, &chunk)?)
            .collect())
    })?;
    let (described, surprise): (Vec<Described>, Vec<(f64, usize)>) = found.into_iter().unzip();
    let (sum, tokens) = surprise
        .iter()
        .fold((0.0, 0), |(sum, tokens), (one, count)| {
            (sum + one, tokens + count)
        });
    let mut metrics = caption_metrics(&described, meteor, runner.threads)?;
    metrics.insert("perplexity", (sum / tokens.max(1) as f64).exp());
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

/// For each image the summed negative log-probability of its captions' tokens, end token included, given image and
/// caption prompt, and the number of those tokens.
fn negative_log_probs(predictor: &Predictor, chunk: &Chunk<'_>) -> Result<Vec<(f64, usize)>> {
    let config = predictor.model().config();
    let length = config.text_cfg.context_length;
    let [height, width] = config.vision_cfg.image_size.dims();
    let prompt = predictor.tokenizer().encode(&predictor.prompts().caption);
    let weights = LossWeights {
        contrastive: 0.0,
        caption: 1.0,
        language_model: 0.0,
    };
    let one =
        |(sample, prepared): (&crate::data::EvalSample, &coca_model::tasks::PreparedImage)| {
            let mut texts = TextBatch {
                length,
                ..TextBatch::default()
            };
            for caption in &sample.captions {
                let (ids, given) = row(predictor, &prompt, caption);
                texts.ids.extend(ids);
                texts.prefix_lengths.push(given);
                texts.image_of_row.push(0);
            }
            let pixels = TensorData::new(prepared.values().to_vec(), [1, 3, height, width]);
            let pixels = Tensor::from_data(pixels, predictor.device());
            let loss = predictor.model().forward(pixels, &texts, weights)?.caption;
            let loss = loss
                .with_context(|| format!("the captions of the sample {} are empty", sample.key))?;
            Ok((f64::from(loss.sum.into_scalar::<f32>()), loss.tokens))
        };
    chunk.samples.iter().zip(chunk.prepared).map(one).collect()
}

/// Start, prompt, caption, end and padding, and how many of them are given. What is too long is cut.
fn row(predictor: &Predictor, prompt: &[u32], caption: &str) -> (Vec<u32>, usize) {
    let (tokenizer, config) = (predictor.tokenizer(), predictor.model().config());
    let length = config.text_cfg.context_length;
    let prompt = &prompt[..prompt.len().min(length / 2)];
    let mut ids = vec![tokenizer.sot()];
    ids.extend(prompt);
    ids.extend(tokenizer.encode(caption));
    ids.truncate(length - 1);
    ids.push(tokenizer.eot());
    ids.resize(length, config.text_cfg.pad_id);
    (ids, 1 + prompt.len())
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
