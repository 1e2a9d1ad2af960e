//! Zero-shot classification of a data set.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, bail, ensure};
use pollster::block_on;

use super::confusion::Confusion;
use super::names::ClassNames;
use super::ranking::{classification, dot, rank};
use super::templates::Templates;
use super::{Report, Runner};
use crate::data::{EvalSamples, label_text};
use crate::parallel::side_by_side;

/// What to choose from, and how it is put into words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ZeroShot {
    /// The labels; all that occur if not given.
    pub labels: Option<Vec<String>>,
    /// What the labels are called in texts; the labels themselves if not given.
    pub names: Option<ClassNames>,
    /// The prompt templates; the model's own if not given.
    pub templates: Option<Templates>,
}

/// A label and the texts whose embeddings stand for it.
#[derive(Clone, Debug, PartialEq)]
struct Class {
    label: String,
    texts: Vec<String>,
}

/// `top1`, `top5` and `mean_per_class` of the zero-shot classifier, and the confusion matrix.
///
/// # Errors
/// A sample without a label or with one that is not among the labels, names or templates that do not fit them, and
/// what the model fails on.
pub fn classify_images(
    runner: &Runner<'_>,
    samples: EvalSamples,
    options: &ZeroShot,
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
    let own = Templates::Same(runner.predictor.prompts().classify.clone());
    let classes = options.classes(found.iter().map(|(label, _)| label.as_str()), &own)?;
    let number: HashMap<&str, usize> = classes
        .iter()
        .map(|class| class.label.as_str())
        .zip(0..)
        .collect();
    let mut right = Vec::with_capacity(found.len());
    for (label, _) in &found {
        let class = number.get(label.as_str()).with_context(|| {
            format!(
                "the data has the label \"{label}\", which is not among the {} given",
                classes.len()
            )
        })?;
        right.push(*class);
    }
    let weights = class_embeddings(runner, &classes)?;
    let share = found.len().div_ceil(runner.threads.max(1)).max(1);
    let work: Vec<_> = found.chunks(share).zip(right.chunks(share)).collect();
    let ranked = side_by_side(work, |(images, right)| {
        let one = |((_, image), &right): (&(String, Vec<f32>), &usize)| {
            let scores: Vec<f32> = weights.iter().map(|text| dot(image, text)).collect();
            (rank(&scores, right), first_of_highest(&scores))
        };
        Ok(images.iter().zip(right).map(one).collect::<Vec<_>>())
    })?;
    let (ranks, taken): (Vec<usize>, Vec<usize>) = ranked.into_iter().flatten().unzip();
    let labels = classes.into_iter().map(|class| class.label).collect();
    let pairs = right.iter().copied().zip(taken);
    Ok(Report {
        confusion: Some(Confusion::new(labels, pairs)),
        ..Report::new(found.len(), classification(&right, &ranks))
    })
}

/// The class that wins, as [`rank`] sees it.
fn first_of_highest(scores: &[f32]) -> usize {
    let (mut best, mut highest) = (0, f32::NEG_INFINITY);
    for (class, &score) in scores.iter().enumerate() {
        if score > highest {
            (best, highest) = (class, score);
        }
    }
    best
}

impl ZeroShot {
    fn classes<'a>(
        &self,
        occurring: impl Iterator<Item = &'a str>,
        own: &Templates,
    ) -> Result<Vec<Class>> {
        let occurring: BTreeSet<&str> = occurring.collect();
        let labels: Vec<String> = match (&self.labels, &self.names) {
            (Some(labels), _) => labels.iter().map(|label| label_text(label)).collect(),
            // The labels may be the names' numbers.
            (None, Some(ClassNames::InOrder(names))) => {
                let is_number = |label: &&str| {
                    let number: Result<usize, _> = label.parse();
                    number.is_ok_and(|number| number < names.len() && number.to_string() == **label)
                };
                if !occurring.iter().all(is_number) {
                    bail!(
                        "a list of class names needs the order of the labels; give --labels, or an object from label \
                         to name"
                    );
                }
                (0..names.len()).map(|number| number.to_string()).collect()
            }
            _ => occurring.into_iter().map(String::from).collect(),
        };
        let mut seen = BTreeSet::new();
        if let Some(twice) = labels.iter().find(|label| !seen.insert(label.as_str())) {
            bail!("the label \"{twice}\" is there twice");
        }
        let names = self.names_of(&labels)?;
        let templates = self.templates.as_ref().unwrap_or(own);
        let class = |(label, name): (String, String)| {
            let texts = templates.texts(&label, &name)?;
            ensure!(!texts.is_empty(), "there is no prompt template");
            Ok(Class { label, texts })
        };
        labels.into_iter().zip(names).map(class).collect()
    }

    fn names_of(&self, labels: &[String]) -> Result<Vec<String>> {
        match &self.names {
            None => Ok(labels.to_vec()),
            Some(ClassNames::InOrder(names)) => {
                ensure!(
                    names.len() == labels.len(),
                    "there are {} class names for {} labels",
                    names.len(),
                    labels.len()
                );
                Ok(names.clone())
            }
            Some(ClassNames::OfLabel(names)) => {
                let name = |label: &String| {
                    // Labels are cleaned, keys may not be.
                    let same = |(key, name): (&String, &String)| {
                        (label_text(key) == *label).then(|| name.clone())
                    };
                    let name = names.get(label).cloned();
                    name.or_else(|| names.iter().find_map(same))
                        .with_context(|| format!("the label \"{label}\" has no class name"))
                };
                labels.iter().map(name).collect()
            }
        }
    }
}

/// For each class the mean of the unit text embeddings of its texts, brought back to unit length, as open_clip does.
/// Every text goes through the model once, whichever class it is of.
fn class_embeddings(runner: &Runner<'_>, classes: &[Class]) -> Result<Vec<Vec<f32>>> {
    let texts: Vec<&String> = classes.iter().flat_map(|class| &class.texts).collect();
    let share = texts.len().div_ceil(runner.threads.max(1)).max(1);
    let embed = |texts: &[&String]| Ok(block_on(runner.predictor.text_embeddings(texts))?);
    let embedded = side_by_side(texts.chunks(share).collect(), embed)?;
    let mut embedded = embedded.into_iter().flatten();
    let mean = |class: &Class| -> Result<Vec<f32>> {
        let mut sum: Vec<f64> = Vec::new();
        for embedding in embedded.by_ref().take(class.texts.len()) {
            sum.resize(embedding.len(), 0.0);
            let each = sum.iter_mut().zip(&embedding);
            each.for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
        ensure!(
            norm > 1e-6,
            "the text embeddings of the label \"{}\" cancel out",
            class.label
        );
        Ok(sum.into_iter().map(|value| (value / norm) as f32).collect())
    };
    classes.iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn classes(options: &ZeroShot, occurring: &[&str]) -> Result<Vec<(String, String)>> {
        let own = Templates::Same(strings(&["a {}"]));
        let classes = options.classes(occurring.iter().copied(), &own)?;
        let text = |class: Class| (class.label, class.texts.join("|"));
        Ok(classes.into_iter().map(text).collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |&(a, b): &(&str, &str)| (a.to_owned(), b.to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn labels_come_from_the_data_or_the_caller() {
        let options = ZeroShot::default();
        let found = classes(&options, &["dog", "cat", "dog"]).unwrap();
        assert_eq!(found, pairs(&[("cat", "a cat"), ("dog", "a dog")]));
        let options = ZeroShot {
            labels: Some(strings(&["big_dog", "cat"])),
            ..ZeroShot::default()
        };
        let found = classes(&options, &["cat"]).unwrap();
        assert_eq!(found, pairs(&[("big dog", "a big dog"), ("cat", "a cat")]));
        let options = ZeroShot {
            labels: Some(strings(&["a_b", "a b"])),
            ..ZeroShot::default()
        };
        assert!(
            classes(&options, &[])
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
    }

    #[test]
    fn names_take_the_place_of_labels_in_texts() {
        let in_order = ZeroShot {
            names: Some(ClassNames::InOrder(strings(&["crane", "crane"]))),
            ..ZeroShot::default()
        };
        let found = classes(&in_order, &["1"]).unwrap();
        assert_eq!(found, pairs(&[("0", "a crane"), ("1", "a crane")]));
        assert!(classes(&in_order, &["2"]).is_err() && classes(&in_order, &["bird"]).is_err());
        let fewer = ZeroShot {
            labels: Some(strings(&["x"])),
            ..in_order
        };
        assert!(
            classes(&fewer, &["x"])
                .unwrap_err()
                .to_string()
                .contains("2 class names")
        );
        let of_label = ZeroShot {
            names: Some(ClassNames::OfLabel(
                [("big_dog".to_owned(), "hound".to_owned())].into(),
            )),
            ..ZeroShot::default()
        };
        assert_eq!(
            classes(&of_label, &["big dog"]).unwrap(),
            pairs(&[("big dog", "a hound")])
        );
        assert!(
            classes(&of_label, &["cat"])
                .unwrap_err()
                .to_string()
                .contains("cat")
        );
    }

    #[test]
    fn the_winner_is_the_class_of_rank_0() {
        for scores in [[0.5, 0.5, 0.1], [0.1, 0.2, 0.2], [f32::NEG_INFINITY; 3]] {
            assert_eq!(rank(&scores, first_of_highest(&scores)), 0);
        }
    }
}
