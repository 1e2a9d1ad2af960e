//! The texts of a share of a batch.

use std::collections::BTreeMap;
use std::ops::Range;

use coca_model::{Pair, TextBatch};

use crate::data::Batch;

/// The texts of some images. Rows of weight zero, which only fill the fixed shape, are left out.
pub fn texts(batch: &Batch, images: Range<usize>) -> TextBatch {
    let rows = batch.prefix_lengths.len();
    let length = batch.ids.len() / rows.max(1);
    let mut texts = TextBatch {
        length,
        ..TextBatch::default()
    };
    let mut place = BTreeMap::new();
    let every = batch
        .ids
        .chunks(length.max(1))
        .zip(&batch.prefix_lengths)
        .zip(&batch.image_index)
        .zip(&batch.weights);
    for (row, (((ids, &prefix), &image), &weight)) in every.enumerate() {
        let image = image as usize;
        if weight > 0.0 && images.contains(&image) {
            place.insert(row as i32, texts.prefix_lengths.len());
            texts.ids.extend(ids.iter().map(|&id| id as u32));
            texts.prefix_lengths.push(prefix);
            texts.image_of_row.push(image - images.start);
        }
    }
    for (image, (row, &group)) in batch
        .contrastive_index
        .iter()
        .zip(&batch.contrastive_targets)
        .enumerate()
    {
        if let Some(&row) = place.get(row).filter(|_| images.contains(&image)) {
            texts.pairs.push(Pair {
                image: image - images.start,
                row,
                group: group as usize,
            });
        }
    }
    texts
}
