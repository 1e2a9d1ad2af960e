//! A `[[data]]` table as it is written: fields of every kind side by side, of which one kind's may be given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::augment::AugmentConfig;
use super::config::{DataConfig, Field};
use super::data_spec::{CocoSpec, DataSpec, Vqav2Spec};
use super::spec::ShardSpec;
use super::table_spec::TableSpec;

/// The fields of a `[[data]]` table; see [`DataConfig`] for what they mean.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<ShardSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    csv: Option<ShardSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jsonl: Option<ShardSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parquet: Option<ShardSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coco: Option<CocoSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vqav2: Option<Vqav2Spec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caption_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    separator: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shuffle_shards: Option<usize>,
    resampled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<Field>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    templates: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_template: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    only: BTreeMap<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    augment: Option<AugmentConfig>,
}

impl TryFrom<DataTable> for DataConfig {
    type Error = String;

    fn try_from(mut table: DataTable) -> Result<Self, String> {
        let defaults = Self::new(table.spec()?);
        Ok(Self {
            shuffle_shards: table.shuffle_shards,
            resampled: table.resampled,
            weight: table.weight.unwrap_or(defaults.weight),
            fields: table.fields.unwrap_or(defaults.fields),
            templates: table.templates.unwrap_or(defaults.templates),
            answer_template: table.answer_template.unwrap_or(defaults.answer_template),
            only: table.only,
            augment: table.augment,
            spec: defaults.spec,
        })
    }
}

impl From<DataConfig> for DataTable {
    fn from(config: DataConfig) -> Self {
        Self {
            shuffle_shards: config.shuffle_shards,
            resampled: config.resampled,
            weight: Some(config.weight),
            fields: Some(config.fields),
            templates: Some(config.templates),
            answer_template: Some(config.answer_template),
            only: config.only,
            augment: config.augment,
            ..Self::of(config.spec)
        }
    }
}

impl DataTable {
    /// Takes out the kind of data and what belongs to it. The error is a sentence for the user.
    fn spec(&mut self) -> Result<DataSpec, String> {
        let options = [
            ("images", self.images.is_some(), "csv or jsonl"),
            (
                "image_key",
                self.image_key.is_some(),
                "csv, jsonl or parquet",
            ),
            (
                "caption_key",
                self.caption_key.is_some(),
                "csv, jsonl or parquet",
            ),
            ("separator", self.separator.is_some(), "csv"),
            (
                "shuffle_shards",
                self.shuffle_shards.is_some(),
                "shards, csv, jsonl or parquet",
            ),
        ];
        let (images, image_key) = (self.images.take(), self.image_key.take());
        let (caption_key, separator) = (self.caption_key.take(), self.separator.take());
        let table = |files| TableSpec {
            files,
            images: images.clone(),
            image_key: image_key.clone(),
            caption_key: caption_key.clone(),
            separator,
        };
        let kinds = [
            self.shards
                .take()
                .map(|spec| ("shards", DataSpec::Shards(spec))),
            self.csv
                .take()
                .map(|files| ("csv", DataSpec::Csv(table(files)))),
            self.jsonl
                .take()
                .map(|files| ("jsonl", DataSpec::JsonLines(table(files)))),
            self.parquet
                .take()
                .map(|files| ("parquet", DataSpec::Parquet(table(files)))),
            self.folder
                .take()
                .map(|folder| ("folder", DataSpec::Folder(folder))),
            self.coco.take().map(|spec| ("coco", DataSpec::Coco(spec))),
            self.vqav2
                .take()
                .map(|spec| ("vqav2", DataSpec::Vqav2(spec))),
        ];
        let mut kinds: Vec<(&str, DataSpec)> = kinds.into_iter().flatten().collect();
        let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
        let Some((name, spec)) = kinds.pop().filter(|_| kinds.is_empty()) else {
            return Err(match names.as_slice() {
                [] => "a data set needs one of `shards`, `csv`, `jsonl`, `parquet`, `folder`, `coco`, `vqav2`"
                    .into(),
                _ => format!(
                    "a data set has one kind, this one has `{}`; write a [[data]] table for each",
                    names.join("` and `")
                ),
            });
        };
        for (option, is_given, kinds) in options {
            if is_given && !kinds.split([',', ' ']).any(|kind| kind == name) {
                return Err(format!("`{option}` goes with {kinds}, not with `{name}`"));
            }
        }
        Ok(spec)
    }

    /// A table with nothing but the kind of data.
    fn of(spec: DataSpec) -> Self {
        let mut table = Self::default();
        let mut options = |spec: TableSpec| {
            table.images = spec.images;
            table.image_key = spec.image_key;
            table.caption_key = spec.caption_key;
            table.separator = spec.separator;
            Some(spec.files)
        };
        match spec {
            DataSpec::Shards(spec) | DataSpec::Any(spec) => table.shards = Some(spec),
            DataSpec::Csv(spec) => table.csv = options(spec),
            DataSpec::JsonLines(spec) => table.jsonl = options(spec),
            DataSpec::Parquet(spec) => table.parquet = options(spec),
            DataSpec::Folder(folder) => table.folder = Some(folder),
            DataSpec::Coco(spec) => table.coco = Some(spec),
            DataSpec::Vqav2(spec) => table.vqav2 = Some(spec),
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<DataSpec, String> {
        let config: DataConfig = toml::from_str(toml).map_err(|error| error.to_string())?;
        Ok(config.spec)
    }

    #[test]
    fn every_kind_is_read_and_written() {
        let csv = TableSpec {
            images: Some("photos".into()),
            separator: Some('\t'),
            ..TableSpec::new("a.csv")
        };
        let coco = CocoSpec {
            captions: "c.json".into(),
            images: "i".into(),
        };
        let cases = [
            ("shards = 'a.tar'", DataSpec::Shards("a.tar".into())),
            (
                "csv = 'a.csv'\nimages = 'photos'\nseparator = \"\\t\"",
                DataSpec::Csv(csv),
            ),
            (
                "jsonl = 'a.jsonl'",
                DataSpec::JsonLines(TableSpec::new("a.jsonl")),
            ),
            (
                "parquet = 'a-{0..3}.parquet'",
                DataSpec::Parquet(TableSpec::new("a-{0..3}.parquet")),
            ),
            ("folder = 'classes'", DataSpec::Folder("classes".into())),
            (
                "coco = { captions = 'c.json', images = 'i' }",
                DataSpec::Coco(coco),
            ),
            (
                "vqav2 = { questions = 'q', annotations = 'a', images = 'i' }",
                DataSpec::Vqav2(Vqav2Spec {
                    questions: "q".into(),
                    annotations: "a".into(),
                    images: "i".into(),
                }),
            ),
        ];
        for (toml, spec) in cases {
            assert_eq!(read(toml).unwrap(), spec, "{toml}");
            let written = serde_json::to_string(&DataConfig::new(spec.clone())).unwrap();
            let read: DataConfig = serde_json::from_str(&written).unwrap();
            assert_eq!(read, DataConfig::new(spec), "{written}");
        }
    }

    #[test]
    fn one_kind_with_its_own_options() {
        let cases = [
            ("", "needs one of"),
            ("shards = 'a'\ncsv = 'b'", "`shards` and `csv`"),
            (
                "shards = 'a'\nimages = 'b'",
                "`images` goes with csv or jsonl",
            ),
            ("jsonl = 'a'\nseparator = ','", "`separator` goes with csv"),
            ("parquet = 'a'\nimages = 'b'", "not with `parquet`"),
            ("coco = { captions = 'a' }", "images"),
            ("cvs = 'a'", "cvs"),
        ];
        for (toml, words) in cases {
            let error = read(toml).unwrap_err();
            assert!(error.contains(words), "{toml}: {error}");
        }
    }
}
