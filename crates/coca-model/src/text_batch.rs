//! The texts of a training batch.

use crate::{Error, ModelConfig, Result};

/// A picture and the text that describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The picture, from 0 to B - 1.
    pub image: usize,
    /// The row of its text, from 0 to T - 1.
    pub row: usize,
    /// Pairs of one group mean the same (two pictures of one class): they are positives for each other, with equal
    /// shares. With a group of its own for every pair the loss is CLIP's.
    pub group: usize,
}

/// The texts of a training batch, as token ids on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextBatch {
    /// `[T, L]`, row by row, right padded: SOT, text, EOT, padding.
    pub ids: Vec<u32>,
    /// L, the context length.
    pub length: usize,
    /// For each row how many of its tokens, SOT included, condition and are not predicted by the captioning loss
    /// (PrefixLM): 1 for a caption, 1 + the question's tokens for a question and its answer.
    pub prefix_lengths: Vec<usize>,
    /// For each row the picture it belongs to.
    pub image_of_row: Vec<usize>,
    /// The pairs of the contrastive loss; every other picture and row takes no part in it.
    pub pairs: Vec<Pair>,
}

impl TextBatch {
    /// One caption for each picture, all of it predicted, every picture and row in the contrastive loss.
    pub fn captions(ids: Vec<u32>, length: usize) -> Self {
        let rows = ids.len() / length.max(1);
        Self {
            ids,
            length,
            prefix_lengths: vec![1; rows],
            image_of_row: (0..rows).collect(),
            pairs: (0..rows)
                .map(|row| Pair {
                    image: row,
                    row,
                    group: row,
                })
                .collect(),
        }
    }

    /// T.
    pub fn rows(&self) -> usize {
        self.prefix_lengths.len()
    }

    /// How many tokens the captioning loss predicts; `pad` is the padding's id.
    pub fn caption_tokens(&self, pad: u32) -> usize {
        self.caption_targets(pad).len()
    }

    /// How many tokens the language-modelling loss predicts.
    pub fn language_model_tokens(&self, pad: u32) -> usize {
        self.language_model_targets(pad).len()
    }

    /// What the captioning loss predicts, as [`TextBatch::targets`].
    pub(crate) fn caption_targets(&self, pad: u32) -> Vec<(usize, u32)> {
        self.targets(pad, |row| {
            self.prefix_lengths.get(row).copied().unwrap_or(1)
        })
    }

    /// What the language-modelling loss predicts, as [`TextBatch::targets`].
    pub(crate) fn language_model_targets(&self, pad: u32) -> Vec<(usize, u32)> {
        self.targets(pad, |_| 1)
    }

    pub(crate) fn check(&self, images: usize, config: &ModelConfig) -> Result<()> {
        let (rows, text) = (self.rows(), &config.text_cfg);
        let fits = self.length >= 2
            && self.length <= text.context_length
            && self.ids.len() == rows * self.length
            && self.image_of_row.len() == rows
            && self.image_of_row.iter().all(|&image| image < images)
            && self
                .pairs
                .iter()
                .all(|pair| pair.image < images && pair.row < rows)
            && self.ids.iter().all(|&id| (id as usize) < text.vocab_size);
        if fits {
            Ok(())
        } else {
            Err(Error::Input(format!(
                "the text batch does not fit together: {rows} rows of {} tokens, {} ids, {} pictures",
                self.length,
                self.ids.len(),
                images
            )))
        }
    }

    /// Positions whose next token is predicted, and that token: (row * L + column, id).
    fn targets(&self, pad: u32, first: impl Fn(usize) -> usize) -> Vec<(usize, u32)> {
        self.ids
            .chunks(self.length)
            .enumerate()
            .flat_map(|(row, ids)| {
                let first = first(row);
                let predicted = ids
                    .iter()
                    .enumerate()
                    .skip(first.max(1))
                    .filter(move |&(_, &id)| id != pad);
                predicted.map(move |(column, &id)| (row * self.length + column - 1, id))
            })
            .collect()
    }

    /// The same rows with the columns that [count](columns_that_count): what is left out is padding.
    pub(crate) fn without_padding(&self, pad: u32) -> Self {
        let rows = || self.ids.chunks(self.length);
        let columns = columns_that_count(rows(), pad);
        Self {
            ids: rows().flat_map(|row| &row[..columns]).copied().collect(),
            length: columns,
            prefix_lengths: self.prefix_lengths.clone(),
            image_of_row: self.image_of_row.clone(),
            pairs: self.pairs.clone(),
        }
    }
}

/// How many columns of right padded texts of the same length count for what is computed from them: the longest text, and
/// one of padding, which CLS sees under open_clip's mask. Rounded up, so that a GPU meets few shapes.
pub(crate) fn columns_that_count<'a>(
    texts: impl Iterator<Item = &'a [u32]> + Clone,
    pad: u32,
) -> usize {
    const STEP: usize = 4;
    let used = texts.clone().map(|text| {
        let last = text.iter().rposition(|&id| id != pad);
        last.map_or(0, |at| at + 1)
    });
    let length = texts.map(<[u32]>::len).min().unwrap_or(0);
    (used.max().unwrap_or(0) + 1)
        .next_multiple_of(STEP)
        .min(length)
}
