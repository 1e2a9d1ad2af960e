//! What the training step consumes: pixels and token rows of fixed shape.
//!
//! Letters in shapes: B images, K texts per image, T = B * K rows of text, L tokens in a row, H and W pixels.

use std::collections::HashMap;

use coca_model::tokenizer::Tokenizer;

use super::sample::Text;

/// What batches need of a tokenizer.
pub trait Tokenize: Send + Sync {
    /// The tokens of a text, without special ones.
    fn encode(&self, text: &str) -> Vec<u32>;
    /// Start of text.
    fn sot(&self) -> u32;
    /// End of text.
    fn eot(&self) -> u32;
    /// Padding.
    fn pad(&self) -> u32;
}

impl Tokenize for Tokenizer {
    fn encode(&self, text: &str) -> Vec<u32> {
        Tokenizer::encode(self, text)
    }

    fn sot(&self) -> u32 {
        Tokenizer::sot(self)
    }

    fn eot(&self) -> u32 {
        Tokenizer::eot(self)
    }

    fn pad(&self) -> u32 {
        Tokenizer::pad(self)
    }
}

/// One image of a batch with its texts.
#[derive(Debug)]
pub struct Example {
    /// `shard.tar:key`.
    pub name: String,
    /// The data set's number and the sample's number in it.
    pub id: (usize, usize),
    /// The normalised image, `[3, H, W]`.
    pub pixels: Vec<f32>,
    /// At least one text, each as a row.
    pub rows: Vec<Row>,
}

/// One text as tokens.
#[derive(Debug, Clone)]
pub struct Row {
    /// Start, prefix, continuation, end, padding, `[L]`.
    ids: Vec<i32>,
    /// How many leading tokens (start and prefix) are given.
    given: usize,
    /// [`Text::meaning`].
    meaning: Option<String>,
}

/// One training step's input. The shapes are the same for every batch of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The step that this batch belongs to.
    pub step: u64,
    /// B, the number of images.
    pub batch_size: usize,
    /// Normalised images, `[B, 3, H, W]`.
    pub pixels: Vec<f32>,
    /// Tokens, `[T, L]`: start, prefix, continuation, end, then padding. The rows of an image are consecutive.
    pub ids: Vec<i32>,
    /// For each row, how many leading tokens (start and prefix) are given and not predicted, `[T]`.
    pub prefix_lengths: Vec<usize>,
    /// For each row, the image it belongs to, `[T]`.
    pub image_index: Vec<i32>,
    /// For each row its weight in the captioning and language-modelling losses, `[T]`: 1, or 0 for a row that only
    /// repeats an image's first text because there is no other.
    pub weights: Vec<f32>,
    /// For each image the row for the contrastive loss, or -1 where the image has only answers, `[B]`.
    pub contrastive_index: Vec<i32>,
    /// For each image a group number, `[B]`. Images whose contrastive texts mean the same (the same class name or
    /// caption), or that are the same image, share a group, and their texts are positives for each other. The
    /// number is the group's first image in the batch.
    pub contrastive_targets: Vec<i32>,
    /// The samples' names, `shard.tar:key`, `[B]`.
    pub keys: Vec<String>,
}

impl Batch {
    /// Puts examples together, with `texts_per_image` rows for each.
    pub fn assemble(step: u64, examples: Vec<Example>, texts_per_image: usize) -> Self {
        let rows = examples.len() * texts_per_image;
        let mut batch = Self {
            step,
            batch_size: examples.len(),
            pixels: Vec::with_capacity(examples.iter().map(|e| e.pixels.len()).sum()),
            ids: Vec::new(),
            prefix_lengths: Vec::with_capacity(rows),
            image_index: Vec::with_capacity(rows),
            weights: Vec::with_capacity(rows),
            contrastive_index: Vec::with_capacity(examples.len()),
            contrastive_targets: contrastive_targets(&examples),
            keys: Vec::with_capacity(examples.len()),
        };
        for (image, example) in examples.into_iter().enumerate() {
            let first = batch.prefix_lengths.len();
            let described = example
                .rows
                .iter()
                .take(texts_per_image)
                .position(|row| row.meaning.is_some());
            batch
                .contrastive_index
                .push(described.map_or(-1, |at| (first + at) as i32));
            let spares = example
                .rows
                .first()
                .into_iter()
                .cycle()
                .map(|row| (row, 0.0));
            let rows = example.rows.iter().map(|row| (row, 1.0)).chain(spares);
            for (row, weight) in rows.take(texts_per_image) {
                batch.ids.extend(&row.ids);
                batch.prefix_lengths.push(row.given);
                batch.image_index.push(image as i32);
                batch.weights.push(weight);
            }
            batch.pixels.extend(example.pixels);
            batch.keys.push(example.name);
        }
        batch
    }
}

impl Row {
    /// Encodes a text as `length` tokens, at least 3.
    ///
    /// What is too long is cut: the continuation at its end, but the prefix at its start, because its last words
    /// ("answer:") say what to do. The prefix gives way first, down to half of the row.
    pub fn new(text: Text, length: usize, tokenizer: &dyn Tokenize) -> Self {
        let encode = |text: &str| {
            if text.is_empty() {
                Vec::new()
            } else {
                tokenizer.encode(text)
            }
        };
        let (prefix, continuation) = (encode(&text.prefix), encode(&text.continuation));
        let room = length.saturating_sub(2);
        let given = prefix
            .len()
            .min(room.saturating_sub(continuation.len()).max(room / 2));
        let dropped = prefix.len() - given;
        let tokens = std::iter::once(tokenizer.sot())
            .chain(prefix.into_iter().skip(dropped))
            .chain(continuation.into_iter().take(room - given))
            .chain(std::iter::once(tokenizer.eot()));
        let mut ids: Vec<i32> = tokens.map(|id| id as i32).collect();
        ids.resize(length, tokenizer.pad() as i32);
        Self {
            ids,
            given: given + 1,
            meaning: text.meaning,
        }
    }
}

/// See [`Batch::contrastive_targets`].
fn contrastive_targets(examples: &[Example]) -> Vec<i32> {
    // Disjoint sets: each image points to an earlier one of its group, or to itself.
    fn root(parents: &[usize], mut at: usize) -> usize {
        while let Some(&parent) = parents.get(at).filter(|&&parent| parent != at) {
            at = parent;
        }
        at
    }
    let mut parents: Vec<usize> = (0..examples.len()).collect();
    let mut meanings: HashMap<&str, usize> = HashMap::new();
    let mut samples: HashMap<(usize, usize), usize> = HashMap::new();
    for (image, example) in examples.iter().enumerate() {
        let meaning = example.rows.iter().find_map(|row| row.meaning.as_deref());
        let same_meaning = meaning.map(|m| *meanings.entry(m).or_insert(image));
        let same_sample = *samples.entry(example.id).or_insert(image);
        for other in same_meaning.into_iter().chain([same_sample]) {
            let (a, b) = (root(&parents, image), root(&parents, other));
            if let Some(parent) = parents.get_mut(a.max(b)) {
                *parent = a.min(b);
            }
        }
    }
    (0..examples.len())
        .map(|image| root(&parents, image) as i32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Letters;
    use super::*;

    fn caption(text: &str) -> Text {
        Text {
            prefix: String::new(),
            continuation: text.into(),
            meaning: Some(text.into()),
        }
    }

    fn answer(prefix: &str, text: &str) -> Text {
        Text {
            prefix: prefix.into(),
            continuation: text.into(),
            meaning: None,
        }
    }

    fn example(sample: usize, texts: Vec<Text>) -> Example {
        Example {
            name: format!("s.tar:{sample}"),
            id: (0, sample),
            pixels: vec![sample as f32; 3],
            rows: texts
                .into_iter()
                .map(|text| Row::new(text, 5, &Letters))
                .collect(),
        }
    }

    fn row(text: Text, length: usize) -> (Vec<i32>, usize) {
        let row = Row::new(text, length, &Letters);
        (row.ids, row.given)
    }

    #[test]
    fn rows_are_start_prefix_continuation_end_padding() {
        // Letters: a = 1, b = 2, …; start 100, end 101, padding 0.
        assert_eq!(row(caption("ab"), 6), (vec![100, 1, 2, 101, 0, 0], 1));
        assert_eq!(row(answer("cd", "a"), 6), (vec![100, 3, 4, 1, 101, 0], 3));
        assert_eq!(row(caption("abcd"), 6), (vec![100, 1, 2, 3, 4, 101], 1));
    }

    #[test]
    fn long_texts_are_cut_and_keep_their_end() {
        assert_eq!(row(caption("abcdef"), 6), (vec![100, 1, 2, 3, 4, 101], 1));
        // The prefix loses its start,
        assert_eq!(
            row(answer("abcdef", "z"), 6),
            (vec![100, 4, 5, 6, 26, 101], 4)
        );
        // but keeps half of the row against a long continuation.
        assert_eq!(
            row(answer("abcdef", "uvwxyz"), 6),
            (vec![100, 5, 6, 21, 22, 101], 3)
        );
        assert_eq!(
            row(answer("a", "uvwxyz"), 6),
            (vec![100, 1, 21, 22, 23, 101], 2)
        );
    }

    #[test]
    fn shapes_are_fixed_and_missing_texts_have_no_weight() {
        let examples = vec![
            example(0, vec![caption("a"), answer("q", "b"), answer("r", "c")]),
            example(1, vec![answer("q", "b")]),
        ];
        let batch = Batch::assemble(9, examples, 2);
        assert_eq!((batch.step, batch.batch_size), (9, 2));
        assert_eq!(batch.pixels, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(batch.ids.len(), 4 * 5);
        assert_eq!(batch.prefix_lengths, [1, 2, 2, 2]);
        assert_eq!(batch.image_index, [0, 0, 1, 1]);
        assert_eq!(batch.weights, [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(batch.ids[10..15], batch.ids[15..20]);
        assert_eq!(batch.contrastive_index, [0, -1]);
        assert_eq!(batch.keys, ["s.tar:0", "s.tar:1"]);
    }

    #[test]
    fn equal_texts_and_equal_images_share_a_group() {
        let examples = vec![
            example(0, vec![caption("cat")]),
            example(1, vec![caption("dog")]),
            example(2, vec![caption("cat")]),
            example(1, vec![caption("puppy")]),
            example(3, vec![answer("q", "cat")]),
            example(4, vec![caption("puppy")]),
            // The same image as the first, now called a puppy: joins both groups.
            example(0, vec![caption("puppy")]),
        ];
        assert_eq!(contrastive_targets(&examples[..6]), [0, 1, 0, 1, 4, 1]);
        assert_eq!(contrastive_targets(&examples), [0, 0, 0, 0, 4, 0, 0]);
    }
}
