//! How text is generated.

use anyhow::Result;
use clap::Args;
use coca_model::generate::{Beams, GenerateOptions, Length, Sampling, Strategy};
use coca_model::tasks::CaptionOptions;

use super::UsageError;

/// Settings of generation; greedy without any.
#[derive(Args, Debug, Default)]
pub struct GenerationArgs {
    /// Text that the caption continues; the model's own if not given.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// The most tokens that are generated after the prefix.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Beam search with this many beams.
    #[arg(long, value_name = "N", conflicts_with_all = ["top_k", "top_p", "temperature", "seed"])]
    beams: Option<usize>,
    /// Random choice among the K most probable tokens.
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Random choice among the most probable tokens that together have this probability.
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Random choice, sharper below 1 and flatter above.
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Random choice that this number decides.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Generate exactly as open_clip 3.3.0 does; by default also with its 6 beams in 3 groups.
    #[arg(long)]
    openclip_compat: bool,
}

impl GenerationArgs {
    /// The settings.
    ///
    /// # Errors
    /// Wrong usage: a number without meaning.
    pub fn options(&self) -> Result<CaptionOptions> {
        let base = if self.openclip_compat {
            GenerateOptions::openclip()
        } else {
            GenerateOptions::default()
        };
        let random = Sampling::default();
        let strategy = if let Some(beams) = self.beams {
            Strategy::Beam(Beams {
                beams,
                ..Beams::default()
            })
        } else if self.top_k.is_some()
            || self.top_p.is_some()
            || self.temperature.is_some()
            || self.seed.is_some()
        {
            Strategy::Sample(Sampling {
                top_k: self.top_k,
                top_p: self.top_p,
                temperature: self.temperature.unwrap_or(random.temperature),
                seed: self.seed.unwrap_or(random.seed),
            })
        } else {
            base.strategy.clone()
        };
        let max_length = self
            .max_tokens
            .map_or(base.max_length, |n| Length::New(n as usize));
        let generate = GenerateOptions {
            strategy,
            max_length,
            ..base
        };
        generate.validate().map_err(UsageError::from_setting)?;
        Ok(CaptionOptions {
            prefix: self.prefix.clone(),
            generate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_random_setting_means_sampling() {
        let args = GenerationArgs {
            seed: Some(7),
            ..Default::default()
        };
        let Strategy::Sample(sampling) = args.options().unwrap().generate.strategy else {
            panic!()
        };
        assert_eq!(
            sampling,
            Sampling {
                seed: 7,
                ..Sampling::default()
            }
        );
        assert_eq!(
            GenerationArgs::default().options().unwrap().generate,
            GenerateOptions::default()
        );
    }

    #[test]
    fn compatibility_brings_its_beams_unless_others_are_given() {
        let args = GenerationArgs {
            openclip_compat: true,
            ..Default::default()
        };
        assert_eq!(
            args.options().unwrap().generate,
            GenerateOptions::openclip()
        );
        let args = GenerationArgs {
            openclip_compat: true,
            beams: Some(2),
            ..Default::default()
        };
        let options = args.options().unwrap().generate;
        assert!(options.openclip_compat && options.rows_per_image() == 2);
    }

    #[test]
    fn numbers_without_meaning_are_wrong_usage() {
        let args = GenerationArgs {
            top_p: Some(1.5),
            ..Default::default()
        };
        assert!(args.options().unwrap_err().is::<UsageError>());
    }
}
