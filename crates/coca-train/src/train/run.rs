//! The training loop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use coca_model::Coca;
use coca_model::preprocess::Preprocessor;
use coca_model::weights::{ModelFolder, save};
use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;

use super::ema::Ema;
use super::gradients::Plan;
use super::init::Initial;
use super::metrics::Metrics;
use super::parameters::Parameters;
use super::trainer::{Skipped, Trainer};
use super::window::Window;
use super::{Optimizer, TrainConfig, advice, checkpoint, validate};
use crate::data::{Loader, LoaderSetup};
use crate::folder;

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
    checkpoint::tidy(&output);
    validate::check(config, base)?;
    let (mut trainer, frame) = start(config, base, &output, devices, resume)?;
    let device = &trainer.plan.lanes[0].clone();
    let metrics = Metrics::open(&output, trainer.step)?;
    let bar = progress_bar(config, trainer.step);
    let loader = loader(config, base, &frame, &bar)?;
    let mut window = Window::new();
    // None, if only the finished model is missing.
    let left = usize::try_from(config.steps.saturating_sub(trainer.step))?;
    for batch in loader.start_at(trainer.step)?.take(left) {
        let batch = batch?;
        let report = trainer.step(config, &batch)?;
        if report.skipped {
            bar.suspend(|| warn(&format!("step {} was skipped: {report}", trainer.step)));
        }
        window.add(batch.batch_size, report);
        bar.inc(batch.batch_size as u64);
        let step = trainer.step;
        if step.is_multiple_of(config.log.every) || step == config.steps {
            let line = window.line(&trainer, config.loss);
            bar.set_message(describe(&line));
            metrics.write(&line)?;
        }
        if validate::due(config, step) {
            let started = Instant::now();
            let model = trainer.validated(config);
            for line in validate::run(config, base, &frame, &model, device, step)? {
                metrics.write(&line)?;
            }
            window.pause(started.elapsed());
        }
        let last = step >= config.steps;
        let interrupted = stop.load(Ordering::Relaxed);
        if last || interrupted || step.is_multiple_of(config.log.checkpoint_every) {
            let folder = model_folder(&trainer.model, &frame)?;
            checkpoint::save(&output, &folder, &trainer, config)?;
        }
        if interrupted && !last {
            bar.abandon();
            return Ok(Outcome::Interrupted(step));
        }
    }
    bar.finish();
    for data in loader.progress(trainer.step) {
        eprintln!(
            "{}: {} samples, gone through {:.1} times, {} broken",
            data.shards, data.samples, data.epochs, data.broken
        );
    }
    let model = output.join("model");
    let mut finished = model_folder(&trainer.finished(config), &frame)?;
    finished.coca.self_test = Some(folder::self_test(&finished, device)?);
    folder::write(&finished, &model, None, u64::MAX)?;
    Ok(Outcome::Finished(model))
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
            plan: Plan::new(config, devices, parameters.frozen.clone())?,
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

fn loader(
    config: &TrainConfig,
    base: &Path,
    frame: &ModelFolder,
    bar: &ProgressBar,
) -> Result<Loader> {
    let bar = bar.clone();
    Ok(Loader::open(LoaderSetup {
        data: &config.data,
        augment: &config.augment,
        loader: &config.loader,
        base: &config.data_dir(base),
        preprocessor: Preprocessor::new(frame.preprocess_cfg.clone())?,
        tokenizer: Arc::new(frame.tokenizer.clone()),
        context_length: frame.model_cfg.text_cfg.context_length,
        log: Arc::new(move |line| bar.suspend(|| eprintln!("{line}"))),
    })?)
}

/// The model folder of a model.
fn model_folder(model: &Coca, frame: &ModelFolder) -> Result<ModelFolder> {
    Ok(ModelFolder {
        weights: block_on(save(model))?,
        ..frame.clone()
    })
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
