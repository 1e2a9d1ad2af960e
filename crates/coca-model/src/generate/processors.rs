//! Changes to the scores before a token is chosen.

use std::collections::HashSet;

/// Minimum length, repetition penalty and ids that are never chosen.
pub(super) struct Processors {
    /// The end token is excluded while fewer ids than this are there.
    pub min_length: usize,
    pub end: u32,
    pub repetition_penalty: f32,
    pub excluded: Vec<u32>,
}

impl Processors {
    /// Changes the `scores` of the token that would follow `ids`. Minimum length and repetition penalty are those
    /// of transformers, which open_clip uses: the start token and the prefix count too.
    pub fn apply(&self, ids: &[u32], scores: &mut [f32]) {
        let mut exclude = |id: u32| {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = f32::NEG_INFINITY;
            }
        };
        self.excluded.iter().for_each(|&id| exclude(id));
        if ids.len() < self.min_length {
            exclude(self.end);
        }
        if self.repetition_penalty != 1.0 {
            for id in ids.iter().collect::<HashSet<_>>() {
                if let Some(score) = scores.get_mut(*id as usize) {
                    let penalty = self.repetition_penalty;
                    *score = if *score < 0.0 {
                        *score * penalty
                    } else {
                        *score / penalty
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_the_minimum_length() {
        let processors = Processors {
            min_length: 3,
            end: 1,
            repetition_penalty: 1.0,
            excluded: vec![0, 99],
        };
        let mut scores = [1.0, 2.0, 3.0];
        processors.apply(&[5, 5], &mut scores);
        assert_eq!(scores, [f32::NEG_INFINITY, f32::NEG_INFINITY, 3.0]);
        let mut scores = [1.0, 2.0, 3.0];
        processors.apply(&[5, 5, 5], &mut scores);
        assert_eq!(scores, [f32::NEG_INFINITY, 2.0, 3.0]);
    }

    #[test]
    fn a_repeated_id_is_penalised_once_and_downwards() {
        let processors = Processors {
            min_length: 0,
            end: 9,
            repetition_penalty: 2.0,
            excluded: vec![],
        };
        let mut scores = [4.0, -4.0, 4.0];
        processors.apply(&[0, 0, 1, 1, 77], &mut scores);
        assert_eq!(scores, [2.0, -8.0, 4.0]);
    }
}
