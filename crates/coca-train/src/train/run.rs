//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::tensor::Device;
use coca_model::Coca;
use coca_model::preprocess::Preprocessor;
use coca_model::weights::{ModelFolder, save};
use pollster::block_on;

use super::ema::Ema;
use super::gradients::Plan;
use super::init::Initial;
use super::parameters::Parameters;
use super::trainer::{Skipped, Trainer};
use super::window::Window;
use super::{Optimizer, TrainConfig, advice, checkpoint, validate};
use crate::data::{Loader, LoaderSetup, Log};
use crate::folder;
use crate::observe::{Ending, Event, Observers, Started};

/// How training ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All steps are done; the model is in this folder.
    Finished(PathBuf),
    /// It was interrupted after this step and can be resumed.
    Interrupted(u64),
}

/// Trains as `config` says, from the start or from the last checkpoint, until it is done or `stop` is set. The first of
/// the devices holds the model.
pub fn train(
    config: &TrainConfig,
    base: &Path,
    devices: &[Device],
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
    checkpoint::tidy(&output);
    validate::check(config, base)?;
    let (trainer, frame) = start(config, base, &output, devices, resume)?;
    let mut observers = Observers::open(config, &output, trainer.step, stop)?;
    let loader = loader(config, base, &frame, observers.messages())?;
    observers.tell(&Event::Started(&Started {
        config,
        frame: &frame,
        parameters: trainer.model.num_params(),
        device: name(&trainer.plan.lanes[0]),
        data: loader.progress(trainer.step),
        step: trainer.step,
    }));
    let mut run = Run {
        config,
        base,
        output,
        frame,
        trainer,
    };
    let outcome = run.finish(&loader, &mut observers, stop);
    let step = run.trainer.step;
    observers.tell(&Event::Ended {
        step,
        ending: &match &outcome {
            Ok(Outcome::Finished(_)) => Ending::Finished,
            Ok(Outcome::Interrupted(_)) => Ending::Interrupted,
            Err(error) => Ending::Failed(format!("{error:#}")),
        },
        data: &loader.progress(step),
    });
    outcome
}

/// A run under way.
struct Run<'a> {
    config: &'a TrainConfig,
    /// Where relative paths of the configuration start.
    base: &'a Path,
    /// Where everything goes.
    output: PathBuf,
    /// Everything of the model folder but the weights, which are the trainer's.
    frame: ModelFolder,
    trainer: Trainer,
}

impl Run<'_> {
    /// The steps that are left, with everything that happens between them, and the finished model.
    fn finish(
        &mut self,
        loader: &Loader,
        observers: &mut Observers,
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        let config = self.config;
        let mut window = Window::new(config, self.trainer.step, observers.seconds());
        // None, if only the finished model is missing.
        let left = usize::try_from(config.steps.saturating_sub(self.trainer.step))?;
        for batch in loader.start_at(self.trainer.step)?.take(left) {
            let batch = batch?;
            let report = self.trainer.step(config, &batch)?;
            let step = self.trainer.step;
            if report.skipped {
                let warn = observers.messages();
                warn(&format!("warning: step {step} was skipped: {report}"));
            }
            window.add(batch.batch_size, report);
            observers.tell(&Event::Stepped {
                step,
                batch: &batch,
            });
            if step.is_multiple_of(config.log.every) || step == config.steps {
                let line = window.line(&self.trainer, config.loss);
                observers.tell(&Event::Logged(&line));
            }
            if validate::due(config, step) {
                self.validate(observers, &mut window)?;
            }
            let last = step >= config.steps;
            let interrupted = stop.load(Ordering::Relaxed);
            if last || interrupted || step.is_multiple_of(config.log.checkpoint_every) {
                let folder = self.folder(&self.trainer.model)?;
                checkpoint::save(&self.output, &folder, &self.trainer, config)?;
                observers.tell(&Event::Saved {
                    step,
                    data: &loader.progress(step),
                });
            }
            if interrupted && !last {
                return Ok(Outcome::Interrupted(step));
            }
        }
        let mut finished = self.folder(&self.trainer.finished(config))?;
        finished.coca.self_test = Some(folder::self_test(&finished, self.device())?);
        let model = self.output.join("model");
        folder::write(&finished, &model, None, u64::MAX)?;
        Ok(Outcome::Finished(model))
    }

    fn validate(&self, observers: &mut Observers, window: &mut Window) -> Result<()> {
        let started = Instant::now();
        let step = self.trainer.step;
        observers.tell(&Event::Validating(step));
        let model = self.trainer.validated(self.config);
        let mut found = validate::run(
            self.config,
            self.base,
            &self.frame,
            &model,
            self.device(),
            step,
            &observers.messages(),
        )?;
        window.pause(started.elapsed());
        for set in &mut found {
            window.stamp(&mut set.line);
        }
        observers.tell(&Event::Validated(&found));
        Ok(())
    }

    fn device(&self) -> &Device {
        &self.trainer.plan.lanes[0]
    }

    /// The model folder of a model.
    fn folder(&self, model: &Coca) -> Result<ModelFolder> {
        Ok(ModelFolder {
            weights: block_on(save(model))?,
            ..self.frame.clone()
        })
    }
}

/// The trainer at its first step or at its last checkpoint, and everything of the model folder but the weights.
fn start(
    config: &TrainConfig,
    base: &Path,
    output: &Path,
    devices: &[Device],
    resume: bool,
) -> Result<(Trainer, ModelFolder)> {
    let device = devices.first().context("there is no device")?;
    device.seed(config.seed);
    let trainer = |model: Coca| -> Result<Trainer> {
        let parameters = Parameters::new(&config.optimizer, &config.freeze, &model)?;
        Ok(Trainer {
            plan: Plan::new(config, devices, parameters.frozen.clone(), warn)?,
            parameters,
            optimizer: Optimizer::new(config.optimizer.clone()),
            ema: config.ema.map(|ema| Ema::new(ema, &model)),
            step: 0,
            skipped: Skipped::default(),
            model,
        })
    };
    if resume {
        let checkpoint = checkpoint::load(output, config, device, warn)?;
        let trainer = Trainer {
            optimizer: checkpoint.optimizer,
            ema: checkpoint.ema,
            step: checkpoint.state.step,
            skipped: checkpoint.state.skipped,
            ..trainer(checkpoint.folder.model(device)?)?
        };
        return Ok((trainer, checkpoint.folder));
    }
    let initial = Initial::new(config, base, device)?;
    let trainer = trainer(initial.model)?;
    let advice = advice::warnings(config, &trainer.parameters);
    initial
        .warnings
        .iter()
        .chain(&advice)
        .for_each(|line| warn(line));
    Ok((trainer, initial.frame))
}

fn warn(line: &str) {
    eprintln!("warning: {line}");
}

fn loader(config: &TrainConfig, base: &Path, frame: &ModelFolder, log: Log) -> Result<Loader> {
    Ok(Loader::open(LoaderSetup {
        data: &config.data,
        augment: &config.augment,
        loader: &config.loader,
        base: &config.data_dir(base),
        preprocessor: Preprocessor::new(frame.preprocess_cfg.clone())?,
        tokenizer: Arc::new(frame.tokenizer.clone()),
        context_length: frame.model_cfg.text_cfg.context_length,
        log,
    })?)
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
