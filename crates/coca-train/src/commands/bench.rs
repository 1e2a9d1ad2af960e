//! `coca-train bench`: how long a training step takes.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Distribution, Tensor};
use coca_model::{Coca, ModelConfig};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::output;
use crate::data::Batch;
use crate::{memory, parallel, train};

/// Time training steps on random pictures and texts; prints one JSON object.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A preset, or a JSON file with a model configuration.
    #[arg(long)]
    config: String,
    /// Pictures a step, with one text each.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Steps that are timed.
    #[arg(long, default_value_t = 7)]
    steps: usize,
    /// Steps before them.
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Serialize)]
struct Report {
    parameters: usize,
    batch: usize,
    threads: usize,
    /// Of each step.
    seconds: Vec<f64>,
    /// Of the last step.
    loss: f64,
}

/// Runs the command.
pub fn run(args: &Args, device: &Device) -> Result<()> {
    if args.threads > 1 {
        parallel::one_thread_within()?;
    }
    memory::keep_freed();
    device.seed(0);
    let config = config(&args.config)?;
    let mut model = Coca::new(&config, device)?;
    let batch = batch(&config, args.batch.into(), device)?;
    let mut stepper = train::Stepper::new(&model, args.threads, device)?;
    let mut seconds = Vec::with_capacity(args.steps);
    let mut loss = f64::NAN;
    for step in 0..args.warmup + args.steps {
        let start = Instant::now();
        loss = stepper.step(&mut model, &batch)?;
        if step >= args.warmup {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    if !loss.is_finite() {
        bail!("the loss became {loss}");
    }
    output::json(&Report {
        parameters: coca_model::weights::expected(&model)
            .values()
            .map(|shape| shape.iter().product::<usize>())
            .sum(),
        batch: batch.batch_size,
        threads: args.threads,
        seconds,
        loss,
    })
}

fn config(name: &str) -> Result<ModelConfig> {
    if let Some(preset) = ModelConfig::preset(name) {
        return Ok(preset);
    }
    let path = PathBuf::from(name);
    let json = std::fs::read(&path)
        .with_context(|| format!("{name} is no preset, and reading it as a file failed"))?;
    Ok(ModelConfig::from_json(&json)?)
}

/// Random pixels, and texts of random length as captions are: SOT, tokens, EOT, padding.
fn batch(config: &ModelConfig, count: usize, device: &Device) -> Result<Batch> {
    let [height, width] = config.vision_cfg.image_size.dims();
    let pixels = Tensor::<1>::random(
        [count * 3 * height * width],
        Distribution::Normal(0.0, 1.0),
        device,
    );
    let text = &config.text_cfg;
    let (length, vocabulary) = (text.context_length, text.vocab_size as i32);
    if length < 10 {
        bail!("the context of {length} tokens is too short for this benchmark");
    }
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut ids = Vec::with_capacity(count * length);
    for _ in 0..count {
        let end = random.random_range(6..length - 2);
        ids.push(vocabulary - 2);
        ids.extend((1..end).map(|_| random.random_range(1..vocabulary - 2)));
        ids.push(vocabulary - 1);
        ids.extend(std::iter::repeat_n(0, length - end - 1));
    }
    let every: Vec<i32> = (0..count as i32).collect();
    Ok(Batch {
        step: 0,
        batch_size: count,
        pixels: pixels
            .into_data()
            .try_into_vec_as()
            .map_err(|error| anyhow::anyhow!("reading random pixels: {error:?}"))?,
        ids,
        prefix_lengths: vec![1; count],
        image_index: every.clone(),
        weights: vec![1.0; count],
        contrastive_index: every.clone(),
        contrastive_targets: every,
        keys: vec![String::new(); count],
    })
}
