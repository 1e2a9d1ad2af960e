//! The model folder: everything of a model, as open_clip's hub repositories hold it. Bytes only: the caller
//! reads and writes the files.

use std::collections::BTreeMap;

use burn::tensor::Device;
use serde_json::{Value, json};

use super::description::uses_clip_vocabulary;
use super::folder_files::FolderFiles;
use super::{CocaJson, Description, Dtype, FileRecord, LoadOptions, ShardIndex, StateDict, load};
use crate::config::ModelConfig;
use crate::preprocess::PreprocessConfig;
use crate::tokenizer::Tokenizer;
use crate::{Coca, Error, Result};

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

impl ModelFolder {
    /// The configuration file.
    pub const CONFIG: &str = "open_clip_config.json";
    /// The tokenizer file. open_clip needs `tokenizer_config.json` beside it, which is not read here.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// The merges of the CLIP vocabulary as OpenAI published them, gzipped. Never part of a folder: a build without
    /// the feature `clip-vocabulary` asks for them under this name where it needs them.
    pub const CLIP_MERGES: &str = "clip_merges.txt.gz";
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
    /// the CLIP vocabulary when the configuration has its size and names no other
    /// tokenizer (as open_clip does) or when there is no `tokenizer.json`. It is built in with the feature
    /// `clip-vocabulary`, else `read` is asked for [`ModelFolder::CLIP_MERGES`].
    ///
    /// # Errors
    /// Those of `read`, and a missing, damaged or inconsistent file.
    pub fn from_files<E: From<Error>>(
        read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let mut files = FolderFiles::new(read)?;
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
        // Every reader has the CLIP vocabulary.
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
                ..LoadOptions::default()
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

#[cfg(all(test, feature = "clip-vocabulary"))]
mod tests {
    use super::*;
    use crate::weights::TensorEntry;
    use crate::weights::samples::config;

    type Folder = BTreeMap<String, Vec<u8>>;

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
}
