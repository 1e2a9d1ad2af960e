//! Reading a model folder through a function that gives its files.

use super::description::{needs_clip_merges, read_config, read_tokenizer};
use super::{CocaJson, Description, ModelFolder, ShardIndex, StateDict};
use crate::{Error, Result};

/// The files of a folder, each compared with its record in `coca.json`.
pub(super) struct FolderFiles<R> {
    read: R,
    coca: CocaJson,
}

impl<R> FolderFiles<R> {
    pub(super) fn new<E: From<Error>>(read: R) -> Result<Self, E>
    where
        R: FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    {
        let coca = CocaJson::default();
        let mut files = Self { read, coca };
        if let Some(json) = files.get(CocaJson::FILE)? {
            files.coca = CocaJson::from_json(&json)?;
        }
        Ok(files)
    }

    pub(super) fn description<E: From<Error>>(&mut self) -> Result<Description, E>
    where
        R: FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    {
        let config = self.get(ModelFolder::CONFIG)?.ok_or_else(|| {
            Error::Config(format!(
                "there is no {}; is this a model folder?",
                ModelFolder::CONFIG
            ))
        })?;
        let (model_cfg, preprocess_cfg) = read_config(&config)?;
        let tokenizer = self.get(ModelFolder::TOKENIZER)?;
        let text = &model_cfg.text_cfg;
        let merges = match needs_clip_merges(text, tokenizer.is_some()) {
            true => self.get(ModelFolder::CLIP_MERGES)?,
            false => None,
        };
        Ok(Description {
            tokenizer: read_tokenizer(text, tokenizer, merges)?,
            model_cfg,
            preprocess_cfg,
            coca: self.coca.clone(),
        })
    }

    fn get<E: From<Error>>(&mut self, name: &str) -> Result<Option<Vec<u8>>, E>
    where
        R: FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    {
        let bytes = (self.read)(name)?;
        if let Some(bytes) = &bytes {
            self.coca.check_file(name, bytes)?;
        }
        Ok(bytes)
    }

    pub(super) fn weights<E: From<Error>>(&mut self) -> Result<StateDict, E>
    where
        R: FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    {
        for name in ModelFolder::WEIGHTS {
            let Some(bytes) = self.get(name)? else {
                continue;
            };
            return if name == ShardIndex::FILE {
                self.shards(&ShardIndex::from_json(&bytes)?)
            } else if name.ends_with(".safetensors") {
                Ok(StateDict::from_safetensors(bytes)?)
            } else {
                Ok(read_torch(name, bytes)?)
            };
        }
        let names = ModelFolder::WEIGHTS.join(", ");
        Err(Error::Weights(format!(
            "the model folder has no weights; it must have one of {names}"
        ))
        .into())
    }

    fn shards<E: From<Error>>(&mut self, index: &ShardIndex) -> Result<StateDict, E>
    where
        R: FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    {
        let mut weights = StateDict::new();
        for name in index.files() {
            let bytes = self.get(name)?.ok_or_else(|| {
                Error::Weights(format!(
                    "there is no shard {name}, which {} names",
                    ShardIndex::FILE
                ))
            })?;
            weights.merge(StateDict::from_safetensors(bytes)?)?;
        }
        index.check(&weights)?;
        Ok(weights)
    }
}

#[cfg(feature = "torch")]
fn read_torch(_name: &str, bytes: Vec<u8>) -> Result<StateDict> {
    StateDict::from_torch(bytes)
}

#[cfg(not(feature = "torch"))]
fn read_torch(name: &str, _bytes: Vec<u8>) -> Result<StateDict> {
    Err(Error::Weights(format!(
        "{name} is a PyTorch checkpoint, which this build does not read; use `coca-train convert` on it"
    )))
}
