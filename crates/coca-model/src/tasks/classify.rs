//! Zero-shot classification: the image embedding against the embeddings of the labels (paper §4.2, as in CLIP).

use super::{EncodedImages, Predictor, readback};
use crate::{Error, Result};

/// The label embeddings of a set of labels, computed once for any number of images.
#[derive(Debug, Clone, PartialEq)]
pub struct ZeroShotClassifier {
    labels: Vec<String>,
    /// One for each label, unit length.
    embeddings: Vec<Vec<f32>>,
    /// Factor on the cosines before the softmax.
    logit_scale: f32,
}

/// How well a label fits an image.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelScore {
    /// The label, as it was given.
    pub label: String,
    /// Its share of all labels' probability, 0 to 1.
    pub score: f32,
}

impl ZeroShotClassifier {
    /// The labels, in the order they were given.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The label embeddings `[labels][E]`, unit length, in the order of the labels.
    pub fn embeddings(&self) -> &[Vec<f32>] {
        &self.embeddings
    }

    /// The labels of a video with their scores, best first, by the mean of its frames' image embeddings (paper §4.2.2).
    ///
    /// # Errors
    /// [`Error::Input`] for no frame, or embeddings of another model.
    pub fn classify_video(&self, frames: &[Vec<f32>]) -> Result<Vec<LabelScore>> {
        let width = self.embeddings.first().map_or(0, Vec::len);
        if frames.is_empty() || frames.iter().any(|frame| frame.len() != width) {
            return Err(Error::Input(format!(
                "a video is classified by at least one image embedding of {width} numbers"
            )));
        }
        Ok(self.scores(&unit_mean("the frames", frames)?))
    }

    /// Softmax of logit scale times cosine, best first.
    fn scores(&self, image: &[f32]) -> Vec<LabelScore> {
        let scale = self.logit_scale as f64;
        let logits: Vec<f64> = self
            .embeddings
            .iter()
            .map(|label| scale * dot(image, label))
            .collect();
        let scored = self.labels.iter().zip(softmax(&logits));
        let mut scores: Vec<LabelScore> = scored
            .map(|(label, score)| LabelScore {
                label: label.clone(),
                score: score as f32,
            })
            .collect();
        scores.sort_by(|a, b| b.score.total_cmp(&a.score));
        scores
    }
}

impl Predictor {
    /// Embeds each label in each template (`{}` stands for the label; the model's own templates if `None`),
    /// averages over the templates and normalises the mean, as open_clip does.
    ///
    /// # Errors
    /// [`Error::Input`] for no label, an empty or repeated one, or a template without `{}`.
    pub async fn zero_shot_classifier(
        &self,
        labels: &[impl AsRef<str>],
        templates: Option<&[String]>,
    ) -> Result<ZeroShotClassifier> {
        let templates = templates.unwrap_or(&self.prompts.classify);
        let labels: Vec<String> = labels
            .iter()
            .map(|label| label.as_ref().to_owned())
            .collect();
        check_distinct("label", &labels)?;
        if templates.is_empty() {
            return Err(Error::Input(
                "there is no prompt template; give at least one, such as \"a photo of a {}\""
                    .into(),
            ));
        }
        if let Some(template) = templates.iter().find(|template| !template.contains("{}")) {
            return Err(Error::Input(format!(
                "the prompt template {template:?} has no {{}} where the label belongs"
            )));
        }
        let prompt = |label: &String| {
            templates
                .iter()
                .map(|t| t.replace("{}", label))
                .collect::<Vec<_>>()
        };
        let mut embeddings = Vec::with_capacity(labels.len());
        let texts: Vec<String> = labels.iter().flat_map(prompt).collect();
        for of_label in self.text_embeddings(&texts).await?.chunks(templates.len()) {
            embeddings.push(unit_mean("the texts of a label", of_label)?);
        }
        let logit_scale = readback::rows(self.model.logit_scale().reshape([1, 1])).await?[0][0];
        Ok(ZeroShotClassifier {
            labels,
            embeddings,
            logit_scale,
        })
    }

    /// The labels of each image with their scores, best first; the scores of an image sum to 1.
    pub async fn classify(
        &self,
        images: &EncodedImages,
        classifier: &ZeroShotClassifier,
    ) -> Result<Vec<Vec<LabelScore>>> {
        Ok(images
            .embeddings()
            .iter()
            .map(|image| classifier.scores(image))
            .collect())
    }
}

/// Refuses an empty list, and entries that are blank or there twice.
pub(super) fn check_distinct(what: &str, entries: &[String]) -> Result<()> {
    if entries.is_empty() {
        return Err(Error::Input(format!(
            "there is no {what}; give at least one"
        )));
    }
    let mut seen = std::collections::HashSet::new();
    for entry in entries {
        if entry.trim().is_empty() {
            return Err(Error::Input(format!("a {what} is empty")));
        }
        if !seen.insert(entry.trim()) {
            return Err(Error::Input(format!(
                "the {what} {:?} is there twice; remove one",
                entry.trim()
            )));
        }
    }
    Ok(())
}

/// `exp(x) / sum(exp(x))`.
pub(super) fn softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum()
}

/// The mean of unit vectors, brought back to unit length.
fn unit_mean(of: &str, vectors: &[Vec<f32>]) -> Result<Vec<f32>> {
    let mut sum = vec![0f64; vectors.first().map_or(0, Vec::len)];
    for vector in vectors {
        sum.iter_mut()
            .zip(vector)
            .for_each(|(sum, &value)| *sum += value as f64);
    }
    let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    if norm < 1e-6 {
        return Err(Error::Device(format!(
            "the embeddings of {of} cancel out; the weights are damaged"
        )));
    }
    Ok(sum.into_iter().map(|value| (value / norm) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_must_have_distinct_entries() {
        let check = |entries: &[&str]| {
            check_distinct(
                "label",
                &entries.iter().map(|e| e.to_string()).collect::<Vec<_>>(),
            )
            .map_err(|e| e.to_string())
        };
        assert!(check(&["a cat", "a dog"]).is_ok());
        assert!(check(&[]).unwrap_err().contains("no label"));
        assert!(check(&["a", " "]).unwrap_err().contains("empty"));
        assert!(
            check(&["a", "b", "a "])
                .unwrap_err()
                .contains("\"a\" is there twice")
        );
    }

    #[test]
    fn scores_are_sorted_and_sum_to_one() {
        let classifier = ZeroShotClassifier {
            labels: ["x", "y", "z"].map(String::from).to_vec(),
            embeddings: vec![vec![0.6, 0.8], vec![1.0, 0.0], vec![-1.0, 0.0]],
            logit_scale: 100.0,
        };
        let scores = classifier.scores(&[1.0, 0.0]);
        assert_eq!(
            scores.iter().map(|s| s.label.as_str()).collect::<Vec<_>>(),
            ["y", "x", "z"]
        );
        assert!((scores.iter().map(|s| s.score).sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((scores[1].score as f64 - (-40f64).exp()).abs() < 1e-9);
    }

    #[test]
    fn the_mean_of_templates_has_unit_length() {
        assert_eq!(
            unit_mean("a test", &[vec![1.0, 0.0], vec![0.0, 1.0]]).unwrap(),
            [0.5f32.sqrt(); 2]
        );
        assert!(unit_mean("a test", &[vec![1.0, 0.0], vec![-1.0, 0.0]]).is_err());
    }

    #[test]
    fn a_video_is_the_mean_of_its_frames() {
        let classifier = ZeroShotClassifier {
            labels: ["x", "y"].map(String::from).to_vec(),
            embeddings: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
            logit_scale: 10.0,
        };
        let frames = [vec![1.0, 0.0], vec![1.0, 0.0], vec![0.0, 1.0]];
        let scores = classifier.classify_video(&frames).unwrap();
        // The mean points to (2, 1) / √5.
        let expected = 1.0 / (1.0 + (-10.0 / 5f64.sqrt()).exp());
        assert_eq!(scores[0].label, "x");
        assert!((scores[0].score as f64 - expected).abs() < 1e-6);
        assert!(classifier.classify_video(&[]).is_err());
        assert!(classifier.classify_video(&[vec![1.0]]).is_err());
    }
}
