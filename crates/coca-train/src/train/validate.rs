//! Measuring on held-out data while training. Nothing here draws random numbers of the device or touches the weights,
//! so that a run is the same with any validation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use coca_model::preprocess::Preprocessor;
use coca_model::tasks::Predictor;
use coca_model::weights::ModelFolder;
use coca_model::{Coca, LossWeights, contrastive_loss};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json};

use super::gradients::texts;
use super::{TrainConfig, ValidationConfig, ValidationTask};
use crate::data::{
    AugmentConfig, Batch, DataConfig, EvalSamples, Loader, LoaderConfig, LoaderSetup, Log,
    read_samples,
};
use crate::eval::{
    Runner, ZeroShot, answer_questions, classify_images, retrieve_with_examples, sample_answers,
    sample_captions,
};
use crate::observe::{Picture, Validated};
use crate::parallel::side_by_side;

/// How many captions [`ValidationTask::Captions`] shows, and answers [`ValidationTask::Vqa`].
const SAMPLES: usize = 8;
/// How many of the best and of the worst images [`ValidationTask::Retrieval`] shows.
const RETRIEVALS: usize = 3;

/// Whether to validate after this step.
pub fn due(config: &TrainConfig, step: u64) -> bool {
    let every = config.log.validate_every;
    step == config.steps || (every > 0 && step.is_multiple_of(every))
}

/// Opens every data set once, so that a wrong name shows before hours of training.
pub fn check(config: &TrainConfig, base: &Path) -> Result<()> {
    for set in &config.validation {
        samples(set, &config.data_dir(base))?;
    }
    Ok(())
}

/// Measures the model on every data set; one line of metrics for each, with the pictures that it names.
pub fn run(
    config: &TrainConfig,
    base: &Path,
    frame: &ModelFolder,
    model: &Coca,
    device: &Device,
    step: u64,
    log: &Log,
) -> Result<Vec<Validated>> {
    let predictor = Predictor::new(
        model.clone(),
        frame.tokenizer.clone(),
        frame.preprocess_cfg.clone(),
        frame.coca.prompts.clone(),
        device.clone(),
    )?;
    let bar = ProgressBar::hidden();
    let runner = Runner {
        predictor: &predictor,
        threads: config.threads,
        bar: &bar,
    };
    let data = config.data_dir(base);
    let measured = |set: &ValidationConfig| -> Result<Validated> {
        let mut found = Validated {
            line: json!({ "step": step, "validation": &set.name }),
            pictures: Vec::new(),
        };
        let measurement = Measurement {
            set,
            config,
            runner: &runner,
            data: &data,
            log,
        };
        for task in &set.tasks {
            measurement.of(*task, &mut found)?;
        }
        Ok(found)
    };
    let named = |set: &ValidationConfig| {
        measured(set).with_context(|| format!("in the validation \"{}\"", set.name))
    };
    config.validation.iter().map(named).collect()
}

/// A data set and what it is measured with.
struct Measurement<'a> {
    set: &'a ValidationConfig,
    config: &'a TrainConfig,
    runner: &'a Runner<'a>,
    data: &'a Path,
    log: &'a Log,
}

impl Measurement<'_> {
    /// Does one task and adds what it finds.
    fn of(&self, task: ValidationTask, found: &mut Validated) -> Result<()> {
        let runner = self.runner;
        match task {
            ValidationTask::Loss => found.line["loss"] = self.losses()?,
            ValidationTask::ZeroShot => {
                let report = classify_images(runner, self.samples()?, &ZeroShot::default())?;
                found.line["zero-shot"] = json!(report.metrics);
            }
            ValidationTask::Retrieval => {
                let (report, examples) =
                    retrieve_with_examples(runner, self.samples()?, RETRIEVALS)?;
                found.line["retrieval"] = json!(report.metrics);
                self.show("retrievals", &examples, found)?;
            }
            ValidationTask::Vqa => {
                let report = answer_questions(runner, self.samples()?)?;
                found.line["vqa"] = json!(report.metrics);
                let answers = sample_answers(runner, self.samples()?.spread(SAMPLES))?;
                self.show("answers", &answers, found)?;
            }
            ValidationTask::Captions => {
                let captions = sample_captions(runner, self.samples()?.spread(SAMPLES))?;
                self.show("captions", &captions, found)?;
            }
        }
        Ok(())
    }

    fn samples(&self) -> Result<EvalSamples> {
        samples(self.set, self.data)
    }

    /// Adds examples, each with the picture of the sample that its `key` names.
    fn show(&self, list: &str, examples: &[impl Serialize], found: &mut Validated) -> Result<()> {
        let mut examples = json!(examples);
        let wanted: BTreeSet<&str> = examples
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|example| example["key"].as_str())
            .collect();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for sample in self.samples()?.only(|key| wanted.contains(key)) {
            let sample = sample?;
            let picture = Picture::of_file(&sample.image)?;
            names.insert(sample.key, picture.name.clone());
            if !found.pictures.iter().any(|old| old.name == picture.name) {
                found.pictures.push(picture);
            }
        }
        for example in examples.as_array_mut().into_iter().flatten() {
            let name = example["key"].as_str().and_then(|key| names.get(key));
            example["picture"] = json!(name);
        }
        found.line[list] = examples;
        Ok(())
    }

    /// The mean losses over whole batches of the training's size, of images as they are. The contrastive loss depends on
    /// the batch size, so it compares within a run only.
    fn losses(&self) -> Result<Value> {
        let &Self {
            set,
            config,
            runner,
            data,
            log,
        } = self;
        let count = self.samples()?.len();
        ensure!(count > 0, "the data set has no sample");
        let predictor = runner.predictor;
        let setup = LoaderConfig {
            batch_size: config.loader.batch_size.min(count),
            texts_per_image: config.loader.texts_per_image,
            workers: 1,
            ..LoaderConfig::default()
        };
        let mut augment = AugmentConfig::default();
        augment.random_resized_crop.enabled = false;
        let loader = Loader::open(LoaderSetup {
            data: &[DataConfig {
                templates: predictor.prompts().classify.clone(),
                answer_template: predictor.prompts().answer.clone(),
                ..DataConfig::new(set.shards.clone())
            }],
            augment: &augment,
            loader: &setup,
            base: data,
            preprocessor: Preprocessor::new(predictor.preprocessor().config().clone())?,
            tokenizer: Arc::new(predictor.tokenizer().clone()),
            context_length: predictor.model().config().text_cfg.context_length,
            log: Arc::clone(log),
        })?;
        let batches: Vec<u64> = (0..(count / setup.batch_size) as u64).collect();
        let share = batches.len().div_ceil(runner.threads.max(1)).max(1);
        let found = side_by_side(batches.chunks(share).collect(), |steps| {
            steps
                .iter()
                .map(|&step| batch_losses(predictor, &loader.batch(step)?))
                .collect::<Result<Vec<_>>>()
        })?;
        let mut sums = Sums::default();
        for batch in found.into_iter().flatten() {
            sums.contrastive.add(batch.contrastive);
            sums.caption.add(batch.caption);
            sums.language_model.add(batch.language_model);
        }
        Ok(json!({
            "contrastive": sums.contrastive.mean(),
            "caption": sums.caption.mean(),
            "language_model": sums.language_model.mean(),
        }))
    }
}

fn samples(set: &ValidationConfig, data: &Path) -> Result<EvalSamples> {
    let all = read_samples(&set.shards, data)
        .with_context(|| format!("in the validation \"{}\"", set.name))?;
    Ok(match set.limit {
        Some(limit) => all.spread(limit),
        None => all,
    })
}

/// Sums of the three losses.
#[derive(Default)]
struct Sums {
    contrastive: Sum,
    caption: Sum,
    language_model: Sum,
}

/// A sum and how many terms it has.
#[derive(Clone, Copy, Default)]
struct Sum(f64, usize);

impl Sum {
    fn add(&mut self, other: Self) {
        self.0 += other.0;
        self.1 += other.1;
    }

    fn mean(self) -> Option<f64> {
        (self.1 > 0).then(|| self.0 / self.1 as f64)
    }
}

fn batch_losses(predictor: &Predictor, batch: &Batch) -> Result<Sums> {
    let model = predictor.model();
    let [height, width] = model.config().vision_cfg.image_size.dims();
    let pixels = TensorData::new(batch.pixels.clone(), [batch.batch_size, 3, height, width]);
    let texts = texts(batch, 0..batch.batch_size);
    let all = LossWeights {
        contrastive: 1.0,
        caption: 1.0,
        language_model: 1.0,
    };
    let forward = model.forward(Tensor::from_data(pixels, predictor.device()), &texts, all)?;
    let scalar = |loss: Tensor<1>| f64::from(loss.into_scalar::<f32>());
    let contrastive = forward.pairs.map(|(image, text)| {
        Sum(
            scalar(contrastive_loss(
                image,
                text,
                model.logit_scale(),
                &texts.pairs,
                0.0,
            )),
            1,
        )
    });
    let tokens = |loss: coca_model::TokenLoss| Sum(scalar(loss.sum), loss.tokens);
    Ok(Sums {
        contrastive: contrastive.unwrap_or_default(),
        caption: forward.caption.map(tokens).unwrap_or_default(),
        language_model: forward.language_model.map(tokens).unwrap_or_default(),
    })
}
