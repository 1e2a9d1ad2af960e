//! The model folder: everything of a model, as open_clip's hub repositories hold it. Bytes only: the caller
//! reads and writes the files.

use std::collections::BTreeMap;

use burn::tensor::Device;
use serde_json::{Value, json};

use super::{CocaJson, Dtype, FileRecord, LoadOptions, ShardIndex, StateDict, load};
use crate::config::{ModelConfig, TextConfig};
use crate::preprocess::{PreprocessConfig, Preprocessor};
use crate::tokenizer::Tokenizer;
use crate::{Coca, Error, Result};

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
        Files::new(read)?.description()
    }
}

/// The contents of a model folder.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// The model's shape.
    pub model_cfg: ModelConfig,
    /// How images become its input. The size is always the model's.
    pub preprocess_cfg: PreprocessConfig,
    /// How texts become its input.
    pub tokenizer: Tokenizer,
    /// Its parameters.
    pub weights: StateDict,
    /// This project's additions; the defaults when the folder is open_clip's.
    pub coca: CocaJson,
}

/// Number of tokens of the CLIP vocabulary.
const CLIP_VOCABULARY: usize = 49_408;

impl ModelFolder {
    /// The configuration file.
    pub const CONFIG: &str = "open_clip_config.json";
    /// The tokenizer file. open_clip needs `tokenizer_config.json` beside it, which is not read here.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// Names of the file with the weights; the first that exists is read. open_clip's order, and the index of
    /// shards, which it does not know, after the single file of the same name.
    pub const WEIGHTS: [&str; 9] = [
        StateDict::FILE,
        "open_clip_pytorch_model.safetensors",
        "open_clip_pytorch_model.bin",
        "open_clip_pytorch_model.pth",
        "model.safetensors",
        ShardIndex::FILE,
        "pytorch_model.bin",
        "pytorch_model.pth",
        "model.pth",
    ];

    /// Which of the `available` files [`ModelFolder::from_files`] reads. With shards, all that may be of
    /// them: the index says which are.
    pub fn file_names<'a>(available: &[&'a str]) -> Vec<&'a str> {
        let weights = Self::WEIGHTS
            .iter()
            .find_map(|name| available.iter().find(|found| *found == name));
        let fixed = [CocaJson::FILE, Self::CONFIG, Self::TOKENIZER];
        let small = available.iter().filter(|name| fixed.contains(name));
        let sharded = weights.is_some_and(|name| *name == ShardIndex::FILE);
        let shards = available
            .iter()
            .filter(|name| sharded && name.ends_with(".safetensors"));
        small.chain(weights).chain(shards).copied().collect()
    }

    /// Reads a folder through `read`, which returns the contents of a file, or none if there is no such file.
    ///
    /// The files are compared with the sizes and hashes in `coca.json`, if it has them. Texts are split by
    /// the CLIP vocabulary, which is built in, when the configuration has its size and names no other
    /// tokenizer (as open_clip does) or when there is no `tokenizer.json`.
    ///
    /// # Errors
    /// Those of `read`, and a missing, damaged or inconsistent file.
    pub fn from_files<E: From<Error>>(
        read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let mut files = Files::new(read)?;
        let Description {
            model_cfg,
            preprocess_cfg,
            tokenizer,
            coca,
        } = files.description()?;
        Ok(Self {
            model_cfg,
            preprocess_cfg,
            tokenizer,
            weights: files.weights()?,
            coca,
        })
    }

    /// Hands name and contents of every file of the folder to `write`, one at a time, `coca.json` with the
    /// sizes and hashes of the others last. The weights are stored as `dtype` (none: as they are), in shards
    /// of at most `shard_bytes`.
    ///
    /// # Errors
    /// Those of `write`, and weights that do not fit `dtype`.
    pub fn write<E: From<Error>>(
        &self,
        dtype: impl Into<Option<Dtype>>,
        shard_bytes: u64,
        mut write: impl FnMut(&str, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut coca = CocaJson {
            files: Default::default(),
            ..self.coca.clone()
        };
        let mut record = |name: &str, bytes: &[u8]| {
            coca.files.insert(name.to_string(), FileRecord::of(bytes));
            write(name, bytes)
        };
        record(Self::CONFIG, &self.config_json()?)?;
        // The CLIP vocabulary is built into every reader.
        if !uses_clip_vocabulary(&self.model_cfg.text_cfg) {
            record(Self::TOKENIZER, self.tokenizer.to_json()?.as_bytes())?;
            record(
                "tokenizer_config.json",
                self.tokenizer.tokenizer_config_json()?.as_bytes(),
            )?;
        }
        let dtype = dtype.into();
        for file in self.weights.shards(shard_bytes, dtype) {
            let (name, bytes) = file?;
            record(&name, &bytes)?;
        }
        match self.quantisation(dtype) {
            Some(quantisation) => coca
                .other
                .insert(CocaJson::QUANTISATION.into(), quantisation),
            None => coca.other.remove(CocaJson::QUANTISATION),
        };
        write(CocaJson::FILE, &coca.to_json()?)
    }

    /// The model on a device, with these weights.
    pub fn model(&self, device: &Device) -> Result<Coca> {
        let [rows, columns] = self.model_cfg.vision_cfg.grid();
        load(
            Coca::new(&self.model_cfg, device)?,
            &self.weights,
            &LoadOptions {
                grid: Some((rows, columns)),
            },
        )
    }

    /// What `coca.json` says about weights that are written as `dtype`: their type, and how many tensors have
    /// it and the others. None if no tensor is quantised.
    fn quantisation(&self, dtype: Option<Dtype>) -> Option<Value> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut main = None;
        for (name, tensor) in self.weights.iter() {
            let target = dtype.filter(|_| tensor.dtype().is_float());
            let stored = target.map_or(tensor.dtype(), |target| {
                StateDict::stored_as(name, tensor.shape(), target)
            });
            main = main.or(Some(stored).filter(|dtype| *dtype == Dtype::Q4));
            *counts
                .entry(stored.name().to_ascii_lowercase())
                .or_default() += 1;
        }
        let main = main.or_else(|| counts.contains_key("q8").then_some(Dtype::Q8))?;
        Some(json!({ "format": 1, "dtype": main.name().to_ascii_lowercase(), "tensors": counts }))
    }

    fn config_json(&self) -> Result<Vec<u8>> {
        let config =
            json!({ "model_cfg": &self.model_cfg, "preprocess_cfg": &self.preprocess_cfg });
        Ok(format!("{config:#}\n").into_bytes())
    }
}

/// The files of a folder, each compared with its record in `coca.json`.
struct Files<R> {
    read: R,
    coca: CocaJson,
}

impl<R> Files<R> {
    fn new<E: From<Error>>(read: R) -> Result<Self, E>
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

    fn description<E: From<Error>>(&mut self) -> Result<Description, E>
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
        Ok(Description {
            tokenizer: read_tokenizer(&model_cfg.text_cfg, tokenizer)?,
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

    fn weights<E: From<Error>>(&mut self) -> Result<StateDict, E>
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

/// Reads `open_clip_config.json`: model_cfg and preprocess_cfg, or only the former's fields, as open_clip
/// keeps them in its own list of models.
fn read_config(bytes: &[u8]) -> Result<(ModelConfig, PreprocessConfig)> {
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
fn uses_clip_vocabulary(text: &TextConfig) -> bool {
    text.vocab_size == CLIP_VOCABULARY
        && text.hf_tokenizer_name.as_ref().is_none_or(String::is_empty)
}

fn read_tokenizer(text: &TextConfig, json: Option<Vec<u8>>) -> Result<Tokenizer> {
    let mut tokenizer = match json {
        Some(json) if !uses_clip_vocabulary(text) => Tokenizer::from_json(&json)?,
        _ if text.vocab_size == CLIP_VOCABULARY => clip()?,
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
fn clip() -> Result<Tokenizer> {
    Tokenizer::clip()
}

#[cfg(not(feature = "clip-vocabulary"))]
fn clip() -> Result<Tokenizer> {
    Err(Error::Tokenizer(format!(
        "this build lacks the CLIP vocabulary; put a {} there",
        ModelFolder::TOKENIZER
    )))
}

#[cfg(all(test, feature = "clip-vocabulary"))]
mod tests {
    use super::*;
    use crate::weights::TensorEntry;
    use proptest::prelude::*;

    type Folder = BTreeMap<String, Vec<u8>>;

    fn config() -> Value {
        json!({
            "model_cfg": {
                "embed_dim": 32,
                "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 1, "head_width": 32,
                    "attentional_pool": true, "attn_pooler_queries": 8, "attn_pooler_heads": 4},
                "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
                "multimodal_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1},
            },
            "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        })
    }

    fn weights() -> StateDict {
        (0..3)
            .map(|i| {
                (
                    format!("t{i}"),
                    TensorEntry::from_f32(vec![4], &[i as f32; 4]).unwrap(),
                )
            })
            .collect()
    }

    /// An open_clip folder, without anything of ours.
    fn plain() -> Folder {
        let weights = weights().to_safetensors(None, &BTreeMap::new()).unwrap();
        [
            (ModelFolder::CONFIG, config().to_string().into_bytes()),
            ("open_clip_model.safetensors", weights),
        ]
        .map(|(name, bytes)| (name.to_string(), bytes))
        .into()
    }

    fn read(folder: &Folder) -> Result<ModelFolder> {
        ModelFolder::from_files(|name| Ok::<_, Error>(folder.get(name).cloned()))
    }

    fn written(folder: &ModelFolder, shard_bytes: u64) -> Folder {
        let mut files = Folder::new();
        folder
            .write(None, shard_bytes, |name, bytes| {
                files.insert(name.to_string(), bytes.to_vec());
                Ok::<_, Error>(())
            })
            .unwrap();
        files
    }

    fn refused(folder: &Folder) -> String {
        read(folder).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_of_open_clip_is_read() {
        let folder = read(&plain()).unwrap();
        assert_eq!(folder.weights, weights());
        assert_eq!(folder.coca, CocaJson::default());
        assert_eq!(
            folder.preprocess_cfg.size.height, 32,
            "the size is the model's"
        );
        assert_eq!(folder.preprocess_cfg.mean, [0.5; 3]);
        assert_eq!(
            folder.tokenizer.encode("a photo of a cat"),
            [320, 1125, 539, 320, 2368]
        );
    }

    #[test]
    fn a_bare_model_config_is_enough() {
        let mut files = plain();
        files.insert(
            ModelFolder::CONFIG.into(),
            config()["model_cfg"].to_string().into_bytes(),
        );
        assert_eq!(
            read(&files).unwrap().preprocess_cfg,
            PreprocessConfig::for_size(32, 32)
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut folder = read(&plain()).unwrap();
        folder.coca.name = Some("tiny".into());
        for (shard_bytes, files) in [(1000, 3), (16, 6)] {
            let written = written(&folder, shard_bytes);
            assert_eq!(written.len(), files, "{:?}", written.keys());
            let again = read(&written).unwrap();
            assert_eq!(again.weights, folder.weights);
            assert_eq!(again.model_cfg, folder.model_cfg);
            assert_eq!(again.preprocess_cfg, folder.preprocess_cfg);
            assert_eq!(again.coca.name, folder.coca.name);
            assert_eq!(again.coca.files.len(), files - 1);
        }
    }

    #[test]
    fn a_named_tokenizer_is_read_from_its_file() {
        let mut files = plain();
        let mut config = config();
        config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = json!("here");
        config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = json!({"clean": "canonicalize"});
        files.insert(ModelFolder::CONFIG.into(), config.to_string().into_bytes());
        files.insert(
            ModelFolder::TOKENIZER.into(),
            Tokenizer::clip().unwrap().to_json().unwrap().into_bytes(),
        );
        assert_eq!(
            read(&files).unwrap().tokenizer.encode("a Cat!"),
            [320, 2368]
        );
        files.insert(ModelFolder::TOKENIZER.into(), b"{}".to_vec());
        assert!(matches!(read(&files), Err(Error::Tokenizer(_))));
    }

    #[test]
    fn tokenizer_and_embeddings_must_fit() {
        let mut files = plain();
        let mut config = config();
        config["model_cfg"]["text_cfg"]["vocab_size"] = json!(200);
        files.insert(ModelFolder::CONFIG.into(), config.to_string().into_bytes());
        assert!(refused(&files).contains("no tokenizer.json"));
        files.insert(
            ModelFolder::TOKENIZER.into(),
            Tokenizer::clip().unwrap().to_json().unwrap().into_bytes(),
        );
        assert!(refused(&files).contains("49408"));
    }

    #[test]
    fn missing_files_are_named() {
        let mut files = plain();
        files.remove("open_clip_model.safetensors");
        assert!(refused(&files).contains("open_clip_model.safetensors"));
        assert!(refused(&Folder::new()).contains("open_clip_config.json"));
        let mut sharded = written(&read(&plain()).unwrap(), 16);
        sharded.remove("model-00002-of-00003.safetensors");
        assert!(refused(&sharded).contains("model-00002-of-00003.safetensors"));
    }

    #[test]
    fn a_damaged_file_is_noticed_by_its_hash() {
        let mut files = written(&read(&plain()).unwrap(), 1000);
        *files
            .get_mut("open_clip_model.safetensors")
            .unwrap()
            .last_mut()
            .unwrap() ^= 1;
        assert!(refused(&files).contains("SHA-256"));
    }

    #[test]
    fn weights_are_preferred_as_open_clip_does() {
        let names = [
            "README.md",
            "model.safetensors",
            "open_clip_config.json",
            "open_clip_model.safetensors",
        ];
        assert_eq!(
            ModelFolder::file_names(&names),
            ["open_clip_config.json", "open_clip_model.safetensors"]
        );
        let names = [
            "coca.json",
            "model.safetensors.index.json",
            "model-00001-of-00001.safetensors",
            "pytorch_model.bin",
        ];
        assert_eq!(
            ModelFolder::file_names(&names),
            [
                "coca.json",
                "model.safetensors.index.json",
                "model-00001-of-00001.safetensors"
            ]
        );
        let mut files = plain();
        files.insert("model.safetensors".into(), b"never read".to_vec());
        assert_eq!(read(&files).unwrap().weights, weights());
    }

    #[test]
    fn the_errors_of_the_reader_are_passed_on() {
        let error = ModelFolder::from_files(|_| Err(Error::Input("no network".into())))
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(error, Error::Input(_)));
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
