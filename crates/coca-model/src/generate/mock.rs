//! A made-up model: each row is an image number and a history, from which the logits follow.

use coca_kernels::{Largest, log_sum_exp};

use super::{Best, Decoder, SpecialIds};
use crate::Result;

pub const VOCAB: usize = 6;
pub const SPECIAL: SpecialIds = SpecialIds {
    start: 1,
    end: 2,
    pad: 0,
};

/// Logits that depend on the image and the whole history, so that a wrong history shows.
fn logits_of(image: u64, history: &[u32], vocab: usize) -> Vec<f32> {
    let mut state = image.wrapping_add(77);
    for &id in history {
        state = (state ^ id as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(23);
    }
    let logit = |id: u64| {
        let mixed = (state ^ id).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 29)) >> 40) as f32 / (1u64 << 24) as f32 * 6.0 - 3.0
    };
    (0..vocab as u64).map(logit).collect()
}

/// A model that remembers what it was fed.
pub struct Mock {
    pub rows: Vec<(u64, Vec<u32>)>,
    pub vocab: usize,
    /// Added to the logit of the end token.
    pub end_bias: f32,
    pub steps: usize,
    /// Whether it gives the largest logits by themselves.
    pub finds_best: bool,
}

impl Mock {
    pub fn new(images: &[u64]) -> Self {
        Self {
            rows: images.iter().map(|&image| (image, vec![])).collect(),
            vocab: VOCAB,
            end_bias: 0.0,
            steps: 0,
            finds_best: false,
        }
    }

    pub fn ending_by(end_bias: f32, images: &[u64]) -> Self {
        Self {
            end_bias,
            ..Self::new(images)
        }
    }

    pub fn logits_after(&self, image: u64, history: &[u32]) -> Vec<f32> {
        let mut logits = logits_of(image, history, self.vocab);
        logits[SPECIAL.end as usize] += self.end_bias;
        logits
    }
}

impl Decoder for Mock {
    fn feed(&mut self, tokens: &[Vec<u32>]) -> Result<()> {
        assert_eq!(tokens.len(), self.rows.len());
        assert!(
            tokens
                .iter()
                .all(|new| !new.is_empty() && new.len() == tokens[0].len())
        );
        self.steps += 1;
        for (row, new) in self.rows.iter_mut().zip(tokens) {
            row.1.extend(new);
        }
        Ok(())
    }

    async fn logits(&mut self) -> Result<Vec<f32>> {
        let rows = self.rows.iter();
        Ok(rows
            .flat_map(|(image, history)| self.logits_after(*image, history))
            .collect())
    }

    async fn best(&mut self, count: usize) -> Result<Option<Best>> {
        if !self.finds_best {
            return Ok(None);
        }
        let of_row = |(image, history): &(u64, Vec<u32>)| {
            let logits = self.logits_after(*image, history);
            let mut found: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
            found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            found.truncate(count);
            Largest {
                found,
                log_sum_exp: log_sum_exp(&logits) as f32,
                is_finite: true,
            }
        };
        Ok(Some(Best {
            rows: self.rows.iter().map(of_row).collect(),
            vocab: self.vocab,
        }))
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
        Ok(())
    }
}
