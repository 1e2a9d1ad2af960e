//! What one call of [`generate`](super::generate) works on and returns.

use std::ops::ControlFlow;

use super::decoder::Row;
use super::options::GenerateOptions;
use super::processors::Processors;
use crate::{Error, Result};

/// The ids with a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    /// Starts every text (49406 in the CLIP vocabulary).
    pub start: u32,
    /// Ends every text (49407 in the CLIP vocabulary).
    pub end: u32,
    /// Fills up (0 in the CLIP vocabulary).
    pub pad: u32,
}

/// What to continue: `rows` texts (one per image) that all begin with `prefix`.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// Rows that the decoder has at the beginning.
    pub rows: usize,
    /// The first ids of every row, the start token among them; at least one.
    pub prefix: &'a [u32],
    /// The ids with a meaning of their own.
    pub special: SpecialIds,
    /// The most tokens that the decoder can hold (the context length of the model).
    pub capacity: usize,
}

/// One token of a text, final when it is reported: beam search reports it once all its beams agree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenEvent {
    /// Which text of the batch.
    pub row: usize,
    /// The token, the end token included.
    pub id: u32,
    /// Its natural log-probability given all before it, under the unchanged distribution of the model.
    pub log_prob: f32,
}

/// What generation reports while it works. Breaking ends it with what is there, as [`End::Aborted`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// A text grew by a token.
    Token(TokenEvent),
    /// All texts were advanced by one token (beam search may have reported none of them): a chance to break.
    Step,
}

/// The caller's callback.
pub type OnEvent<'a> = &'a mut dyn FnMut(Event) -> ControlFlow<()>;

/// Why a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By the end token.
    EndToken,
    /// At the maximum length, before an end token came.
    MaxLength,
    /// The callback broke.
    Aborted,
}

/// One generated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// Everything: prefix, generated tokens, end token if there is one, and padding if that was asked for.
    pub ids: Vec<u32>,
    /// The sum of the natural log-probabilities of the generated tokens, the end token included, under the
    /// unchanged distribution of the model (no temperature, filter or penalty).
    pub log_prob: f64,
    /// Why the text ends.
    pub end: End,
    tokens: std::ops::Range<usize>,
}

impl Generated {
    /// The generated tokens without prefix, end token and padding.
    pub fn tokens(&self) -> &[u32] {
        self.ids.get(self.tokens.clone()).unwrap_or(&[])
    }
}

/// A text that grows.
#[derive(Debug, Clone)]
pub(super) struct Text {
    ids: Vec<u32>,
    log_probs: Vec<f64>,
}

impl Text {
    pub fn new(prefix: &[u32]) -> Self {
        Self {
            ids: prefix.to_vec(),
            log_probs: vec![],
        }
    }

    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn last(&self) -> u32 {
        self.ids.last().copied().unwrap_or_default()
    }

    pub fn push(&mut self, id: u32, log_prob: f64) {
        self.ids.push(id);
        self.log_probs.push(log_prob);
    }

    /// The generated tokens with their log-probabilities.
    pub fn generated(&self) -> impl DoubleEndedIterator<Item = (u32, f64)> + ExactSizeIterator {
        let new = self.ids.iter().rev().zip(self.log_probs.iter().rev());
        new.map(|(&id, &log_prob)| (id, log_prob)).rev()
    }
}

/// A checked request.
pub(super) struct Run<'a> {
    /// The prefix of each row, all of the same length.
    pub prefixes: Vec<&'a [u32]>,
    /// That length.
    pub prefix_length: usize,
    pub special: SpecialIds,
    /// Total length.
    pub max_length: usize,
    pub processors: Processors,
    pub compat: bool,
    fixed_output_length: bool,
}

impl<'a> Run<'a> {
    pub fn new(prompt: Prompt<'a>, options: &GenerateOptions) -> Result<Self> {
        let Prompt {
            rows,
            prefix,
            special,
            capacity,
        } = prompt;
        // Checked even when there is no row.
        let checked = Self::each(&[prefix], special, capacity, options)?;
        Ok(Self {
            prefixes: vec![prefix; rows],
            ..checked
        })
    }

    /// A run in which every row has a prefix of its own; `prefixes` is not empty.
    pub fn each(
        prefixes: &[&'a [u32]],
        special: SpecialIds,
        capacity: usize,
        options: &GenerateOptions,
    ) -> Result<Self> {
        options.validate()?;
        let prefix = prefixes.first().copied().unwrap_or_default();
        if prefixes.iter().any(|other| other.len() != prefix.len()) {
            return Err(Error::Input(
                "the prefixes of a batch differ in length; group them by length".into(),
            ));
        }
        let max_length = options.max_length.total(prefix.len()).min(capacity);
        let min_length = options.min_length.total(prefix.len());
        let ends = |prefix: &&[u32]| prefix.contains(&special.end);
        if prefix.is_empty() || prefixes.iter().any(ends) {
            return Err(Error::Input(
                "the prefix must begin with the start token and must not hold the end token".into(),
            ));
        }
        if prefix.len() >= max_length {
            return Err(Error::Input(format!(
                "the prefix has {} tokens with its start token and leaves no room in a maximum length of {max_length}; \
                 shorten the prefix{}",
                prefix.len(),
                if max_length < capacity {
                    " or allow more tokens"
                } else {
                    ""
                }
            )));
        }
        if min_length >= max_length {
            return Err(Error::Input(format!(
                "the minimum length of {min_length} tokens must be below the maximum length of {max_length}"
            )));
        }
        Ok(Self {
            prefixes: prefixes.to_vec(),
            prefix_length: prefix.len(),
            special,
            max_length,
            processors: Processors {
                min_length,
                end: special.end,
                repetition_penalty: options.repetition_penalty,
                excluded: if options.openclip_compat {
                    vec![]
                } else {
                    vec![special.start, special.pad]
                },
            },
            compat: options.openclip_compat,
            fixed_output_length: options.fixed_output_length,
        })
    }

    /// The largest id that the vocabulary must hold.
    pub fn largest_id(&self) -> u32 {
        let SpecialIds { start, end, pad } = self.special;
        let prefixes = self.prefixes.iter().copied().flatten().copied();
        prefixes.chain([start, end, pad]).max().unwrap_or_default()
    }

    /// What the processors change and beams sum up: log-probabilities; the logits themselves in open_clip's mode.
    pub fn scores(&self, row: &Row<'_>) -> Vec<f32> {
        row.scores(if self.compat { 0.0 } else { row.log_total() })
    }

    /// How many of the largest logits a choice among the `kept` best needs, the ids that are never chosen counted in;
    /// none if it needs all.
    pub fn wanted(&self, kept: usize) -> Option<usize> {
        let processors = &self.processors;
        // A penalty can take any id that the text has out of the best.
        (processors.repetition_penalty == 1.0).then(|| kept + processors.excluded.len() + 1)
    }

    /// Whether and why a text ends here.
    pub fn end_of(&self, text: &Text) -> Option<End> {
        let last = text.last();
        if last == self.special.end || (self.compat && last == self.special.pad) {
            Some(End::EndToken)
        } else {
            (text.len() >= self.max_length).then_some(End::MaxLength)
        }
    }

    pub fn token_event(&self, row: usize, id: u32, log_prob: f64) -> Event {
        Event::Token(TokenEvent {
            row,
            id,
            log_prob: log_prob as f32,
        })
    }

    pub fn generated(&self, text: Text, end: End) -> Generated {
        let without_end = text.len() - usize::from(end == End::EndToken);
        let log_prob = text.log_probs.iter().sum();
        let mut ids = text.ids;
        if self.fixed_output_length {
            ids.resize(self.max_length, self.special.pad);
        }
        Generated {
            ids,
            log_prob,
            end,
            tokens: self.prefix_length..without_end,
        }
    }
}
