//! Text generation: greedy, sampled and beam search over any [`Decoder`], a batch of images at a time.
//!
//! The settings and their meaning are those of open_clip's `CoCa.generate` where
//! [`GenerateOptions::openclip_compat`] asks for it, with a key-value cache behind [`Decoder`] instead of a
//! forward pass over the whole text at each step.

mod beam;
mod decoder;
mod options;
mod processors;
mod run;
mod sampling;
mod score;
mod single;

pub use decoder::{Best, Decoder};
pub use options::{Beams, GenerateOptions, Length, Sampling, Strategy};
pub use run::{End, Event, Generated, OnEvent, Prompt, SpecialIds, TokenEvent};
pub use sampling::probabilities;
pub use score::score_continuations;

use crate::Result;

/// Continues `prompt.rows` texts, one for each row of `decoder`, which must be empty: the prefix is fed here.
///
/// Returns a text for each row. `on_event` hears of each token and can end the generation early.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) for settings or a prefix without meaning,
/// [`Error::Device`](crate::Error::Device) when the logits are not numbers, and what the decoder returns.
pub async fn generate<D: Decoder>(
    decoder: &mut D,
    prompt: Prompt<'_>,
    options: &GenerateOptions,
    on_event: OnEvent<'_>,
) -> Result<Vec<Generated>> {
    decode(decoder, &run::Run::new(prompt, options)?, options, on_event).await
}

/// As [`generate`], for texts that begin differently: one of `prefixes` for each row, all of the same length.
/// `capacity` is the most tokens that the decoder can hold.
///
/// # Errors
/// Those of [`generate`], and prefixes of different lengths.
pub async fn generate_each<D: Decoder>(
    decoder: &mut D,
    prefixes: &[&[u32]],
    special: SpecialIds,
    capacity: usize,
    options: &GenerateOptions,
    on_event: OnEvent<'_>,
) -> Result<Vec<Generated>> {
    if prefixes.is_empty() {
        return Ok(vec![]);
    }
    let run = run::Run::each(prefixes, special, capacity, options)?;
    decode(decoder, &run, options, on_event).await
}

async fn decode<D: Decoder>(
    decoder: &mut D,
    run: &run::Run<'_>,
    options: &GenerateOptions,
    on_event: OnEvent<'_>,
) -> Result<Vec<Generated>> {
    if run.prefixes.is_empty() {
        return Ok(vec![]);
    }
    match &options.strategy {
        Strategy::Greedy => single::decode(decoder, run, None, on_event).await,
        Strategy::Sample(sampling) => single::decode(decoder, run, Some(sampling), on_event).await,
        Strategy::Beam(beams) => {
            beam::decode(decoder, run, options.rows_per_image(), beams, on_event).await
        }
    }
}

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
