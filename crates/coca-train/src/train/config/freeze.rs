//! What does not learn.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::optimizer::pattern;

/// Parameters that keep their values; they have no gradient and no weight decay. The towers' groups are open_clip's
/// (`--lock-image`, `--lock-text`), counted from the output; the attentional poolers go with the last block.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreezeConfig {
    /// Freezes the image encoder.
    pub image: bool,
    /// How many of its groups still learn: the projection; the last block with the poolers and the final norm; then
    /// one block each; the embeddings.
    pub image_unlocked_groups: usize,
    /// Freezes the unimodal text decoder.
    pub text: bool,
    /// How many of its groups still learn: the projection; the last block with the final norm; then one block each;
    /// the embeddings.
    pub text_unlocked_groups: usize,
    /// Regular expressions; parameters in whose open_clip names one is found are frozen too.
    pub patterns: Vec<String>,
}

impl FreezeConfig {
    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<()> {
        for (name, locked, unlocked) in [
            ("image", self.image, self.image_unlocked_groups),
            ("text", self.text, self.text_unlocked_groups),
        ] {
            ensure!(
                locked || unlocked == 0,
                "freeze.{name}_unlocked_groups is {unlocked}, but freeze.{name} is not set"
            );
        }
        for text in &self.patterns {
            pattern(text).context("in freeze.patterns")?;
        }
        Ok(())
    }

    /// Whether anything is frozen.
    pub fn any(&self) -> bool {
        self.image || self.text || !self.patterns.is_empty()
    }
}
