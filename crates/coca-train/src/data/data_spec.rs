//! Which kind of data set it is, and where.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::location::is_address;
use super::reader::extension;
use super::spec::{ShardSpec, expand_braces};
use super::table_spec::TableSpec;

/// A data set of one of the kinds that are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSpec {
    /// Webdataset shards.
    Shards(ShardSpec),
    /// CSV or TSV files with a header.
    Csv(TableSpec),
    /// An object on each line.
    JsonLines(TableSpec),
    /// Parquet files with encoded images.
    Parquet(TableSpec),
    /// A folder with a subfolder for each class.
    Folder(String),
    /// COCO captions.
    Coco(CocoSpec),
    /// VQA v2.
    Vqav2(Vqav2Spec),
    /// A specification on the command line: the kind follows from the names.
    Any(ShardSpec),
}

/// `coco = { captions = "…", images = "…" }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CocoSpec {
    /// `captions_train2017.json` or the like.
    pub captions: String,
    /// The folder of the images.
    pub images: String,
}

/// `vqav2 = { questions = "…", annotations = "…", images = "…" }`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vqav2Spec {
    /// `v2_OpenEnded_mscoco_train2014_questions.json` or the like.
    pub questions: String,
    /// `v2_mscoco_train2014_annotations.json` or the like.
    pub annotations: String,
    /// The folder of the images.
    pub images: String,
}

impl DataSpec {
    /// The kind that a specification on the command line is of: by the ending of its first name; a folder by whether
    /// it holds shards.
    pub fn known(&self, base: &Path) -> Result<Self> {
        let Self::Any(spec) = self else {
            return Ok(self.clone());
        };
        let first = spec.first_pattern();
        let path = base.join(first);
        if !is_address(first) && path.is_dir() {
            let is_shard = |name: &str| extension(name) == "tar";
            let mut entries = path
                .read_dir()
                .map_err(|source| Error::Io {
                    path: path.clone(),
                    source,
                })?
                .flatten();
            let has_shards = entries.any(|entry| is_shard(&entry.file_name().to_string_lossy()));
            return Ok(match spec {
                ShardSpec::One(name) if !has_shards && !name.contains("::") => {
                    Self::Folder(name.clone())
                }
                _ => Self::Shards(spec.clone()),
            });
        }
        let table = || TableSpec::new(spec.clone());
        let names = expand_braces(first).unwrap_or_default();
        Ok(
            match extension(names.first().map_or(first, String::as_str)).as_str() {
                "csv" | "tsv" => Self::Csv(table()),
                "jsonl" | "ndjson" => Self::JsonLines(table()),
                "parquet" => Self::Parquet(table()),
                "json" => {
                    return Err(Error::Spec {
                    spec: spec.to_string(),
                    reason: "a .json file alone does not say where its images are; write a configuration with \
                             `coco = {…}` or `vqav2 = {…}`"
                        .into(),
                });
                }
                _ => Self::Shards(spec.clone()),
            },
        )
    }
}

impl From<ShardSpec> for DataSpec {
    fn from(spec: ShardSpec) -> Self {
        Self::Any(spec)
    }
}

impl From<&str> for DataSpec {
    fn from(spec: &str) -> Self {
        Self::Any(spec.into())
    }
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shards(spec) | Self::Any(spec) => spec.fmt(f),
            Self::Csv(table) | Self::JsonLines(table) | Self::Parquet(table) => table.files.fmt(f),
            Self::Folder(folder) => folder.fmt(f),
            Self::Coco(spec) => spec.captions.fmt(f),
            Self::Vqav2(spec) => spec.questions.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_kind() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["shards/a.tar", "classes/cat/a.jpg"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let known = |name: &str| DataSpec::from(name).known(folder.path());
        for name in ["x.tar", "shards", "s3://b/{0..9}.tar", "{a,b}.tar", "x"] {
            assert_eq!(known(name).unwrap(), DataSpec::Shards(name.into()));
        }
        assert_eq!(
            known("classes").unwrap(),
            DataSpec::Folder("classes".into())
        );
        assert!(matches!(known("a.TSV").unwrap(), DataSpec::Csv(_)));
        assert!(matches!(known("a.{csv,tsv}").unwrap(), DataSpec::Csv(_)));
        assert!(matches!(known("a.jsonl").unwrap(), DataSpec::JsonLines(_)));
        assert!(matches!(
            known("https://x.org/{0..3}.parquet").unwrap(),
            DataSpec::Parquet(_)
        ));
        assert!(
            known("captions.json")
                .unwrap_err()
                .to_string()
                .contains("coco")
        );
    }
}
