//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use coca_model::preprocess::{PreprocessConfig, Preprocessor};
use coca_model::weights::{CocaJson, LoadOptions, ModelFolder, StateDict, load, save};
use coca_model::{Coca, LossWeights, ModelConfig};
use pollster::block_on;
use serde_json::{Value, json};

use super::checkpoint::{self, TrainState};
use super::config::LossConfig;
use super::gradients::{BatchLosses, gradients};
use super::tokenizer::tokenizer;
use super::{Optimizer, TrainConfig, learning_rate, validate};
use crate::data::{Batch, Loader, LoaderSetup, Log};
use crate::folder;
use crate::observe::{self, Ending, Event, Observers, Started};

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
    stop: &Arc<AtomicBool>,
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
    let mut observers = Observers::open(config, &output, run.step, stop)?;
    let loader = run.loader(config, base, observers.messages())?;
    observers.tell(&Event::Started(&Started {
        config,
        frame: &run.frame,
        parameters: run.model.num_params(),
        device: name(device),
        data: loader.progress(run.step),
        step: run.step,
    }));
    let outcome = run.finish(config, base, &loader, &mut observers, stop);
    observers.tell(&Event::Ended {
        step: run.step,
        ending: &match &outcome {
            Ok(Outcome::Finished(_)) => Ending::Finished,
            Ok(Outcome::Interrupted(_)) => Ending::Interrupted,
            Err(error) => Ending::Failed(format!("{error:#}")),
        },
        data: &loader.progress(run.step),
    });
    outcome
}

/// A model in training.
struct Run {
    model: Coca,
    optimizer: Optimizer,
    step: u64,
    /// Where everything goes.
    output: PathBuf,
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
                output: output.into(),
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
            output: output.into(),
            frame,
            device: device.clone(),
        })
    }

    fn loader(&self, config: &TrainConfig, base: &Path, log: Log) -> Result<Loader> {
        Ok(Loader::open(LoaderSetup {
            data: &config.data,
            augment: &config.augment,
            loader: &config.loader,
            base: &config.data_dir(base),
            preprocessor: Preprocessor::new(self.frame.preprocess_cfg.clone())?,
            tokenizer: Arc::new(self.frame.tokenizer.clone()),
            context_length: self.frame.model_cfg.text_cfg.context_length,
            log,
        })?)
    }

    /// The steps that are left, with everything that happens between them, and the finished model.
    fn finish(
        &mut self,
        config: &TrainConfig,
        base: &Path,
        loader: &Loader,
        observers: &mut Observers,
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        let mut window = Window::new(config, self.step, observers.seconds());
        // None, if only the finished model is missing.
        let left = usize::try_from(config.steps.saturating_sub(self.step))?;
        for batch in loader.start_at(self.step)?.take(left) {
            let batch = batch?;
            let done = self.step(config, &batch)?;
            window.add(batch.batch_size, done);
            observers.tell(&Event::Stepped {
                step: self.step,
                batch: &batch,
            });
            if self.step.is_multiple_of(config.log.every) || self.step == config.steps {
                let rate = learning_rate(&config.optimizer, config.steps, self.step - 1);
                let line = window.line(self.step, rate, config.loss)?;
                observers.tell(&Event::Logged(&line));
            }
            if validate::due(config, self.step) {
                self.validate(config, base, observers, &mut window)?;
            }
            let last = self.step >= config.steps;
            let interrupted = stop.load(Ordering::Relaxed);
            if last || interrupted || self.step.is_multiple_of(config.log.checkpoint_every) {
                self.save(config)?;
                observers.tell(&Event::Saved {
                    step: self.step,
                    data: &loader.progress(self.step),
                });
            }
            if interrupted && !last {
                return Ok(Outcome::Interrupted(self.step));
            }
        }
        let mut finished = self.folder()?;
        finished.coca.self_test = Some(folder::self_test(&finished, &self.device)?);
        let model = self.output.join("model");
        folder::write(&finished, &model, None, u64::MAX)?;
        Ok(Outcome::Finished(model))
    }

    fn validate(
        &self,
        config: &TrainConfig,
        base: &Path,
        observers: &mut Observers,
        window: &mut Window,
    ) -> Result<()> {
        let started = Instant::now();
        observers.tell(&Event::Validating(self.step));
        let (frame, log) = (&self.frame, observers.messages());
        let mut found = validate::run(
            config,
            base,
            frame,
            &self.model,
            &self.device,
            self.step,
            &log,
        )?;
        window.pause(started.elapsed());
        for set in &mut found {
            window.stamp(&mut set.line);
        }
        observers.tell(&Event::Validated(&found));
        Ok(())
    }

    fn save(&self, config: &TrainConfig) -> Result<()> {
        let state = TrainState::new(self.step, config)?;
        checkpoint::save(
            &self.output,
            &self.folder()?,
            &self.optimizer,
            &state,
            config.log.keep_checkpoints,
        )
    }

    /// One optimiser step.
    fn step(&mut self, config: &TrainConfig, batch: &Batch) -> Result<Done> {
        let (losses, gradients) = gradients(
            &self.model,
            batch,
            LossWeights::from(config.loss),
            config.threads,
            &self.device,
        )?;
        let norm = Optimizer::gradient_norm(&gradients);
        let rate = learning_rate(&config.optimizer, config.steps, self.step);
        self.model = self
            .optimizer
            .step(self.model.clone(), gradients, rate, config.threads)?;
        self.step += 1;
        Ok(Done { losses, norm })
    }

    /// The model folder as of now.
    fn folder(&self) -> Result<ModelFolder> {
        Ok(ModelFolder {
            weights: block_on(save(&self.model))?,
            ..self.frame.clone()
        })
    }
}

/// What a device is called in reports: burn's name for it, without the wrapper.
fn name(device: &Device) -> String {
    let name = format!("{device:?}");
    let inner = name.strip_prefix("Device<");
    match inner.and_then(|name| name.strip_suffix('>')) {
        Some(inner) => inner.into(),
        None => name,
    }
}

/// A vocabulary smaller than the configuration's leaves no unused rows.
fn fit_vocabulary(shape: &mut ModelConfig, size: usize) {
    shape.text_cfg.vocab_size = size;
    shape.multimodal_cfg.vocab_size = Some(size);
}

/// What a step found.
struct Done {
    losses: BatchLosses,
    /// The gradient's norm before clipping.
    norm: Option<Tensor<1>>,
}

/// What happened since the last logged step.
struct Window {
    since: Instant,
    /// What `seconds` counts from.
    began: Instant,
    seconds_before: f64,
    /// Images since the run began.
    samples: u64,
    /// And since the last logged step.
    new_samples: usize,
    done: Vec<Done>,
}

impl Window {
    fn new(config: &TrainConfig, step: u64, seconds_before: f64) -> Self {
        Self {
            since: Instant::now(),
            began: Instant::now(),
            seconds_before,
            samples: step * config.loader.batch_size as u64,
            new_samples: 0,
            done: Vec::new(),
        }
    }

    fn add(&mut self, samples: usize, done: Done) {
        self.samples += samples as u64;
        self.new_samples += samples;
        self.done.push(done);
    }

    /// Takes time for something else than training, which the speed is not to know of.
    fn pause(&mut self, time: Duration) {
        self.since += time;
    }

    /// Notes in a line when it is written.
    fn stamp(&self, line: &mut Value) {
        let seconds = self.seconds_before + self.began.elapsed().as_secs_f64();
        line["time"] = json!(observe::now());
        line["seconds"] = json!((seconds * 1000.0).round() / 1000.0);
        line["samples"] = json!(self.samples);
    }

    /// The means as a line of metrics, and a fresh window.
    ///
    /// # Errors
    /// A loss is not finite: the weights are beyond saving, the last checkpoint is not.
    fn line(&mut self, step: u64, rate: f64, weights: LossConfig) -> Result<Value> {
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
            let Some(mean) = mean(self.done.iter().map(|done| part(&done.losses))) else {
                continue;
            };
            if !mean.is_finite() {
                bail!(
                    "the {name} loss is {mean} at step {step}; lower the learning rate and --resume from the last checkpoint"
                );
            }
            line[name] = json!(mean);
            total += weight * mean;
        }
        line["loss"] = json!(total);
        line["gradient_norm"] = json!(mean(self.done.iter().map(|done| done.norm.clone())));
        line["samples_per_second"] =
            json!(self.new_samples as f64 / self.since.elapsed().as_secs_f64());
        self.stamp(&mut line);
        self.since = Instant::now();
        self.new_samples = 0;
        self.done.clear();
        Ok(line)
    }
}

/// The mean of those that are there.
fn mean(values: impl Iterator<Item = Option<Tensor<1>>>) -> Option<f64> {
    let values: Vec<f64> = values
        .flatten()
        .map(|value| f64::from(value.into_scalar::<f32>()))
        .collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
