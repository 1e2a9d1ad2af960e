//! `report.html`: the run on one page that needs nothing else, no network, no script.

mod axis;
mod chart;
mod curves;
mod data;
mod examples;
mod history;
mod page;
mod pictures;
mod smooth;
mod summary;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use coca_model::preprocess::PreprocessConfig;
use coca_model::tokenizer::Tokenizer;

use self::history::History;
use self::pictures::Pictures;
use super::record::RunRecord;
use super::{Event, Observer, Picture, Started};
use crate::data::Batch;
use crate::disk::replace_file;

/// The file's name in the folder of a run.
const NAME: &str = "report.html";
/// Batches whose texts are counted.
const COUNTED_BATCHES: u64 = 100;

/// Writes `report.html`, and what it can be rebuilt from: `run.json` and `pictures/`, beside the metrics.
pub struct Report {
    output: PathBuf,
    record: RunRecord,
    /// What batches are read with.
    reader: Option<(Tokenizer, PreprocessConfig)>,
}

impl Report {
    /// Will write in `output`.
    pub fn new(output: &Path) -> Self {
        Self {
            output: output.into(),
            record: RunRecord::default(),
            reader: None,
        }
    }

    fn start(&mut self, started: &Started<'_>) -> Result<()> {
        self.reader = Some((
            started.frame.tokenizer.clone(),
            started.frame.preprocess_cfg.clone(),
        ));
        if started.step == 0 {
            // A run that starts anew in the same folder is another run.
            Pictures::in_run(&self.output).clear()?;
        } else if let Some(record) = RunRecord::read(&self.output)? {
            self.record = record;
        }
        self.record.start(started)?;
        self.write()
    }

    fn look_at(&mut self, batch: &Batch) -> Result<()> {
        let Some((tokenizer, preprocess)) = &self.reader else {
            return Ok(());
        };
        if self.record.texts.batches < COUNTED_BATCHES {
            self.record.texts.add(batch, tokenizer.pad());
        }
        if self.record.first_batch.is_empty() {
            let pictures = self.record.show(batch, tokenizer, preprocess)?;
            self.keep(&pictures)?;
        }
        Ok(())
    }

    fn keep(&self, pictures: &[Picture]) -> Result<()> {
        let kept = Pictures::in_run(&self.output);
        pictures.iter().try_for_each(|picture| kept.add(picture))
    }

    fn write(&self) -> Result<()> {
        self.record.write(&self.output)?;
        write(&self.output).map(drop)
    }
}

impl Observer for Report {
    fn name(&self) -> &'static str {
        NAME
    }

    fn observe(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Started(started) => self.start(started),
            Event::Stepped { batch, .. } => self.look_at(batch),
            Event::Validated(found) => {
                found.iter().try_for_each(|set| self.keep(&set.pictures))?;
                self.write()
            }
            Event::Saved { data, .. } => {
                self.record.progress(data);
                self.write()
            }
            Event::Ended { step, ending, data } => {
                self.record.progress(data);
                self.record.end(*step, ending);
                self.write()
            }
            Event::Logged(_) | Event::Validating(_) => Ok(()),
        }
    }
}

/// Writes the report of the run in `output` from what the run has stored, and returns its path.
///
/// # Errors
/// There are no metrics, or what is there is damaged or cannot be written.
pub fn write(output: &Path) -> Result<PathBuf> {
    let history = History::read(output)?;
    let record = RunRecord::read(output)?.unwrap_or_default();
    let page = page::page(&history, &record, &Pictures::in_run(output));
    let path = output.join(NAME);
    replace_file(&path, page.into_string().as_bytes()).context("the report")?;
    Ok(path)
}
