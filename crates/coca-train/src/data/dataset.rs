//! An opened data set of any kind.

use std::collections::btree_map::{BTreeMap, Entry};
use std::path::Path;

use serde_json::Value;

use super::annotations::Annotated;
use super::data_spec::DataSpec;
use super::error::{Error, Result};
use super::files::Files;
use super::image_folder::ImageFolder;
use super::location::Location;
use super::parquet::Parquet;
use super::reader::{RawSample, Reader};
use super::record::{Classes, Record};
use super::spec::ShardSpec;
use super::table::Table;
use super::table_spec::TableSpec;
use super::webdataset::Shards;

/// Samples by number, from whatever they are stored in.
#[derive(Debug)]
pub struct DataSet {
    reader: Box<dyn Reader>,
    files: Files,
    /// The reader's samples that are used; all without it.
    kept: Option<Vec<u32>>,
    /// The class names of each folder that files of the data set lie in.
    classes: BTreeMap<Location, Classes>,
}

impl DataSet {
    /// Opens a data set. Relative names start at `base`.
    ///
    /// # Errors
    /// Files that are missing or not in the form that they should be in; no sample at all.
    pub fn open(spec: &DataSpec, base: &Path, files: &Files) -> Result<Self> {
        let at = |name: &str| Location::new(name, base);
        let images = |table: &TableSpec| table.images.as_deref().map(at);
        let resolve = |files: &ShardSpec| files.resolve(base);
        let reader: Box<dyn Reader> = match &spec.known(base)? {
            DataSpec::Shards(shards) | DataSpec::Any(shards) => {
                Box::new(Shards::open(resolve(shards)?, files)?)
            }
            DataSpec::Csv(table) => Box::new(Table::open_csv(
                table,
                resolve(&table.files)?,
                images(table),
                files,
            )?),
            DataSpec::JsonLines(table) => Box::new(Table::open_json_lines(
                table,
                resolve(&table.files)?,
                images(table),
                files,
            )?),
            DataSpec::Parquet(table) => {
                Box::new(Parquet::open(table, resolve(&table.files)?, files)?)
            }
            DataSpec::Folder(folder) => Box::new(ImageFolder::open(&base.join(folder), files)?),
            DataSpec::Coco(coco) => Box::new(Annotated::open_coco(
                at(&coco.captions),
                at(&coco.images),
                files,
            )?),
            DataSpec::Vqav2(vqa) => Box::new(Annotated::open_vqav2(
                at(&vqa.questions),
                &at(&vqa.annotations),
                at(&vqa.images),
                files,
            )?),
        };
        let fail = |reason: &str| Error::Spec {
            spec: spec.to_string(),
            reason: reason.into(),
        };
        if reader.len() == 0 {
            return Err(fail("it holds no sample"));
        }
        if u32::try_from(reader.len()).is_err() {
            return Err(fail(
                "more than 4 billion samples; split it into several data sets",
            ));
        }
        let mut classes = BTreeMap::new();
        let mut last = None;
        for index in 0..reader.len() {
            let number = reader.file_number(index);
            if last == Some(number) {
                continue;
            }
            last = Some(number);
            let Some(folder) = reader.file(index).map(Location::folder) else {
                continue;
            };
            if let Entry::Vacant(table) = classes.entry(folder) {
                let found = Classes::in_folder(table.key(), files)?;
                table.insert(found);
            }
        }
        Ok(Self {
            reader,
            files: files.clone(),
            kept: None,
            classes,
        })
    }

    /// Keeps the samples whose metadata hold every value of `only`.
    ///
    /// # Errors
    /// Metadata that cannot be read. Those that are broken are met again, and counted, when the sample is loaded.
    pub fn keep_only(&mut self, only: &BTreeMap<String, Value>) -> Result<()> {
        if only.is_empty() {
            return Ok(());
        }
        let mut kept = Vec::new();
        for index in 0..self.len() {
            if self.matches(index, only)? {
                kept.push(self.inner(index) as u32);
            }
        }
        self.kept = Some(kept);
        Ok(())
    }

    fn matches(&self, index: usize, only: &BTreeMap<String, Value>) -> Result<bool> {
        let json = match self.reader.json(self.inner(index)) {
            Ok(Some(json)) => json,
            Ok(None) => return Ok(false),
            Err(Error::Sample { .. }) => return Ok(true),
            Err(error) => return Err(error),
        };
        let Ok(json) = serde_json::from_slice::<Value>(&json) else {
            return Ok(true);
        };
        Ok(only
            .iter()
            .all(|(name, value)| json.get(name) == Some(value)))
    }

    /// The reader's number of sample `index`.
    fn inner(&self, index: usize) -> usize {
        match &self.kept {
            Some(kept) => kept.get(index).map_or(usize::MAX, |&inner| inner as usize),
            None => index,
        }
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.kept
            .as_ref()
            .map_or_else(|| self.reader.len(), Vec::len)
    }

    /// Whether a part of it is not on this machine.
    pub fn is_remote(&self) -> bool {
        self.classes
            .keys()
            .any(|folder| matches!(folder, Location::Remote(_)))
    }

    /// What tells the sample from the others of its file.
    pub fn key(&self, index: usize) -> String {
        self.reader.key(self.inner(index))
    }

    /// `file:key`, for messages.
    pub fn name(&self, index: usize) -> String {
        let inner = self.inner(index);
        let file = self.reader.file(inner).map(Location::file_name);
        format!("{}:{}", file.unwrap_or_default(), self.reader.key(inner))
    }

    /// The number of the file that sample `index` is in; samples of one file lie together.
    pub fn file_number(&self, index: usize) -> u32 {
        self.reader.file_number(self.inner(index))
    }

    /// Brings the file that sample `index` is in onto this machine.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn fetch(&self, index: usize) -> Result<()> {
        match self.reader.file(self.inner(index)) {
            Some(location) => self.files.open(location).map(drop),
            None => Ok(()),
        }
    }

    /// Reads sample `index`.
    ///
    /// # Errors
    /// [`Error::Sample`] for a sample that cannot be read; any other error means that the data set cannot.
    pub fn read(&self, index: usize) -> Result<RawSample> {
        self.reader.read(self.inner(index))
    }

    /// What is known about sample `index`, which `raw` holds.
    ///
    /// # Errors
    /// [`Error::Sample`] for metadata in a form that is not understood.
    pub fn record(&self, index: usize, raw: &RawSample) -> Result<Record> {
        let none = Classes::default();
        let folder = self.reader.file(self.inner(index)).map(Location::folder);
        let classes = folder.and_then(|folder| self.classes.get(&folder));
        Record::parse(raw, classes.unwrap_or(&none))
            .map_err(|reason| self.sample_error(index, reason))
    }

    /// The error of a broken sample.
    pub fn sample_error(&self, index: usize, reason: impl ToString) -> Error {
        Error::Sample {
            name: self.name(index),
            reason: reason.to_string(),
        }
    }
}
