//! `coca-train data bench`: how fast samples are read, decoded and augmented.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Result;
use coca_model::preprocess::{PreprocessConfig, Preprocessor};
use coca_model::tokenizer::Tokenizer;
use serde::Serialize;

use super::super::output;
use super::sources::Sources;
use crate::data::{Loader, LoaderSetup};
use crate::parallel::{cores, side_by_side};

/// CLIP's, with its end tokens.
const CONTEXT: usize = 77;

/// Time the loader: reading, decoding, augmenting and tokenising, without any model.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A data set, or a configuration with its mixture, loader and augmentation.
    spec: String,
    /// Where relative names start; the configuration's data_dir, or here, if not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Side of the model's image in pixels.
    #[arg(long, value_name = "N", default_value_t = 224, value_parser = clap::value_parser!(u16).range(1..=4096))]
    image_size: u16,
    /// How many samples to load.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    /// Threads, one for each core if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    data: &'a str,
    samples: u64,
    image_size: u16,
    workers: usize,
    seconds: f64,
    samples_per_second: f64,
    samples_per_second_per_core: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let mut sources = Sources::read(&args.spec, args.data_dir.as_deref())?;
    let workers = args.workers.map_or_else(cores, usize::from);
    sources.loader.batch_size = sources.loader.batch_size.min(64);
    let size = usize::from(args.image_size);
    let loader = Loader::open(LoaderSetup {
        data: &sources.data,
        augment: &sources.augment,
        loader: &sources.loader,
        base: &sources.data_dir,
        preprocessor: Preprocessor::new(PreprocessConfig::for_size(size, size))?,
        tokenizer: Arc::new(Tokenizer::clip()?),
        context_length: CONTEXT,
        log: Arc::new(|line| eprintln!("{line}")),
    })?;
    let batch = sources.loader.batch_size as u64;
    let steps = args.samples.div_ceil(batch);
    // The first batch opens files and fills the system's caches.
    loader.batch(steps)?;
    let next = AtomicU64::new(0);
    let start = Instant::now();
    side_by_side((0..workers).collect(), |_| {
        loop {
            let step = next.fetch_add(1, Ordering::Relaxed);
            if step >= steps {
                return Ok(());
            }
            loader.batch(step)?;
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let samples = steps * batch;
    let rate = samples as f64 / seconds;
    let line = Line {
        data: &args.spec,
        samples,
        image_size: args.image_size,
        workers,
        seconds,
        samples_per_second: rate,
        samples_per_second_per_core: rate / workers.min(cores()) as f64,
    };
    if args.json {
        return output::json(&line);
    }
    output::line(format!(
        "{samples} samples at {size} pixels in {seconds:.2} s on {workers} threads: {rate:.0} a second, {:.0} a second \
         per core",
        line.samples_per_second_per_core
    ))
}
