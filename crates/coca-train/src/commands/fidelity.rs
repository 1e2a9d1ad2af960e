//! How close a converted model's results are to those of its source.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use coca_model::tasks::{CaptionOptions, TextEvent};
use coca_model::weights::{ModelFolder, SelfTest};
use pollster::block_on;
use serde::Serialize;

use crate::folder;

/// Things to find in a picture, of the kinds that zero-shot benchmarks ask for.
const LABELS: [&str; 24] = [
    "a cat",
    "a dog",
    "a horse",
    "a bird",
    "a fish",
    "a flower",
    "a tree",
    "a mountain",
    "a beach",
    "a city at night",
    "a car",
    "a train",
    "an aeroplane",
    "a boat",
    "a bicycle",
    "a house",
    "a kitchen",
    "food on a plate",
    "a person",
    "a crowd of people",
    "a red circle",
    "a blue square",
    "a chessboard",
    "a page of text",
];
/// Test patterns, when no pictures are given.
const PATTERNS: u32 = 6;

/// What a model makes of the pictures and the labels.
#[derive(Debug)]
pub struct Results {
    images: Vec<Vec<f32>>,
    texts: Vec<Vec<f32>>,
    captions: Vec<Vec<u32>>,
    bytes: u64,
}

/// The comparison, as it is printed.
#[derive(Debug, Serialize)]
pub struct Fidelity {
    /// Bytes of the weights.
    source_bytes: u64,
    bytes: u64,
    /// Bytes of all files that were written.
    folder_bytes: u64,
    images: usize,
    texts: usize,
    image_cosine: Cosine,
    text_cosine: Cosine,
    /// Share of the pictures that get the same best label.
    top1_agreement: f64,
    /// Share of the greedy captions that are the same to the last token.
    caption_agreement: f64,
    /// Share of the captions' tokens before the first difference.
    caption_prefix: f64,
}

#[derive(Debug, Serialize)]
struct Cosine {
    mean: f64,
    least: f64,
}

impl Results {
    /// Runs a model over the pictures, or over test patterns.
    pub fn of(model: &ModelFolder, pictures: &[PathBuf], device: &Device) -> Result<Self> {
        let predictor = folder::predictor(model, device)?;
        let [height, width] = model.model_cfg.vision_cfg.image_size.dims();
        let mut prepared = Vec::new();
        for path in pictures {
            let bytes =
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            let image = predictor.prepare(&bytes);
            prepared.push(image.with_context(|| format!("in {}", path.display()))?);
        }
        if pictures.is_empty() {
            let (height, width) = (u32::try_from(height)?, u32::try_from(width)?);
            for number in 0..PATTERNS {
                let rgba = pattern(number, height as usize, width as usize);
                prepared.push(predictor.prepare_rgba(width, height, &rgba)?);
            }
        }
        let go_on = &mut |_: TextEvent<'_>| ControlFlow::Continue(());
        let (mut images, mut captions) = (Vec::new(), Vec::new());
        for image in prepared {
            let image = block_on(predictor.encode_images(&[image]))?;
            images.extend(image.embeddings().iter().cloned());
            let made = block_on(predictor.caption(&image, &CaptionOptions::default(), go_on))?;
            captions.extend(made.into_iter().map(|caption| caption.tokens));
        }
        let texts: Vec<String> = LABELS
            .iter()
            .map(|label| format!("a photo of {label}"))
            .collect();
        Ok(Self {
            images,
            texts: block_on(predictor.text_embeddings(&texts))?,
            captions,
            bytes: model
                .weights
                .iter()
                .map(|(_, tensor)| tensor.bytes().len() as u64)
                .sum(),
        })
    }

    /// Compares with the results of the converted model, which was written to `folder`.
    pub fn compare(&self, other: &Self, folder: &Path) -> Result<Fidelity> {
        let mut folder_bytes = 0;
        for entry in std::fs::read_dir(folder)? {
            folder_bytes += entry?.metadata()?.len();
        }
        let best = |results: &Self| -> Vec<Option<usize>> {
            let label = |image: &Vec<f32>| {
                let scores = results
                    .texts
                    .iter()
                    .map(|text| dot(image, text))
                    .enumerate();
                scores
                    .max_by(|a, b| a.1.total_cmp(&b.1))
                    .map(|(label, _)| label)
            };
            results.images.iter().map(label).collect()
        };
        let prefixes = self.captions.iter().zip(&other.captions).map(|(a, b)| {
            let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
            same as f64 / a.len().max(b.len()).max(1) as f64
        });
        Ok(Fidelity {
            source_bytes: self.bytes,
            bytes: other.bytes,
            folder_bytes,
            images: self.images.len(),
            texts: self.texts.len(),
            image_cosine: Cosine::between(&self.images, &other.images),
            text_cosine: Cosine::between(&self.texts, &other.texts),
            top1_agreement: agreement(&best(self), &best(other)),
            caption_agreement: agreement(&self.captions, &other.captions),
            caption_prefix: prefixes.sum::<f64>() / self.captions.len().max(1) as f64,
        })
    }
}

impl Cosine {
    /// Of unit vectors, pair by pair.
    fn between(a: &[Vec<f32>], b: &[Vec<f32>]) -> Self {
        let cosines: Vec<f64> = a.iter().zip(b).map(|(a, b)| dot(a, b)).collect();
        Self {
            mean: cosines.iter().sum::<f64>() / cosines.len().max(1) as f64,
            least: cosines.iter().copied().fold(1.0, f64::min),
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

fn agreement<T: PartialEq>(a: &[T], b: &[T]) -> f64 {
    let same = a.iter().zip(b).filter(|(a, b)| a == b).count();
    same as f64 / a.len().max(1) as f64
}

/// The self-test's image, and others made of it: turned, inverted, with the colours changed round. RGBA.
fn pattern(number: u32, height: usize, width: usize) -> Vec<u8> {
    let mut pixels: Vec<[u8; 3]> = SelfTest::image(height, width).as_chunks::<3>().0.to_vec();
    if number % 2 == 1 {
        pixels.reverse();
    }
    let change = |[r, g, b]: [u8; 3]| match number / 2 {
        0 => [r, g, b],
        1 => [b, 255 - r, g],
        _ => [g / 2 + 60, b, 255 - b],
    };
    pixels
        .into_iter()
        .flat_map(|pixel| {
            let [r, g, b] = change(pixel);
            [r, g, b, 255]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(images: &[[f32; 2]], captions: &[&[u32]]) -> Results {
        Results {
            images: images.iter().map(|image| image.to_vec()).collect(),
            texts: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
            captions: captions.iter().map(|tokens| tokens.to_vec()).collect(),
            bytes: 10,
        }
    }

    #[test]
    fn agreement_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), [0; 7]).unwrap();
        let before = results(&[[1.0, 0.0], [0.6, 0.8]], &[&[1, 2, 3, 4], &[5]]);
        let after = results(&[[1.0, 0.0], [0.8, 0.6]], &[&[1, 2, 9], &[5]]);
        let found = before.compare(&after, folder.path()).unwrap();
        assert_eq!((found.top1_agreement, found.caption_agreement), (0.5, 0.5));
        assert_eq!((found.caption_prefix, found.folder_bytes), (0.75, 7));
        assert!((found.image_cosine.least - 0.96).abs() < 1e-6);
        assert!((found.image_cosine.mean - 0.98).abs() < 1e-6);
    }

    #[test]
    fn the_patterns_differ() {
        let patterns: Vec<_> = (0..PATTERNS)
            .map(|number| pattern(number, 16, 16))
            .collect();
        for (at, one) in patterns.iter().enumerate() {
            assert_eq!(one.len(), 16 * 16 * 4);
            assert!(patterns[..at].iter().all(|other| other != one), "{at}");
        }
    }
}
