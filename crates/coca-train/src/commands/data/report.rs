//! What a data set turned out to hold.

use std::collections::BTreeMap;

use serde::Serialize;

use super::inspection::{Facts, Inspection};
use crate::data::{DataSet, Error};

/// More names than this are counted, but not listed.
const MAX_LISTED: usize = 1000;

/// Upper ends of the bins of the caption histogram, in words; the last bin is open.
const BINS: [usize; 8] = [2, 5, 10, 15, 20, 30, 50, 75];

/// Tokens of CLIP's context that are left for text.
const CONTEXT: usize = 75;

/// The report on one data set.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The specification.
    pub data: String,
    /// All samples.
    pub samples: usize,
    /// Those that a training run would skip.
    pub broken: Broken,
    /// The images of the others.
    pub images: Images,
    /// The texts of the others.
    pub captions: Captions,
    /// Questions with their answers.
    pub questions: usize,
    /// The labels and how often each occurs, the most frequent first.
    pub labels: Vec<LabelCount>,
    /// Samples with the same image file.
    pub duplicates: Duplicates,
}

/// Samples that cannot be used.
#[derive(Debug, Default, Serialize)]
pub struct Broken {
    /// How many.
    pub count: usize,
    /// Which, the first thousand.
    pub samples: Vec<BrokenSample>,
}

/// A sample that cannot be used.
#[derive(Debug, Serialize)]
pub struct BrokenSample {
    /// `file:key`.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The images of a data set.
#[derive(Debug, Default, Serialize)]
pub struct Images {
    /// How many there are of each format.
    pub formats: BTreeMap<&'static str, usize>,
    /// All their bytes.
    pub bytes: u64,
    /// Least, middle and greatest short side in pixels.
    pub short_side: Option<[u32; 3]>,
}

/// The captions of a data set.
#[derive(Debug, Default, Serialize)]
pub struct Captions {
    /// How many.
    pub count: usize,
    /// How many have so many words.
    pub words: Vec<Bin>,
    /// How many have more tokens than CLIP's context of 77 holds, and will be cut.
    pub longer_than_context: usize,
}

/// A bar of a histogram.
#[derive(Debug, Serialize)]
pub struct Bin {
    /// From so many,
    pub from: usize,
    /// to so many; without end if none.
    pub to: Option<usize>,
    /// there are so many.
    pub count: usize,
}

/// A label.
#[derive(Debug, Serialize)]
pub struct LabelCount {
    /// The class name.
    pub label: String,
    /// How many samples have it.
    pub count: usize,
}

/// Samples with the same image file, byte for byte.
#[derive(Debug, Default, Serialize)]
pub struct Duplicates {
    /// How many samples repeat an earlier one's image.
    pub count: usize,
    /// The names of those that are the same, the first thousand groups.
    pub groups: Vec<Vec<String>>,
}

impl Report {
    /// Sums up the inspections of all samples.
    ///
    /// # Errors
    /// Images that look alike cannot be read again.
    pub fn new(spec: String, data: &DataSet, inspections: &[Inspection]) -> Result<Self, Error> {
        let mut broken = Broken::default();
        let mut usable: Vec<(usize, &Facts)> = Vec::new();
        for (index, inspection) in inspections.iter().enumerate() {
            match inspection {
                Inspection::Usable(facts) => usable.push((index, facts)),
                Inspection::Broken(reason) => {
                    broken.count += 1;
                    if broken.samples.len() < MAX_LISTED {
                        broken.samples.push(BrokenSample {
                            name: data.name(index),
                            reason: reason.clone(),
                        });
                    }
                }
            }
        }
        let facts = || usable.iter().map(|(_, facts)| *facts);
        let mut labels: BTreeMap<&str, usize> = BTreeMap::new();
        for label in facts().filter_map(|facts| facts.label.as_deref()) {
            *labels.entry(label).or_default() += 1;
        }
        let mut labels: Vec<LabelCount> = labels
            .into_iter()
            .map(|(label, count)| LabelCount {
                label: label.into(),
                count,
            })
            .collect();
        labels.sort_by_key(|label| std::cmp::Reverse(label.count));
        Ok(Self {
            data: spec,
            samples: inspections.len(),
            broken,
            images: images(facts()),
            captions: captions(facts().flat_map(|facts| facts.captions.iter().copied())),
            questions: facts().map(|facts| facts.questions).sum(),
            labels,
            duplicates: duplicates(data, &usable)?,
        })
    }

    /// The share of samples that are broken.
    pub fn broken_share(&self) -> f64 {
        self.broken.count as f64 / self.samples.max(1) as f64
    }
}

fn images<'a>(facts: impl Iterator<Item = &'a Facts>) -> Images {
    let mut images = Images::default();
    let mut sides = Vec::new();
    for facts in facts {
        *images.formats.entry(facts.format).or_default() += 1;
        images.bytes += facts.digest.1 as u64;
        sides.push(facts.size.0.min(facts.size.1));
    }
    sides.sort_unstable();
    if let (Some(&least), Some(&middle), Some(&most)) =
        (sides.first(), sides.get(sides.len() / 2), sides.last())
    {
        images.short_side = Some([least, middle, most]);
    }
    images
}

fn captions(captions: impl Iterator<Item = (usize, usize)>) -> Captions {
    let mut found = Captions::default();
    let mut from = 1;
    for to in BINS.into_iter().map(Some).chain([None]) {
        found.words.push(Bin { from, to, count: 0 });
        from = to.map_or(from, |to| to + 1);
    }
    for (words, tokens) in captions {
        found.count += 1;
        found.longer_than_context += usize::from(tokens > CONTEXT);
        let bin = BINS.partition_point(|&to| to < words);
        if let Some(bin) = found.words.get_mut(bin) {
            bin.count += 1;
        }
    }
    found
}

/// Groups images of the same hash, and compares those byte for byte.
fn duplicates(data: &DataSet, usable: &[(usize, &Facts)]) -> Result<Duplicates, Error> {
    let mut by_digest: BTreeMap<(u64, usize), Vec<usize>> = BTreeMap::new();
    for (index, facts) in usable {
        by_digest.entry(facts.digest).or_default().push(*index);
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for alike in by_digest.into_values().filter(|alike| alike.len() > 1) {
        let mut same: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
        for index in alike {
            let image = data.read(index)?.image;
            match same.iter_mut().find(|(known, _)| *known == image) {
                Some((_, group)) => group.push(index),
                None => same.push((image, vec![index])),
            }
        }
        groups.extend(same.into_iter().map(|(_, group)| group));
    }
    groups.retain(|group| group.len() > 1);
    groups.sort();
    Ok(Duplicates {
        count: groups.iter().map(|group| group.len() - 1).sum(),
        groups: groups
            .iter()
            .take(MAX_LISTED)
            .map(|group| group.iter().map(|&index| data.name(index)).collect())
            .collect(),
    })
}
