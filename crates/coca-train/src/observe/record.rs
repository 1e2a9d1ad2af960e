//! `run.json`: what a report needs beside the metrics.

use std::path::Path;

use anyhow::{Context, Result};
use coca_model::preprocess::PreprocessConfig;
use coca_model::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::Machine;
use super::picture::Picture;
use super::{Ending, Started, line};
use crate::data::{Batch, SourceProgress};
use crate::disk::replace_file;

/// The file's name in the folder of a run.
pub const NAME: &str = "run.json";
/// Larger files are none of ours.
const MAX_BYTES: u64 = 64 << 20;
/// Images of the first batch that are kept.
const EXAMPLES: usize = 12;
/// Texts of an example that are kept.
const EXAMPLE_TEXTS: usize = 5;

/// What is known about a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RunRecord {
    /// The model's name.
    pub name: String,
    /// All fields of the configuration.
    pub config: Value,
    /// The model.
    pub model: ModelRecord,
    /// One for the start and for every time that it was resumed.
    pub sessions: Vec<Session>,
    /// The data sets.
    pub data: Vec<DataRecord>,
    /// The texts of the first batches.
    pub texts: TextLengths,
    /// The first batch, augmented as the model saw it.
    pub first_batch: Vec<Example>,
}

/// The model in a few numbers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ModelRecord {
    /// How many numbers are trained.
    pub parameters: u64,
    /// Height and width of an image, in pixels.
    pub image_size: [usize; 2],
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Tokens of a text.
    pub context_length: usize,
}

/// A run without interruption.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Session {
    /// Unix time in seconds.
    pub started: f64,
    /// Unix time in seconds, once it has ended.
    pub ended: Option<f64>,
    /// Steps done before.
    pub first_step: u64,
    /// Steps done at its end.
    pub last_step: Option<u64>,
    /// `finished`, `interrupted`, or `failed: ` and why.
    pub ending: Option<String>,
    /// The version of this program.
    pub version: String,
    /// What computed.
    pub device: String,
    /// Where.
    pub machine: Machine,
}

/// A data set of the mixture.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct DataRecord {
    /// The shards.
    pub shards: String,
    /// How many samples it has.
    pub samples: u64,
    /// Its share of all images, 0 to 1.
    pub share: f64,
    /// How often it has been gone through.
    pub epochs: f64,
    /// How many samples turned out to be broken.
    pub broken: u64,
}

/// How long texts are.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct TextLengths {
    /// Batches that were counted.
    pub batches: u64,
    /// Images in them.
    pub images: u64,
    /// How many of those are in the contrastive loss.
    pub pairs: u64,
    /// At `n`: texts of `n` tokens, start, prefix and end included.
    pub tokens: Vec<u64>,
}

/// An image of the first batch.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Example {
    /// `shard.tar:key`.
    pub key: String,
    /// The picture's file.
    pub picture: String,
    /// Its texts.
    pub texts: Vec<ExampleText>,
}

/// A text as the model reads it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ExampleText {
    /// What is given.
    pub prefix: String,
    /// What is to be predicted.
    pub text: String,
}

impl RunRecord {
    /// Reads the record of the run in `output`; none if it has not been written.
    ///
    /// # Errors
    /// It cannot be read, or is something else.
    pub fn read(output: &Path) -> Result<Option<Self>> {
        let path = output.join(NAME);
        let reading = || format!("reading {}", path.display());
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(reading),
            Ok(found) => anyhow::ensure!(
                found.len() <= MAX_BYTES,
                "{} is larger than any that a run writes",
                path.display()
            ),
        }
        let bytes = std::fs::read(&path).with_context(reading)?;
        serde_json::from_slice(&bytes).map(Some).with_context(|| {
            format!(
                "{} is damaged; without it the report is shorter",
                path.display()
            )
        })
    }

    /// Writes it.
    pub fn write(&self, output: &Path) -> Result<()> {
        replace_file(
            &output.join(NAME),
            serde_json::to_string_pretty(self)?.as_bytes(),
        )
    }

    /// Notes that training begins, or goes on.
    pub fn start(&mut self, started: &Started<'_>) -> Result<()> {
        self.name.clone_from(&started.config.name);
        self.config = serde_json::to_value(started.config)?;
        let shape = &started.frame.model_cfg;
        let (height, width) = (
            started.frame.preprocess_cfg.size.height,
            started.frame.preprocess_cfg.size.width,
        );
        self.model = ModelRecord {
            parameters: started.parameters as u64,
            image_size: [height, width],
            vocabulary: shape.text_cfg.vocab_size,
            context_length: shape.text_cfg.context_length,
        };
        let all: f64 = started.config.data.iter().map(|data| data.weight).sum();
        self.data = started
            .config
            .data
            .iter()
            .map(|data| DataRecord {
                share: data.weight / all,
                ..DataRecord::default()
            })
            .collect();
        self.progress(&started.data);
        self.sessions.push(Session {
            started: line::now(),
            first_step: started.step,
            version: env!("CARGO_PKG_VERSION").into(),
            device: started.device.clone(),
            machine: Machine::this(),
            ..Session::default()
        });
        Ok(())
    }

    /// Notes how far the data have been gone through.
    pub fn progress(&mut self, data: &[SourceProgress]) {
        for (record, progress) in self.data.iter_mut().zip(data) {
            record.shards.clone_from(&progress.shards);
            record.samples = progress.samples as u64;
            record.epochs = progress.epochs;
            record.broken = progress.broken as u64;
        }
    }

    /// Notes the end of the session.
    pub fn end(&mut self, step: u64, ending: &Ending) {
        if let Some(session) = self.sessions.last_mut() {
            session.ended = Some(line::now());
            session.last_step = Some(step);
            session.ending = Some(match ending {
                Ending::Finished => "finished".into(),
                Ending::Interrupted => "interrupted".into(),
                Ending::Failed(why) => format!("failed: {why}"),
            });
        }
    }

    /// Keeps some images of the first batch. Returns their pictures.
    pub fn show(
        &mut self,
        batch: &Batch,
        tokenizer: &Tokenizer,
        preprocess: &PreprocessConfig,
    ) -> Result<Vec<Picture>> {
        let size = 3 * preprocess.size.height * preprocess.size.width;
        let mut pictures = Vec::new();
        for (image, (pixels, key)) in batch
            .pixels
            .chunks(size.max(1))
            .zip(&batch.keys)
            .take(EXAMPLES)
            .enumerate()
        {
            let picture = Picture::of_normalised(pixels, preprocess)?;
            let texts = rows(batch)
                .filter(|row| row.image == image && row.counts)
                .take(EXAMPLE_TEXTS)
                .map(|row| ExampleText::of(row, tokenizer))
                .collect();
            self.first_batch.push(Example {
                key: key.clone(),
                picture: picture.name.clone(),
                texts,
            });
            pictures.push(picture);
        }
        Ok(pictures)
    }
}

impl TextLengths {
    /// Counts the texts of a batch.
    pub fn add(&mut self, batch: &Batch, pad: u32) {
        self.batches += 1;
        self.images += batch.batch_size as u64;
        self.pairs += batch
            .contrastive_index
            .iter()
            .filter(|&&row| row >= 0)
            .count() as u64;
        for row in rows(batch).filter(|row| row.counts) {
            let padding = row
                .ids
                .iter()
                .rev()
                .take_while(|&&id| i64::from(id) == i64::from(pad));
            // Where the padding is the end token, the end itself is one of them.
            let length = (row.ids.len() - padding.count()).max(1);
            if self.tokens.len() <= length {
                self.tokens.resize(length + 1, 0);
            }
            if let Some(count) = self.tokens.get_mut(length) {
                *count += 1;
            }
        }
    }
}

/// A row of text in a batch.
struct Row<'a> {
    ids: &'a [i32],
    /// Leading tokens that are given.
    given: usize,
    image: usize,
    /// Whether it is more than a filler.
    counts: bool,
}

fn rows(batch: &Batch) -> impl Iterator<Item = Row<'_>> {
    let length = (batch.ids.len() / batch.prefix_lengths.len().max(1)).max(1);
    batch
        .ids
        .chunks(length)
        .zip(&batch.prefix_lengths)
        .zip(&batch.image_index)
        .zip(&batch.weights)
        .map(|(((ids, &given), &image), &weight)| Row {
            ids,
            given,
            image: usize::try_from(image).unwrap_or(usize::MAX),
            counts: weight > 0.0,
        })
}

impl ExampleText {
    fn of(row: Row<'_>, tokenizer: &Tokenizer) -> Self {
        let special = [tokenizer.sot(), tokenizer.eot(), tokenizer.pad()];
        let text = |ids: &[i32]| {
            let ids: Vec<u32> = ids
                .iter()
                .filter_map(|&id| u32::try_from(id).ok())
                .filter(|id| !special.contains(id))
                .collect();
            tokenizer.decode_text(&ids).trim().to_owned()
        };
        let (prefix, rest) = row.ids.split_at(row.given.min(row.ids.len()));
        Self {
            prefix: text(prefix),
            text: text(rest),
        }
    }
}

/// A configuration as TOML, which has no null.
pub fn toml_of(config: &Value) -> Result<String> {
    fn without_null(value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.clone(), without_null(value)))
                .collect(),
            Value::Array(items) => items.iter().map(without_null).collect(),
            other => other.clone(),
        }
    }
    Ok(toml::to_string_pretty(&without_null(config))?)
}
