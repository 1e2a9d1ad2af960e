//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use coca_model::preprocess::{PreprocessConfig, Preprocessor};
use coca_model::weights::{CocaJson, LoadOptions, ModelFolder, StateDict, load, save};
use coca_model::{Coca, LossWeights, ModelConfig};
use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;
use serde_json::json;

use super::checkpoint::{self, TrainState};
use super::config::LossConfig;
use super::gradients::{BatchLosses, gradients};
use super::metrics::Metrics;
use super::tokenizer::tokenizer;
use super::{Optimizer, TrainConfig, learning_rate, validate};
use crate::data::{Batch, Loader, LoaderSetup};
use crate::folder;

/// How training ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All steps are done; the model is in this folder.
    Finished(PathBuf),
    /// It was interrupted after this step and can be resumed.
    Interrupted(u64),
}

/// Trains as `config` says, from the start or from the last checkpoint, until it is done or `stop` is set.
pub fn train(
    config: &TrainConfig,
    base: &Path,
    device: &Device,
    resume: bool,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let output = base.join(&config.output);
    std::fs::create_dir_all(&output).with_context(|| format!("creating {}", output.display()))?;
    if !resume && !checkpoint::list(&output).is_empty() {
        bail!(
            "{} holds checkpoints of an earlier run; continue it with --resume, or choose another `output`",
            output.display()
        );
    }
    validate::check(config, base)?;
    let mut run = Run::start(config, base, &output, device, resume)?;
    let metrics = Metrics::open(&output, run.step)?;
    let bar = progress_bar(config, run.step);
    let loader = run.loader(config, base, &bar)?;
    let mut window = Window::new();
    // None, if only the finished model is missing.
    let left = usize::try_from(config.steps.saturating_sub(run.step))?;
    for batch in loader.start_at(run.step)?.take(left) {
        let batch = batch?;
        let losses = run.step(config, &batch)?;
        window.add(batch.batch_size, losses);
        bar.inc(batch.batch_size as u64);
        if run.step.is_multiple_of(config.log.every) || run.step == config.steps {
            let line = window.line(
                run.step,
                learning_rate(&config.optimizer, config.steps, run.step - 1),
                config.loss,
            )?;
            bar.set_message(describe(&line));
            metrics.write(&line)?;
        }
        if validate::due(config, run.step) {
            let started = Instant::now();
            for line in validate::run(config, base, &run.frame, &run.model, device, run.step)? {
                metrics.write(&line)?;
            }
            window.since += started.elapsed();
        }
        let last = run.step >= config.steps;
        let interrupted = stop.load(Ordering::Relaxed);
        if last || interrupted || run.step.is_multiple_of(config.log.checkpoint_every) {
            let state = TrainState::new(run.step, config)?;
            checkpoint::save(
                &output,
                &run.folder()?,
                &run.optimizer,
                &state,
                config.log.keep_checkpoints,
            )?;
        }
        if last {
            break;
        }
        if interrupted {
            bar.abandon();
            return Ok(Outcome::Interrupted(run.step));
        }
    }
    bar.finish();
    for data in loader.progress(run.step) {
        eprintln!(
            "{}: {} samples, gone through {:.1} times, {} broken",
            data.shards, data.samples, data.epochs, data.broken
        );
    }
    let model = output.join("model");
    let mut finished = run.folder()?;
    finished.coca.self_test = Some(folder::self_test(&finished, device)?);
    folder::write(&finished, &model, None, u64::MAX)?;
    Ok(Outcome::Finished(model))
}

/// A model in training.
struct Run {
    model: Coca,
    optimizer: Optimizer,
    step: u64,
    /// Everything of the model folder but the weights, which are the model's.
    frame: ModelFolder,
    device: Device,
}

impl Run {
    fn start(
        config: &TrainConfig,
        base: &Path,
        output: &Path,
        device: &Device,
        resume: bool,
    ) -> Result<Self> {
        device.seed(config.seed);
        if resume {
            let (frame, optimizer, state) = checkpoint::load(output, config, device)?;
            let model = frame.model(device)?;
            return Ok(Self {
                model,
                optimizer,
                step: state.step,
                frame,
                device: device.clone(),
            });
        }
        let mut shape = config.model_config(base)?;
        let tokenizer = tokenizer(config, base, shape.text_cfg.vocab_size)?;
        if config.tokenizer == super::TokenizerSource::Train {
            fit_vocabulary(&mut shape, tokenizer.vocab_size());
        }
        if config.tokenizer != super::TokenizerSource::Clip {
            // What open_clip needs to read the folder's tokenizer.json, and to clean texts as we do.
            shape.text_cfg.hf_tokenizer_name = Some(config.name.clone());
            shape.text_cfg.tokenizer_kwargs = Some(json!({ "clean": "lower" }));
            shape.text_cfg.pad_id = tokenizer.pad();
        }
        let mut model = Coca::new(&shape, device)?;
        if let Some(init) = &config.init {
            let weights = folder::read(&base.join(init))?.weights;
            let [rows, columns] = shape.vision_cfg.grid();
            model = load(
                model,
                &weights,
                &LoadOptions {
                    grid: Some((rows, columns)),
                },
            )
            .with_context(|| format!("init = \"{}\"", init.display()))?;
        }
        let [height, width] = shape.vision_cfg.image_size.dims();
        let frame = ModelFolder {
            preprocess_cfg: PreprocessConfig::for_size(height, width),
            model_cfg: shape,
            tokenizer,
            weights: StateDict::new(),
            coca: CocaJson {
                name: Some(config.name.clone()),
                prompts: config.prompts.clone(),
                provenance: serde_json::to_value(&config.provenance)?,
                ..CocaJson::default()
            },
        };
        Ok(Self {
            model,
            optimizer: Optimizer::new(config.optimizer),
            step: 0,
            frame,
            device: device.clone(),
        })
    }

    fn loader(&self, config: &TrainConfig, base: &Path, bar: &ProgressBar) -> Result<Loader> {
        let bar = bar.clone();
        Ok(Loader::open(LoaderSetup {
            data: &config.data,
            augment: &config.augment,
            loader: &config.loader,
            base: &config.data_dir(base),
            preprocessor: Preprocessor::new(self.frame.preprocess_cfg.clone())?,
            tokenizer: Arc::new(self.frame.tokenizer.clone()),
            context_length: self.frame.model_cfg.text_cfg.context_length,
            log: Arc::new(move |line| bar.suspend(|| eprintln!("{line}"))),
        })?)
    }

    /// One optimiser step.
    fn step(&mut self, config: &TrainConfig, batch: &Batch) -> Result<BatchLosses> {
        let (losses, gradients) = gradients(
            &self.model,
            batch,
            LossWeights::from(config.loss),
            config.threads,
            &self.device,
        )?;
        let rate = learning_rate(&config.optimizer, config.steps, self.step);
        self.model = self
            .optimizer
            .step(self.model.clone(), gradients, rate, config.threads)?;
        self.step += 1;
        Ok(losses)
    }

    /// The model folder as of now.
    fn folder(&self) -> Result<ModelFolder> {
        Ok(ModelFolder {
            weights: block_on(save(&self.model))?,
            ..self.frame.clone()
        })
    }
}

/// A vocabulary smaller than the configuration's leaves no unused rows.
fn fit_vocabulary(shape: &mut ModelConfig, size: usize) {
    shape.text_cfg.vocab_size = size;
    shape.multimodal_cfg.vocab_size = Some(size);
}

/// What happened since the last logged step.
struct Window {
    since: Instant,
    samples: usize,
    losses: Vec<BatchLosses>,
}

impl Window {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            samples: 0,
            losses: Vec::new(),
        }
    }

    fn add(&mut self, samples: usize, losses: BatchLosses) {
        self.samples += samples;
        self.losses.push(losses);
    }

    /// The means as a line of metrics, and a fresh window.
    ///
    /// # Errors
    /// A loss is not finite: the weights are beyond saving, the last checkpoint is not.
    fn line(&mut self, step: u64, rate: f64, weights: LossConfig) -> Result<serde_json::Value> {
        let mut line = json!({ "step": step, "learning_rate": rate });
        type Part = fn(&BatchLosses) -> Option<Tensor<1>>;
        let parts: [(&str, f64, Part); 3] = [
            ("contrastive", weights.contrastive, |losses| {
                losses.contrastive.clone()
            }),
            ("caption", weights.caption, |losses| losses.caption.clone()),
            ("language_model", weights.language_model, |losses| {
                losses.language_model.clone()
            }),
        ];
        let mut total = 0.0;
        for (name, weight, part) in parts {
            let values: Vec<f64> = self
                .losses
                .iter()
                .filter_map(part)
                .map(|loss| f64::from(loss.into_scalar::<f32>()))
                .collect();
            if values.is_empty() {
                continue;
            }
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            if !mean.is_finite() {
                bail!(
                    "the {name} loss is {mean} at step {step}; lower the learning rate and --resume from the last checkpoint"
                );
            }
            line[name] = json!(mean);
            total += weight * mean;
        }
        line["loss"] = json!(total);
        line["samples_per_second"] =
            json!(self.samples as f64 / self.since.elapsed().as_secs_f64());
        *self = Self::new();
        Ok(line)
    }
}

fn progress_bar(config: &TrainConfig, step: u64) -> ProgressBar {
    let batch = config.loader.batch_size as u64;
    let style =
        "{bar:30} {percent:>3}% {human_pos}/{human_len} samples, {per_sec}, {eta} left  {msg}";
    let bar = ProgressBar::new(config.steps * batch).with_position(step * batch);
    bar.reset_eta();
    bar.with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

/// The losses of a metrics line, short.
fn describe(line: &serde_json::Value) -> String {
    ["loss", "contrastive", "caption", "language_model"]
        .into_iter()
        .filter_map(|name| Some(format!("{name} {:.3}", line[name].as_f64()?)))
        .collect::<Vec<_>>()
        .join(" ")
}
