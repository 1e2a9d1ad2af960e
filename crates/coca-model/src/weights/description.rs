//! What the small files of a model folder say: the model's shape, its preprocessing and its tokenizer.

use serde_json::{Value, json};

use super::folder_files::FolderFiles;
use super::{CocaJson, ModelFolder};
use crate::config::{ModelConfig, TextConfig};
use crate::preprocess::{PreprocessConfig, Preprocessor};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Number of tokens of the CLIP vocabulary.
const CLIP_VOCABULARY: usize = 49_408;

/// All of a model folder but its weights.
#[derive(Clone, Debug)]
pub struct Description {
    /// The model's shape.
    pub model_cfg: ModelConfig,
    /// How images become its input. The size is always the model's.
    pub preprocess_cfg: PreprocessConfig,
    /// How texts become its input.
    pub tokenizer: Tokenizer,
    /// This project's additions; the defaults when the folder is open_clip's.
    pub coca: CocaJson,
}

impl Description {
    /// Reads the small files of a folder as [`ModelFolder::from_files`] does.
    ///
    /// # Errors
    /// Those of `read`, and a missing, damaged or inconsistent file.
    pub fn from_files<E: From<Error>>(
        read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        FolderFiles::new(read)?.description()
    }

    /// Whether [`Description::from_files`] will ask for [`ModelFolder::CLIP_MERGES`], for a caller that has to fetch
    /// them first: never in a build with the feature `clip-vocabulary`. `config` is the configuration file.
    ///
    /// # Errors
    /// A configuration that is not sound.
    pub fn needs_clip_merges(config: &[u8], has_tokenizer: bool) -> Result<bool> {
        let (model_cfg, _) = read_config(config)?;
        Ok(needs_clip_merges(&model_cfg.text_cfg, has_tokenizer))
    }
}

/// Reads `open_clip_config.json`: model_cfg and preprocess_cfg, or only the former's fields, as open_clip
/// keeps them in its own list of models.
pub(super) fn read_config(bytes: &[u8]) -> Result<(ModelConfig, PreprocessConfig)> {
    let invalid = |source| Error::Json {
        what: ModelFolder::CONFIG.into(),
        source,
    };
    let config: Value = serde_json::from_slice(bytes).map_err(invalid)?;
    let model_cfg: ModelConfig =
        serde_json::from_value(config.get("model_cfg").unwrap_or(&config).clone())
            .map_err(invalid)?;
    model_cfg.validate()?;

    let mut preprocess_cfg = config
        .get("preprocess_cfg")
        .filter(|cfg| !cfg.is_null())
        .cloned()
        .unwrap_or(json!({}));
    if let Value::Object(fields) = &mut preprocess_cfg {
        fields.insert("size".into(), json!(model_cfg.vision_cfg.image_size.dims()));
    }
    let preprocess_cfg: PreprocessConfig =
        serde_json::from_value(preprocess_cfg).map_err(invalid)?;
    Preprocessor::new(preprocess_cfg.clone())?;
    Ok((model_cfg, preprocess_cfg))
}

/// Whether open_clip splits this model's texts by the CLIP vocabulary.
pub(super) fn uses_clip_vocabulary(text: &TextConfig) -> bool {
    text.vocab_size == CLIP_VOCABULARY
        && text.hf_tokenizer_name.as_ref().is_none_or(String::is_empty)
}

/// Whether this build needs the published merges to split this model's texts.
pub(super) fn needs_clip_merges(text: &TextConfig, has_tokenizer: bool) -> bool {
    let splits_as_clip =
        uses_clip_vocabulary(text) || (!has_tokenizer && text.vocab_size == CLIP_VOCABULARY);
    splits_as_clip && cfg!(not(feature = "clip-vocabulary"))
}

/// The tokenizer in `tokenizer.json`, or CLIP's.
pub(super) fn read_tokenizer(
    text: &TextConfig,
    json: Option<Vec<u8>>,
    clip_merges: Option<Vec<u8>>,
) -> Result<Tokenizer> {
    let mut tokenizer = match json {
        Some(json) if !uses_clip_vocabulary(text) => Tokenizer::from_json(&json)?,
        _ if text.vocab_size == CLIP_VOCABULARY => clip(clip_merges)?,
        _ => {
            return Err(Error::Tokenizer(format!(
                "there is no {}, and a vocabulary of {} is not CLIP's",
                ModelFolder::TOKENIZER,
                text.vocab_size
            )));
        }
    };
    if let Some(clean) = text
        .tokenizer_kwargs
        .as_ref()
        .and_then(|kwargs| kwargs.get("clean"))
    {
        let invalid = |source| Error::Json {
            what: "text_cfg.tokenizer_kwargs.clean".into(),
            source,
        };
        tokenizer = tokenizer.with_clean(serde_json::from_value(clean.clone()).map_err(invalid)?);
    }
    if text.pad_id != 0 {
        tokenizer = tokenizer.with_pad(text.pad_id)?;
    }
    if tokenizer.vocab_size() > text.vocab_size {
        return Err(Error::Tokenizer(format!(
            "the tokenizer has {} ids, but the model only {} token embeddings; they are not of one model",
            tokenizer.vocab_size(),
            text.vocab_size
        )));
    }
    Ok(tokenizer)
}

#[cfg(feature = "clip-vocabulary")]
fn clip(_merges: Option<Vec<u8>>) -> Result<Tokenizer> {
    Tokenizer::clip()
}

#[cfg(not(feature = "clip-vocabulary"))]
fn clip(merges: Option<Vec<u8>>) -> Result<Tokenizer> {
    match merges {
        Some(merges) => Tokenizer::from_clip_merges(&merges),
        None => Err(Error::Tokenizer(format!(
            "this build has no CLIP vocabulary, and was not given {}",
            ModelFolder::CLIP_MERGES
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::samples::config;
    use proptest::prelude::*;

    #[test]
    fn the_merges_are_asked_for_where_the_build_lacks_them_and_the_model_splits_as_clip() {
        let built_in = cfg!(feature = "clip-vocabulary");
        let needs = |config: &Value, has_tokenizer| {
            Description::needs_clip_merges(config.to_string().as_bytes(), has_tokenizer).unwrap()
        };
        let mut config = config();
        assert_eq!(needs(&config, false), !built_in);
        assert_eq!(
            needs(&config, true),
            !built_in,
            "open_clip ignores the file"
        );
        config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = json!("here");
        assert_eq!(needs(&config, false), !built_in);
        assert!(!needs(&config, true));
        config["model_cfg"]["text_cfg"]["vocab_size"] = json!(512);
        assert!(!needs(&config, false));
        assert!(Description::needs_clip_merges(b"{", false).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_and_mutated_configs_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
        ) {
            let _ = read_config(&bytes);
            let mut json = config().to_string().into_bytes();
            let position = at.index(json.len());
            json[position] = to;
            let _ = read_config(&json);
        }
    }
}
