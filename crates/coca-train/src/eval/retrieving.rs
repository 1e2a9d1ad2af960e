//! Image–text retrieval within a data set.

use anyhow::{Result, ensure};
use pollster::block_on;
use rayon::prelude::*;
use serde::Serialize;

use super::ranking::{dot, rank, retrieval};
use super::{Report, Runner};
use crate::data::EvalSamples;
use crate::parallel::side_by_side;

/// Captions that an example shows.
const FOUND: usize = 3;

/// What an image finds among all captions, to look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetrievalExample {
    /// The sample's key.
    pub key: String,
    /// The one of its captions that comes first.
    pub caption: String,
    /// Where that comes, from 1.
    pub rank: usize,
    /// Of so many captions.
    pub captions: usize,
    /// The captions that come first, with their cosines.
    pub found: Vec<(String, f32)>,
}

/// Recall at 1, 5 and 10 and ranks between all images and all captions of the samples.
///
/// # Errors
/// A sample without a caption, and what the model fails on.
pub fn retrieve(runner: &Runner<'_>, samples: EvalSamples) -> Result<Report> {
    Embedded::of(runner, samples)?.report(runner.threads)
}

/// The same, with the `count` images that find one of their captions first, and the `count` that find theirs last.
pub fn retrieve_with_examples(
    runner: &Runner<'_>,
    samples: EvalSamples,
    count: usize,
) -> Result<(Report, Vec<RetrievalExample>)> {
    let embedded = Embedded::of(runner, samples)?;
    Ok((embedded.report(runner.threads)?, embedded.examples(count)))
}

/// All images and captions of a data set as unit vectors.
struct Embedded {
    keys: Vec<String>,
    images: Vec<Vec<f32>>,
    captions: Vec<String>,
    texts: Vec<Vec<f32>>,
    /// The image of each caption.
    image_of: Vec<usize>,
}

impl Embedded {
    fn of(runner: &Runner<'_>, samples: EvalSamples) -> Result<Self> {
        let found = runner.over(samples, |chunk| {
            for sample in chunk.samples {
                ensure!(
                    !sample.captions.is_empty(),
                    "the sample {} has no caption",
                    sample.key
                );
            }
            let texts = chunk
                .samples
                .iter()
                .map(|sample| (sample.key.clone(), sample.captions.clone()));
            Ok(texts.zip(chunk.images.embeddings().to_vec()).collect())
        })?;
        let (mut keys, mut images) = (Vec::new(), Vec::new());
        let (mut captions, mut image_of) = (Vec::new(), Vec::new());
        for (image, ((key, own), embedding)) in found.into_iter().enumerate() {
            image_of.extend(vec![image; own.len()]);
            captions.extend(own);
            keys.push(key);
            images.push(embedding);
        }
        let share = captions.len().div_ceil(runner.threads.max(1)).max(1);
        let embed = |texts: &[String]| Ok(block_on(runner.predictor.text_embeddings(texts))?);
        let texts = side_by_side(captions.chunks(share).collect(), embed)?;
        Ok(Self {
            keys,
            images,
            texts: texts.into_iter().flatten().collect(),
            captions,
            image_of,
        })
    }

    fn report(&self, threads: usize) -> Result<Report> {
        let metrics = retrieval(&self.images, &self.texts, &self.image_of, threads)?;
        Ok(Report::new(self.images.len(), metrics))
    }

    /// The best `count` images and the worst, best first; each image once.
    fn examples(&self, count: usize) -> Vec<RetrievalExample> {
        let mut ranked: Vec<(usize, usize, usize)> = (0..self.images.len())
            .into_par_iter()
            .filter_map(|image| {
                let scores = self.scores(image);
                let own = (0..self.captions.len()).filter(|&at| self.image_of[at] == image);
                let best = own.map(|at| (rank(&scores, at), at)).min();
                best.map(|(rank, caption)| (rank, image, caption))
            })
            .collect();
        ranked.sort_unstable();
        let worst = ranked
            .len()
            .saturating_sub(count)
            .max(count.min(ranked.len()));
        let chosen = ranked.iter().take(count).chain(ranked.iter().skip(worst));
        chosen
            .map(|&(rank, image, caption)| {
                let scores = self.scores(image);
                let mut order: Vec<usize> = (0..scores.len()).collect();
                order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
                RetrievalExample {
                    key: self.keys[image].clone(),
                    caption: self.captions[caption].clone(),
                    rank: rank + 1,
                    captions: self.captions.len(),
                    found: order
                        .into_iter()
                        .take(FOUND)
                        .map(|at| (self.captions[at].clone(), scores[at]))
                        .collect(),
                }
            })
            .collect()
    }

    /// The cosines of an image with all captions.
    fn scores(&self, image: usize) -> Vec<f32> {
        let scores = self.texts.iter().map(|text| dot(&self.images[image], text));
        scores.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_the_best_and_the_worst_images() {
        let at = |degrees: f32| vec![degrees.to_radians().cos(), degrees.to_radians().sin()];
        let embedded = Embedded {
            keys: ["a", "b", "c", "d"].map(String::from).to_vec(),
            images: vec![at(0.0), at(90.0), at(180.0), at(5.0)],
            captions: ["a", "b far", "b near", "c", "d"]
                .map(String::from)
                .to_vec(),
            texts: vec![at(1.0), at(0.0), at(91.0), at(60.0), at(4.0)],
            image_of: vec![0, 1, 1, 2, 3],
        };
        let found = embedded.examples(1);
        let keys: Vec<&str> = found.iter().map(|example| example.key.as_str()).collect();
        assert_eq!(
            keys,
            ["b", "c"],
            "c is far from its caption, b close to one of its two"
        );
        assert_eq!((found[0].caption.as_str(), found[0].rank), ("b near", 1));
        assert_eq!((found[1].caption.as_str(), found[1].rank), ("c", 2));
        assert_eq!(found[1].found[0].0, "b near");
        assert_eq!(found[1].captions, 5);
        let all = embedded.examples(3);
        assert_eq!(all.len(), 4, "nobody is shown twice");
    }
}
