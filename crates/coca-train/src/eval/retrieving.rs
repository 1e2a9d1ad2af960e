//! Image–text retrieval within a data set.

use anyhow::{Result, ensure};
use pollster::block_on;

use super::ranking::retrieval;
use super::{Report, Runner};
use crate::data::EvalSamples;
use crate::parallel::side_by_side;

/// Recall at 1, 5 and 10 and ranks between all images and all captions of the samples.
///
/// # Errors
/// A sample without a caption, and what the model fails on.
pub fn retrieve(runner: &Runner<'_>, samples: EvalSamples) -> Result<Report> {
    let found = runner.over(samples, |chunk| {
        for sample in chunk.samples {
            ensure!(
                !sample.captions.is_empty(),
                "the sample {} has no caption",
                sample.key
            );
        }
        let captions = chunk.samples.iter().map(|sample| sample.captions.clone());
        Ok(captions.zip(chunk.images.embeddings().to_vec()).collect())
    })?;
    let (captions, images): (Vec<Vec<String>>, Vec<Vec<f32>>) = found.into_iter().unzip();
    let image_of: Vec<usize> = captions
        .iter()
        .enumerate()
        .flat_map(|(image, own)| vec![image; own.len()])
        .collect();
    let captions: Vec<String> = captions.into_iter().flatten().collect();
    let share = captions.len().div_ceil(runner.threads.max(1)).max(1);
    let embed = |texts: &[String]| Ok(block_on(runner.predictor.text_embeddings(texts))?);
    let embeddings: Vec<Vec<f32>> = side_by_side(captions.chunks(share).collect(), embed)?
        .into_iter()
        .flatten()
        .collect();
    let metrics = retrieval(&images, &embeddings, &image_of, runner.threads)?;
    Ok(Report::new(images.len(), metrics))
}
