//! What generation needs of a model, and the checked logits that it gets.

use coca_kernels::{Largest, log_sum_exp};

use crate::{Error, Result};

/// A batch of texts that grow token by token; row `i` of the batch has its own history.
///
/// [`generate`](super::generate) is written against this trait, so that it is tested without weights.
/// The method is async because a browser cannot wait for a device; the future need not be `Send`.
pub trait Decoder {
    /// Appends the same number of tokens (at least one) to every row.
    fn feed(&mut self, tokens: &[Vec<u32>]) -> Result<()>;

    /// The logits after the last token of each row, row-major `[rows, vocab]`.
    fn logits(&mut self) -> impl Future<Output = Result<Vec<f32>>>;

    /// The `count` largest of them, for decoders that find them without handing over the others.
    fn best(&mut self, count: usize) -> impl Future<Output = Result<Option<Best>>> {
        let _ = count;
        std::future::ready(Ok(None))
    }

    /// Makes row `i` continue from old row `rows[i]`; the number of rows may change.
    fn select(&mut self, rows: &[usize]) -> Result<()>;
}

/// The largest logits of each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// Of each row.
    pub rows: Vec<Largest>,
    /// How many logits a row has.
    pub vocab: usize,
}

/// Finite logits `[rows, vocab]` on the host.
pub(super) struct Logits {
    values: Vec<f32>,
    vocab: usize,
}

impl Logits {
    /// Feeds `tokens` and checks what comes back: a device that failed silently returns garbage, not an error.
    pub async fn next<D: Decoder>(
        decoder: &mut D,
        tokens: &[Vec<u32>],
        largest_id: u32,
    ) -> Result<Self> {
        decoder.feed(tokens)?;
        Self::read(decoder, tokens.len(), largest_id).await
    }

    /// Those after what was fed to so many rows.
    async fn read<D: Decoder>(decoder: &mut D, rows: usize, largest_id: u32) -> Result<Self> {
        let values = decoder.logits().await?;
        let vocab = values.len() / rows.max(1);
        if vocab * rows != values.len() || vocab <= largest_id as usize {
            return Err(unfit(values.len(), rows, largest_id));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(not_finite());
        }
        Ok(Self { values, vocab })
    }

    /// The logits of each row.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.vocab)
    }
}

fn unfit(logits: usize, rows: usize, largest_id: u32) -> Error {
    Error::Input(format!(
        "the decoder returned {logits} logits for {rows} rows, which does not fit token ids up to {largest_id}; \
         the tokenizer and the model do not belong together"
    ))
}

fn not_finite() -> Error {
    Error::Device(
        "the logits are not finite numbers; the device failed or ran out of memory".into(),
    )
}

/// What the next token of each row is chosen from: all logits, or the largest where those suffice.
pub(super) enum Choices {
    All(Logits),
    Best(Vec<Largest>),
}

impl Choices {
    /// Feeds `tokens` and asks for the `wanted` largest logits, or for all.
    pub async fn next<D: Decoder>(
        decoder: &mut D,
        tokens: &[Vec<u32>],
        largest_id: u32,
        wanted: Option<usize>,
    ) -> Result<Self> {
        decoder.feed(tokens)?;
        if let Some(wanted) = wanted
            && let Some(Best { rows, vocab }) = decoder.best(wanted).await?
        {
            if rows.len() != tokens.len() || vocab <= largest_id as usize {
                return Err(unfit(rows.len() * vocab, tokens.len(), largest_id));
            }
            if rows.iter().any(|row| !row.is_finite) {
                return Err(not_finite());
            }
            return Ok(Self::Best(rows));
        }
        Self::all(decoder, tokens.len(), largest_id).await
    }

    /// All after what was fed to so many rows.
    pub async fn all<D: Decoder>(decoder: &mut D, rows: usize, largest_id: u32) -> Result<Self> {
        Ok(Self::All(Logits::read(decoder, rows, largest_id).await?))
    }

    /// Those of each row.
    pub fn rows(&self) -> Vec<Row<'_>> {
        match self {
            Self::All(logits) => logits.rows().map(Row::all).collect(),
            Self::Best(rows) => rows.iter().map(Row::Best).collect(),
        }
    }
}

/// What the next token of a row is chosen from.
pub(super) enum Row<'a> {
    /// All logits and their log-sum-exp.
    All(&'a [f32], f64),
    Best(&'a Largest),
}

impl<'a> Row<'a> {
    fn all(logits: &'a [f32]) -> Self {
        Self::All(logits, log_sum_exp(logits))
    }

    /// ln Σ e^x of all logits.
    pub fn log_total(&self) -> f64 {
        match self {
            Self::All(_, log_total) => *log_total,
            Self::Best(best) => f64::from(best.log_sum_exp),
        }
    }

    /// The logits less `shift` by their ids; -∞ for those that are not among the largest, up to the last that is.
    pub fn scores(&self, shift: f64) -> Vec<f32> {
        let score = |logit: f32| (f64::from(logit) - shift) as f32;
        match self {
            Self::All(logits, _) => logits.iter().map(|&logit| score(logit)).collect(),
            Self::Best(best) => {
                let last = best.found.iter().map(|(id, _)| *id as usize).max();
                let mut scores = vec![f32::NEG_INFINITY; last.map_or(0, |last| last + 1)];
                for &(id, logit) in &best.found {
                    scores[id as usize] = score(logit);
                }
                scores
            }
        }
    }

    /// The logit of one of those that there are.
    pub fn logit(&self, id: u32) -> f64 {
        let logit = match self {
            Self::All(logits, _) => logits.get(id as usize).copied(),
            Self::Best(best) => best
                .found
                .iter()
                .find(|(found, _)| *found == id)
                .map(|(_, logit)| *logit),
        };
        f64::from(logit.unwrap_or(f32::NEG_INFINITY))
    }
}
