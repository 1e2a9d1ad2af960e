//! METEOR 1.5 for English (Denkowski and Lavie 2014), as the COCO caption evaluation runs it: parameters of the
//! ranking task, text normalised once more, statistics added up over the data set.

mod align;
mod lexicon;
mod normalise;
mod paraphrases;
mod statistics;
mod synonyms;

use std::path::Path;

use anyhow::Result;

use super::Described;
use crate::parallel::side_by_side;
use align::align;
use lexicon::Lexicon;
use normalise::normalise;
use paraphrases::Paraphrases;
use statistics::Statistics;
use synonyms::Synonyms;

/// The metric with the modules that it has data for.
#[derive(Debug, Default)]
pub struct Meteor {
    synonyms: Option<Synonyms>,
    paraphrases: Option<paraphrases::Table>,
}

impl Meteor {
    /// Reads WordNet's synonyms and finds the paraphrase table in a folder that holds `meteor-1.5.jar` (or the files
    /// `english.exceptions` and `english.synsets` from it) and `paraphrase-en.gz`, such as the folder `meteor` of
    /// pycocoevalcap.
    ///
    /// # Errors
    /// The synonyms are not there, or a file cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        Ok(Self {
            synonyms: Some(Synonyms::open(folder)?),
            paraphrases: paraphrases::Table::find(folder),
        })
    }

    /// How words are matched: `exact`, `stem`, and with data `synonym` and `paraphrase`.
    pub fn modules(&self) -> Vec<&'static str> {
        let all = [
            ("exact", true),
            ("stem", true),
            ("synonym", self.synonyms.is_some()),
            ("paraphrase", self.paraphrases.is_some()),
        ];
        all.into_iter()
            .filter_map(|(name, there)| there.then_some(name))
            .collect()
    }

    /// The score of a data set, from the statistics of all captions, each against the reference that fits it best.
    ///
    /// # Errors
    /// The paraphrase table cannot be read.
    pub(super) fn score(&self, captions: &[Described], threads: usize) -> Result<f64> {
        let all = self.statistics(captions, threads)?;
        let mut sum = Statistics::default();
        for one in &all {
            sum.add(one);
        }
        Ok(sum.score())
    }

    /// The statistics of each caption.
    fn statistics(&self, captions: &[Described], threads: usize) -> Result<Vec<Statistics>> {
        let plain = |words: &Vec<String>| normalise(&words.join(" "));
        let texts = |pair: &Described| -> (Vec<String>, Vec<Vec<String>>) {
            // The separator of the original's input format is not part of a caption.
            let caption = pair.caption.join(" ").replace("|||", "").replace("  ", " ");
            let references = pair.references.iter().map(plain).collect();
            (normalise(&caption), references)
        };
        let share = captions.len().div_ceil(threads.max(1)).max(1);
        let parts = side_by_side(captions.chunks(share).collect(), |part| {
            Ok(part.iter().map(texts).collect::<Vec<_>>())
        })?;
        let texts: Vec<(Vec<String>, Vec<Vec<String>>)> = parts.into_iter().flatten().collect();
        let words = texts
            .iter()
            .flat_map(|(caption, references)| caption.iter().chain(references.iter().flatten()));
        let lexicon = Lexicon::new(words, self.synonyms.as_ref());
        let paraphrases = match &self.paraphrases {
            Some(table) => table.read(&lexicon)?,
            None => Paraphrases::default(),
        };
        let one = |(caption, references): &(Vec<String>, Vec<Vec<String>>)| {
            let caption = lexicon.numbers(caption);
            let mut best: Option<(f64, Statistics)> = None;
            for reference in references {
                let reference = lexicon.numbers(reference);
                let found = align(&caption, &reference, &lexicon, &paraphrases);
                let score = found.score();
                if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
                    best = Some((score, found));
                }
            }
            best.map(|(_, statistics)| statistics).unwrap_or_default()
        };
        let parts = side_by_side(texts.chunks(share).collect(), |part| {
            Ok(part.iter().map(one).collect::<Vec<_>>())
        })?;
        Ok(parts.into_iter().flatten().collect())
    }
}
