//! A model from files that arrive in pieces.

use burn::tensor::Device;
use sha2::{Digest, Sha256};

use super::{Description, FileRecord, LoadOptions, Loader, SafetensorsReader};
use crate::{Coca, Error, Result};

/// Builds a model from the pieces of its weights' files, in any order of the files and however they are mixed.
/// Each tensor goes to the device as soon as it is complete, so that beside the model itself only the tensors
/// that are arriving are in memory.
#[derive(Debug)]
pub struct ModelLoader {
    description: Description,
    loader: Loader<Coca>,
    /// Files that were begun and not closed.
    open: usize,
}

/// A file of weights that is arriving.
#[derive(Debug)]
pub struct WeightsFile {
    name: String,
    reader: SafetensorsReader,
    /// What `coca.json` says about it, and its hash so far.
    check: Option<(FileRecord, Sha256)>,
    bytes: u64,
}

impl ModelLoader {
    /// A loader of the described model. Nothing is initialised on the device yet.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn new(description: Description, device: &Device) -> Result<Self> {
        let [rows, columns] = description.model_cfg.vision_cfg.grid();
        let options = LoadOptions {
            grid: Some((rows, columns)),
            keep_dtype: true,
        };
        let model = Coca::new(&description.model_cfg, device)?;
        Ok(Self {
            loader: Loader::new(model, &options),
            description,
            open: 0,
        })
    }

    /// The same loader, for a device with memory of its own: see [`Loader::in_parts`].
    pub fn in_parts(mut self, elements: usize) -> Self {
        self.loader = self.loader.in_parts(elements);
        self
    }

    /// The model's description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Begins a safetensors file of the folder. Its size and hash are compared with those in `coca.json`, if
    /// there are any, unless it is `trusted` because that was done before.
    pub fn begin(&mut self, name: &str, trusted: bool) -> WeightsFile {
        self.open += 1;
        let record = self.description.coca.files.get(name);
        WeightsFile {
            name: name.to_string(),
            reader: SafetensorsReader::new(),
            check: record
                .filter(|_| !trusted)
                .map(|record| (record.clone(), Sha256::new())),
            bytes: 0,
        }
    }

    /// Takes the next bytes of a file.
    ///
    /// # Errors
    /// A file that is damaged or not of this model: as soon as its header has arrived.
    pub fn push(&mut self, file: &mut WeightsFile, bytes: &[u8]) -> Result<()> {
        file.bytes += bytes.len() as u64;
        if let Some((_, hash)) = &mut file.check {
            hash.update(bytes);
        }
        file.reader
            .push(bytes, &mut self.loader)
            .map_err(|error| in_file(&file.name, error))
    }

    /// Ends a file.
    ///
    /// # Errors
    /// A file that is incomplete, or is not the one that `coca.json` describes.
    pub fn close(&mut self, file: WeightsFile) -> Result<()> {
        if let Some((record, hash)) = file.check {
            let found = FileRecord {
                sha256: format!("{:x}", hash.finalize()),
                bytes: file.bytes,
            };
            record.compare(&file.name, &found)?;
        }
        let finished = file.reader.finish();
        finished.map_err(|error| in_file(&file.name, error))?;
        self.open = self.open.saturating_sub(1);
        Ok(())
    }

    /// The model, its description, and one sentence for each change that alters what it computes.
    ///
    /// # Errors
    /// A file that was not closed, and tensors that did not come.
    pub fn finish(self) -> Result<(Coca, Description, Vec<String>)> {
        if self.open > 0 {
            return Err(Error::Weights(format!(
                "{} files of weights are incomplete",
                self.open
            )));
        }
        let (model, notes) = self.loader.finish()?;
        Ok((model, self.description, notes))
    }
}

/// Says which file an error is about.
fn in_file(name: &str, error: Error) -> Error {
    match error {
        Error::Weights(what) => Error::Weights(format!("{name}: {what}")),
        other => other,
    }
}

#[cfg(all(test, feature = "clip-vocabulary"))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::weights::{Dtype, ModelFolder, StateDict, save};

    type Folder = BTreeMap<String, Vec<u8>>;

    const CONFIG: &str = r#"{
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 1, "head_width": 32,
            "attentional_pool": true, "attn_pooler_queries": 8, "attn_pooler_heads": 4},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
        "multimodal_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1}
    }"#;

    /// A model folder with random weights of this type.
    fn folder(dtype: Dtype, shard_bytes: u64) -> (Folder, StateDict) {
        let config = serde_json::from_str(CONFIG).unwrap();
        let model = Coca::new(&config, &Device::flex()).unwrap();
        let weights = pollster::block_on(save(&model)).unwrap();
        let stand_in = StateDict::new()
            .to_safetensors(None, &BTreeMap::new())
            .unwrap();
        let mut folder = ModelFolder::from_files(|name| {
            Ok::<_, Error>(match name {
                ModelFolder::CONFIG => Some(CONFIG.as_bytes().to_vec()),
                StateDict::FILE => Some(stand_in.clone()),
                _ => None,
            })
        })
        .unwrap();
        folder.weights = weights.to_dtype(dtype).unwrap();
        let mut files = Folder::new();
        let written = folder.write(None, shard_bytes, |name, bytes| {
            files.insert(name.to_string(), bytes.to_vec());
            Ok::<_, Error>(())
        });
        written.unwrap();
        (files, folder.weights.to_dtype(Dtype::F32).unwrap())
    }

    fn loader(files: &Folder) -> ModelLoader {
        let description = Description::from_files(|name| Ok::<_, Error>(files.get(name).cloned()));
        ModelLoader::new(description.unwrap(), &Device::flex()).unwrap()
    }

    fn weights(files: &Folder) -> Vec<(&str, &[u8])> {
        files
            .iter()
            .filter(|(name, _)| name.ends_with(".safetensors"))
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect()
    }

    #[test]
    fn files_that_arrive_mixed_give_the_model() {
        for (dtype, shard_bytes, part) in [
            (Dtype::F32, 1 << 30, usize::MAX),
            (Dtype::F32, 1 << 30, 100_000),
            (Dtype::F16, 1 << 20, 50_000),
            (Dtype::Q8, 1 << 19, 100_000),
            (Dtype::Q4, 1 << 18, 1000),
        ] {
            let (files, expected) = folder(dtype, shard_bytes);
            let mut loader = loader(&files).in_parts(part);
            let mut arriving: Vec<_> = weights(&files)
                .into_iter()
                .map(|(name, bytes)| (loader.begin(name, false), bytes))
                .collect();
            while arriving.iter().any(|(_, rest)| !rest.is_empty()) {
                for (file, rest) in &mut arriving {
                    let (piece, after) = rest.split_at(rest.len().min(50_000));
                    loader.push(file, piece).unwrap();
                    *rest = after;
                }
            }
            for (file, _) in arriving {
                loader.close(file).unwrap();
            }
            let (model, description, notes) = loader.finish().unwrap();
            assert!(notes.is_empty());
            assert_eq!(
                description.coca.other.contains_key("quantisation"),
                dtype.is_quantised()
            );
            let loaded = pollster::block_on(save(&model)).unwrap();
            for (name, tensor) in expected.iter() {
                assert_eq!(
                    loaded.get_f32(name).unwrap().1,
                    tensor.to_f32().unwrap(),
                    "{dtype} {name}"
                );
            }
        }
    }

    #[test]
    fn the_header_of_another_model_is_refused_before_its_tensors_arrive() {
        let (files, _) = folder(Dtype::F16, 1 << 30);
        let mut stranger = files.clone();
        let config = CONFIG.replace("\"width\": 64", "\"width\": 96");
        stranger.insert(ModelFolder::CONFIG.into(), config.into_bytes());
        stranger.remove("coca.json");
        let mut loader = loader(&stranger);
        let mut file = loader.begin("open_clip_model.safetensors", false);
        let bytes = weights(&files)[0].1;
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let error = loader.push(&mut file, &bytes[..header]).unwrap_err();
        assert!(matches!(error, Error::WeightsMismatch(_)), "{error}");
    }

    #[test]
    fn damaged_incomplete_and_missing_files_are_noticed() {
        let (files, _) = folder(Dtype::Q8, 1 << 20);
        let (name, bytes) = weights(&files)[0];
        let push = |bytes: &[u8], trusted: bool| -> Result<()> {
            let mut loader = loader(&files);
            let mut file = loader.begin(name, trusted);
            loader.push(&mut file, bytes)?;
            loader.close(file)?;
            loader.finish().map(drop)
        };
        let mut flipped = bytes.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        let error = push(&flipped, false).unwrap_err().to_string();
        assert!(error.contains("SHA-256") && error.contains(name), "{error}");
        let error = push(&bytes[..bytes.len() - 1], false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("bytes instead of"), "{error}");
        let error = push(&bytes[..bytes.len() - 1], true)
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a complete"), "{error}");
        let error = push(bytes, true).unwrap_err();
        assert!(
            matches!(error, Error::WeightsMismatch(_)),
            "the other shards: {error}"
        );
        let mut loader = loader(&files);
        let _ = loader.begin(name, false);
        assert!(
            loader
                .finish()
                .map(drop)
                .unwrap_err()
                .to_string()
                .contains("incomplete")
        );
    }
}
