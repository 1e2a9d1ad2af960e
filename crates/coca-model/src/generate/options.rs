//! What a caller can ask of generation, and the checks on it.

use crate::{Error, Result};

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Strategy {
    /// The most probable token at each step.
    #[default]
    Greedy,
    /// A random token, see [`Sampling`].
    Sample(Sampling),
    /// The best of several continuations kept side by side, see [`Beams`].
    Beam(Beams),
}

/// Random choice of the next token; unset filters keep every token.
///
/// Our order is that of the field: temperature, then `top_k`, then `top_p`. With
/// [`openclip_compat`](GenerateOptions::openclip_compat) the filters come first, as in open_clip 3.3.0.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Keeps the `k` most probable tokens (and those equal to the last of them).
    pub top_k: Option<usize>,
    /// Keeps the smallest set of most probable tokens that has at least this probability (0 to 1).
    pub top_p: Option<f32>,
    /// Divides the logits: below 1 sharper, above 1 flatter.
    pub temperature: f32,
    /// The random numbers of a row depend on this and on its own length only, never on the rest of the batch:
    /// the same image gives the same text in any batch. For several texts of one image, use several seeds.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            top_k: None,
            top_p: None,
            temperature: 1.0,
            seed: 0,
        }
    }
}

/// Beam search.
#[derive(Debug, Clone, PartialEq)]
pub struct Beams {
    /// Continuations kept side by side.
    pub beams: usize,
    /// Groups of open_clip: without a diversity penalty all groups run the same search, so only one of
    /// `beams / groups` beams is run. 1 is an ordinary beam search.
    pub groups: usize,
    /// A hypothesis is ranked by its score divided by its length to this power; 0 ranks by the score alone.
    pub length_penalty: f32,
}

impl Default for Beams {
    fn default() -> Self {
        Self {
            beams: 4,
            groups: 1,
            length_penalty: 1.0,
        }
    }
}

/// A limit on the length of a text, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Everything counts: the start token, the prefix and the end token (open_clip's `seq_len`).
    Total(usize),
    /// Only what is generated after the prefix counts, the end token included.
    New(usize),
}

impl Length {
    /// The limit as a total length for a prefix of `prefix` ids (the start token among them).
    pub fn total(self, prefix: usize) -> usize {
        match self {
            Self::Total(n) => n,
            Self::New(n) => n.saturating_add(prefix),
        }
    }
}

/// Settings of [`generate`](super::generate).
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// How the next token is chosen.
    pub strategy: Strategy,
    /// The longest text; the context length of the model limits it in any case.
    pub max_length: Length,
    /// The end token is not chosen while the text is shorter than this.
    pub min_length: Length,
    /// Above 1 makes ids that the text (prefix included) already has less likely: their log-probability is
    /// multiplied by this. open_clip's mode multiplies negative logits and divides positive ones.
    pub repetition_penalty: f32,
    /// Fills the ids up to the maximum length with the padding id.
    pub fixed_output_length: bool,
    /// Behaves like open_clip 3.3.0: beams are ranked by sums of raw logits over the total length, filters come
    /// before the temperature, the last possible token of greedy and sampled text is forced to be the end token
    /// and the padding id ends a text. Otherwise beams are ranked by log-probability, a text ends with the end
    /// token or is reported as cut, and the start and padding ids, which training never predicts, are not chosen.
    pub openclip_compat: bool,
}

impl Default for GenerateOptions {
    /// Greedy, up to 30 tokens in total.
    fn default() -> Self {
        Self {
            strategy: Strategy::Greedy,
            max_length: Length::Total(30),
            min_length: Length::Total(0),
            repetition_penalty: 1.0,
            fixed_output_length: false,
            openclip_compat: false,
        }
    }
}

/// More beams than this are refused: each is a row of the key-value cache.
const MAX_BEAMS: usize = 64;

impl GenerateOptions {
    /// The defaults of open_clip 3.3.0's `generate`: 6 beams in 3 groups, 5 to 30 tokens in total.
    pub fn openclip() -> Self {
        Self {
            strategy: Strategy::Beam(Beams {
                beams: 6,
                groups: 3,
                length_penalty: 1.0,
            }),
            min_length: Length::Total(5),
            openclip_compat: true,
            ..Self::default()
        }
    }

    /// Rows of the decoder that one image takes.
    pub fn rows_per_image(&self) -> usize {
        match &self.strategy {
            Strategy::Beam(beams) => (beams.beams / beams.groups.max(1)).max(1),
            _ => 1,
        }
    }

    /// Whether the settings make sense by themselves; [`Error::Input`] says which one does not.
    pub fn validate(&self) -> Result<()> {
        let positive = |value: f32| value.is_finite() && value > 0.0;
        let problem = match &self.strategy {
            _ if !positive(self.repetition_penalty) => {
                format!(
                    "repetition penalty {} must be above 0; 1 changes nothing",
                    self.repetition_penalty
                )
            }
            Strategy::Sample(s) if !positive(s.temperature) => {
                format!(
                    "temperature {} must be above 0; for no randomness use greedy decoding",
                    s.temperature
                )
            }
            Strategy::Sample(Sampling { top_k: Some(0), .. }) => {
                "top-k 0 keeps no token; use 1 or more".into()
            }
            Strategy::Sample(Sampling { top_p: Some(p), .. }) if !(0.0..=1.0).contains(p) => {
                format!("top-p {p} is not a probability; use a number from 0 to 1")
            }
            Strategy::Beam(b) if b.beams == 0 || b.beams > MAX_BEAMS => {
                format!(
                    "{} beams: the number must be from 1 to {MAX_BEAMS}",
                    b.beams
                )
            }
            Strategy::Beam(b) if b.groups == 0 || !b.beams.is_multiple_of(b.groups) => {
                format!(
                    "{} beams cannot be split into {} equal groups",
                    b.beams, b.groups
                )
            }
            Strategy::Beam(b) if !b.length_penalty.is_finite() => {
                "length penalty must be a number".into()
            }
            _ => return Ok(()),
        };
        Err(Error::Input(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(strategy: Strategy) -> GenerateOptions {
        GenerateOptions {
            strategy,
            ..Default::default()
        }
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        let sample = |s: Sampling| with(Strategy::Sample(s));
        let beam = |b: Beams| with(Strategy::Beam(b));
        for (options, word) in [
            (
                GenerateOptions {
                    repetition_penalty: 0.0,
                    ..Default::default()
                },
                "repetition",
            ),
            (
                GenerateOptions {
                    repetition_penalty: f32::NAN,
                    ..Default::default()
                },
                "repetition",
            ),
            (
                sample(Sampling {
                    temperature: 0.0,
                    ..Default::default()
                }),
                "temperature",
            ),
            (
                sample(Sampling {
                    top_k: Some(0),
                    ..Default::default()
                }),
                "top-k",
            ),
            (
                sample(Sampling {
                    top_p: Some(1.5),
                    ..Default::default()
                }),
                "top-p",
            ),
            (
                sample(Sampling {
                    top_p: Some(f32::NAN),
                    ..Default::default()
                }),
                "top-p",
            ),
            (
                beam(Beams {
                    beams: 0,
                    ..Default::default()
                }),
                "beams",
            ),
            (
                beam(Beams {
                    beams: 65,
                    ..Default::default()
                }),
                "beams",
            ),
            (
                beam(Beams {
                    beams: 4,
                    groups: 3,
                    length_penalty: 1.0,
                }),
                "groups",
            ),
            (
                beam(Beams {
                    length_penalty: f32::INFINITY,
                    ..Default::default()
                }),
                "length penalty",
            ),
        ] {
            let message = options.validate().unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        assert!(GenerateOptions::default().validate().is_ok());
        assert!(GenerateOptions::openclip().validate().is_ok());
    }

    #[test]
    fn groups_share_the_beams() {
        assert_eq!(GenerateOptions::openclip().rows_per_image(), 2);
        assert_eq!(GenerateOptions::default().rows_per_image(), 1);
    }

    #[test]
    fn lengths_count_the_prefix_or_not() {
        assert_eq!(Length::Total(30).total(4), 30);
        assert_eq!(Length::New(30).total(4), 34);
        assert_eq!(Length::New(usize::MAX).total(4), usize::MAX);
    }
}
