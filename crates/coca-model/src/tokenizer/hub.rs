//! Writes a tokenizer for Python: the tokenizers library, transformers and open_clip.

use super::bpe::PAD;
use super::{Tokenizer, failed};
use crate::{Error, Result};
use serde_json::json;
use tokenizers::processors::template::TemplateProcessing;

impl Tokenizer {
    /// The `tokenizer.json` of this tokenizer. Loaded elsewhere it puts start and end around the text by itself.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if a special token cannot be written.
    pub fn to_json(&self) -> Result<String> {
        let invalid = failed("tokenizer.json");
        let (sot, eot) = (self.name_of(self.sot)?, self.name_of(self.eot)?);
        let template = TemplateProcessing::builder()
            .try_single(format!("{sot} $A {eot}"))
            .map_err(|error| Error::Tokenizer(format!("tokenizer.json: {error}")))?
            .special_tokens(vec![(sot, self.sot), (eot, self.eot)])
            .build()
            .map_err(|error| invalid(error.into()))?;
        let mut tokenizer = self.inner.clone();
        tokenizer.with_post_processor(Some(template));
        tokenizer.to_string(false).map_err(invalid)
    }

    /// The `tokenizer_config.json` that must lie beside [`Self::to_json`] for open_clip to load the folder: its
    /// `HFTokenizer` asks transformers for the class and the names of the special tokens.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the padding is an ordinary token, as in CLIP's vocabulary: declaring it special
    /// would change the ids of text. open_clip has that vocabulary built in and needs no file for it.
    pub fn tokenizer_config_json(&self) -> Result<String> {
        let pad = self.name_of(self.pad)?;
        if !self.inner.get_added_vocabulary().is_special_token(&pad) {
            return Err(Error::Tokenizer(format!(
                "padding id {} is the ordinary token {pad:?}; a tokenizer_config.json needs one such as {PAD}",
                self.pad
            )));
        }
        let config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.name_of(self.sot)?,
            "eos_token": self.name_of(self.eot)?,
            "pad_token": pad,
            "padding_side": "right",
            "truncation_side": "right",
            "clean_up_tokenization_spaces": false,
        });
        Ok(format!("{config:#}\n"))
    }

    fn name_of(&self, id: u32) -> Result<String> {
        self.inner
            .id_to_token(id)
            .ok_or_else(|| Error::Tokenizer(format!("id {id} has no token")))
    }
}
