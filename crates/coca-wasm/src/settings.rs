//! Settings of a generation, from JavaScript.

use coca_model::generate::{Beams, GenerateOptions, Length, Sampling, Strategy};
use serde::Deserialize;

use crate::error::CodedError;

/// `GenerationSettings` of the TypeScript side.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    pub prefix: Option<String>,
    pub max_tokens: Option<u32>,
    pub min_tokens: Option<u32>,
    pub beams: Option<u32>,
    pub top_k: Option<u32>,
    pub top_p: Option<f32>,
    pub temperature: Option<f32>,
    /// A JavaScript number, so at most 2^53.
    pub seed: Option<u64>,
}

impl Settings {
    /// Beam search if beams were asked for, sampling if any of its settings was given, else greedy.
    pub fn generate_options(&self) -> Result<GenerateOptions, CodedError> {
        let samples = self.top_k.is_some() || self.top_p.is_some() || self.temperature.is_some();
        let beams = self.beams.filter(|&beams| beams > 1);
        let strategy = match (beams, samples) {
            (Some(_), true) => {
                let message = "beams cannot be combined with topK, topP or temperature; give one or the other";
                return Err(CodedError::new("invalid-argument", message));
            }
            (Some(beams), false) => Strategy::Beam(Beams {
                beams: beams as usize,
                ..Beams::default()
            }),
            (None, true) => Strategy::Sample(Sampling {
                top_k: self.top_k.map(|k| k as usize),
                top_p: self.top_p,
                temperature: self.temperature.unwrap_or(1.0),
                seed: self.seed.unwrap_or(0),
            }),
            (None, false) => Strategy::Greedy,
        };
        let options = GenerateOptions {
            strategy,
            min_length: Length::New(self.min_tokens.unwrap_or(0) as usize),
            ..GenerateOptions::default()
        };
        Ok(limited(options, self.max_tokens))
    }
}

/// The options with a limit on the tokens that are generated.
pub fn limited(options: GenerateOptions, max_tokens: Option<u32>) -> GenerateOptions {
    let max_length = max_tokens.map_or(options.max_length, |tokens| Length::New(tokens as usize));
    GenerateOptions {
        max_length,
        ..options
    }
}
