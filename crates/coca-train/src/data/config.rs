//! The data part of a training configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::augment::AugmentConfig;
use super::data_spec::DataSpec;
use super::data_table::DataTable;
use super::error::{Error, Result};
use super::files::{CACHE_GB, Files};

/// A field of a sample that can become texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// json `captions`: a string or a list of strings, each a text of its own.
    Captions,
    /// json `label`: a class name put into one of the prompt templates. A number is looked up in the
    /// `classes.json` beside the shard (a list of names, or of objects with `id` and `name`).
    Label,
    /// json `qa`: `[question, answer]` pairs, or objects with those keys.
    Qa,
    /// json `keywords`: a list of strings, joined by commas to one text.
    Keywords,
    /// json `sentence`: a caption; with a boolean `label` beside it, a question whose answer is `true` or `false`.
    Sentence,
    /// The file `KEY.txt`.
    Text,
}

/// One data set of the mixture: a `[[data]]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "DataTable", into = "DataTable")]
pub struct DataConfig {
    /// What kind of data it is, and where.
    pub spec: DataSpec,
    /// How many files at a time are shuffled with each other, so that an epoch goes through a data set that is larger
    /// than the cache, or on a slow disk, without reading any file twice. By default all local files are, and 16
    /// remote ones.
    pub shuffle_shards: Option<usize>,
    /// Whether samples are drawn with replacement, instead of each once in an epoch.
    pub resampled: bool,
    /// The share of samples relative to the other data sets.
    pub weight: f64,
    /// Which fields become texts (`use`); by default all that a sample has.
    pub fields: Vec<Field>,
    /// Prompt templates for labels, a random one each time; `{}` stands for the class name.
    pub templates: Vec<String>,
    /// The prefix of an answer; `{question}` stands for the question.
    pub answer_template: String,
    /// Only samples whose json holds exactly these values, for example `{ skin_tone = false }`.
    pub only: BTreeMap<String, serde_json::Value>,
    /// Takes the place of the common `[augment]` table for this data set.
    pub augment: Option<AugmentConfig>,
}

fn all_fields() -> Vec<Field> {
    use Field::*;
    vec![Captions, Label, Qa, Keywords, Sentence, Text]
}

fn label_templates() -> Vec<String> {
    vec!["a photo of a {}".into()]
}

/// The prefix that makes the captioning decoder answer a question.
pub fn answer_template() -> String {
    "question: {question} answer:".into()
}

impl DataConfig {
    /// The defaults for this data.
    pub fn new(spec: impl Into<DataSpec>) -> Self {
        Self {
            spec: spec.into(),
            shuffle_shards: None,
            resampled: false,
            weight: 1.0,
            fields: all_fields(),
            templates: label_templates(),
            answer_template: answer_template(),
            only: BTreeMap::new(),
            augment: None,
        }
    }

    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<()> {
        let fail = |reason: String| Err(Error::Config(format!("data `{}`: {reason}", self.spec)));
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return fail(format!("weight = {} must be above zero", self.weight));
        }
        if self.shuffle_shards == Some(0) {
            return fail("shuffle_shards must be at least 1".into());
        }
        if self.fields.is_empty() {
            return fail("`use` names no field, so no sample has a text".into());
        }
        if self.templates.is_empty() {
            return fail("`templates` is empty; write [\"{}\"] for the bare class name".into());
        }
        if let Some(template) = self.templates.iter().find(|t| !t.contains("{}")) {
            return fail(format!(
                "template `{template}` has no {{}} for the class name"
            ));
        }
        if !self.answer_template.contains("{question}") {
            let template = &self.answer_template;
            return fail(format!("answer_template `{template}` has no {{question}}"));
        }
        self.augment
            .as_ref()
            .map_or(Ok(()), AugmentConfig::validate)
    }
}

/// How batches are made: a `[loader]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// Images in a batch.
    pub batch_size: usize,
    /// Rows of text for each image, so that one pass of the image encoder serves several questions or captions.
    /// Rows that an image cannot fill repeat its first text with weight zero.
    pub texts_per_image: usize,
    /// Decides order, choice of texts and augmentation; the same seed gives the same batches.
    pub seed: u64,
    /// Threads that decode and augment; 0 for one less than the machine has.
    pub workers: usize,
    /// Finished batches that wait for each worker's turn.
    pub prefetch: usize,
    /// Memory for decoded images in MiB, 0 for none. Images are then kept at 1.3 times the model's image size
    /// (short side), so augmentation crops from those; first come, first kept, which suits repeated epochs.
    pub cache_mb: usize,
    /// Where downloaded files are kept; `coca-train` in the user's folder for caches if not given.
    pub cache_dir: Option<PathBuf>,
    /// How many gigabytes of downloaded files are kept; those that were not used for longest make room.
    pub cache_gb: f64,
    /// The share of a data set's samples that may be broken before training stops with an error.
    pub max_broken: f64,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 64,
            texts_per_image: 1,
            seed: 0,
            workers: 0,
            prefetch: 2,
            cache_mb: 0,
            cache_dir: None,
            cache_gb: CACHE_GB,
            max_broken: 0.01,
        }
    }
}

impl LoaderConfig {
    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<()> {
        let fail = |reason: &str| Err(Error::Config(reason.into()));
        if self.batch_size == 0 || self.texts_per_image == 0 {
            return fail("batch_size and texts_per_image must be at least 1");
        }
        if self.batch_size.saturating_mul(self.texts_per_image) > 1 << 20 {
            return fail("batch_size * texts_per_image is more than a million rows");
        }
        if !(self.cache_gb.is_finite() && self.cache_gb > 0.0) {
            return fail("cache_gb must be above zero");
        }
        if !(0.0..=1.0).contains(&self.max_broken) {
            return fail("max_broken is a share of the samples, between 0 and 1");
        }
        Ok(())
    }

    /// What opens the files of the data sets; a relative `cache_dir` starts at `base`.
    pub fn files(&self, base: &Path) -> Files {
        let folder = self.cache_dir.as_ref().map(|folder| base.join(folder));
        Files::new(folder, self.cache_gb)
    }

    /// The number of threads to start.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => {
                std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
            }
            workers => workers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_a_full_table() {
        let least: DataConfig = toml::from_str("shards = 'a.tar'").unwrap();
        assert_eq!(least, DataConfig::new(DataSpec::Shards("a.tar".into())));
        least.validate().unwrap();
        let full: DataConfig = toml::from_str(
            "shards = ['a.tar', 'b']\nweight = 0.5\nuse = ['label', 'qa']\ntemplates = ['{}']\n\
             answer_template = 'Q {question} A'\nonly = { skin_tone = false, p30 = 'train' }\n\
             augment = { horizontal_flip = 0.5 }",
        )
        .unwrap();
        full.validate().unwrap();
        assert_eq!(full.fields, [Field::Label, Field::Qa]);
        assert_eq!(full.only["p30"], "train");
        assert_eq!(full.augment.unwrap().horizontal_flip, 0.5);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(toml::from_str::<DataConfig>("shards = 'a'\nweigth = 2").is_err());
        assert!(toml::from_str::<LoaderConfig>("batchsize = 2").is_err());
        let cases = [
            ("weight = 0", "weight"),
            ("shuffle_shards = 0", "shuffle_shards"),
            ("weight = nan", "weight"),
            ("use = []", "use"),
            ("templates = ['a photo']", "a photo"),
            ("answer_template = 'answer:'", "{question}"),
            ("augment = { grayscale_prob = 2 }", "grayscale_prob"),
        ];
        for (line, word) in cases {
            let config: DataConfig = toml::from_str(&format!("shards = 'a'\n{line}")).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
        let config: LoaderConfig = toml::from_str("batch_size = 0").unwrap();
        assert!(config.validate().is_err());
    }
}
