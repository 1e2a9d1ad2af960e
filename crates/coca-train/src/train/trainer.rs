//! A model in training, and one step of it.

use anyhow::{Result, anyhow, bail};
use burn::tensor::Tensor;
use coca_model::Coca;

use super::config::TrainConfig;
use super::ema::Ema;
use super::gradients::{BatchLosses, Plan, gradients};
use super::parameters::Parameters;
use super::{Optimizer, learning_rate};
use crate::data::Batch;

/// Everything that a step changes, and the plan of how it is computed.
pub struct Trainer {
    /// The latest weights, without graph, on the first device.
    pub model: Coca,
    /// Their optimiser.
    pub optimizer: Optimizer,
    /// Their moving average, if one is kept.
    pub ema: Option<Ema>,
    /// Steps done, skipped ones included.
    pub step: u64,
    /// Steps that were skipped because a loss or the gradient was not finite.
    pub skipped: Skipped,
    /// What applies to each parameter.
    pub parameters: Parameters,
    /// How gradients are computed.
    pub plan: Plan,
}

/// Counts of skipped steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Skipped {
    /// In the whole run.
    pub total: u64,
    /// The latest steps.
    pub in_a_row: u64,
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// L_con, unweighted; none if it was not computed.
    pub contrastive: Option<f64>,
    /// L_cap, unweighted.
    pub caption: Option<f64>,
    /// L_lm, unweighted.
    pub language_model: Option<f64>,
    /// The global norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// Whether the weights stayed as they were.
    pub skipped: bool,
}

impl std::fmt::Display for StepReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, loss) in [
            ("contrastive", self.contrastive),
            ("caption", self.caption),
            ("language_model", self.language_model),
        ] {
            if let Some(loss) = loss {
                write!(f, "{name} loss {loss}, ")?;
            }
        }
        let (norm, rate) = (self.gradient_norm, self.learning_rate);
        write!(f, "gradient norm {norm}, learning rate {rate:e}")
    }
}

impl Trainer {
    /// One optimiser step. If a loss or the gradient is not finite, it is skipped: weights, optimiser and average stay
    /// as they are, and the run goes on with the next batch.
    ///
    /// # Errors
    /// The batch does not fit the model, or `max_skipped` steps in a row were skipped.
    pub fn step(&mut self, config: &TrainConfig, batch: &Batch) -> Result<StepReport> {
        let (losses, gradients) = gradients(&self.model, batch, &self.plan)?;
        let rate = learning_rate(&config.optimizer, config.steps, self.step);
        let norm = Optimizer::gradient_norm(&gradients);
        let report = read(losses, norm, rate)?;
        self.step += 1;
        if report.skipped {
            self.skipped.total += 1;
            self.skipped.in_a_row += 1;
            if self.skipped.in_a_row >= config.max_skipped {
                bail!(self.give_up(&report, batch));
            }
            return Ok(report);
        }
        self.skipped.in_a_row = 0;
        self.optimizer.step(
            &mut self.model,
            &self.parameters,
            gradients,
            report.gradient_norm,
            rate,
            config.threads,
        )?;
        if let Some(ema) = &mut self.ema {
            ema.update(&self.model, self.optimizer.updates());
        }
        Ok(report)
    }

    /// The weights to validate.
    pub fn validated(&self, config: &TrainConfig) -> Coca {
        self.averaged(config.ema.is_some_and(|ema| ema.validate))
    }

    /// The weights of the finished model.
    pub fn finished(&self, config: &TrainConfig) -> Coca {
        self.averaged(config.ema.is_some_and(|ema| ema.finish))
    }

    fn averaged(&self, averaged: bool) -> Coca {
        match &self.ema {
            Some(ema) if averaged => ema.model(&self.model),
            _ => self.model.clone(),
        }
    }

    fn give_up(&self, report: &StepReport, batch: &Batch) -> String {
        format!(
            "{} steps in a row had a loss or a gradient that is not finite, the last one step {}: {report}; its batch \
             begins with {}. {} of {} steps were skipped in all, and none of them changed the weights. Start a new run \
             from the last checkpoint (`init`) with a lower optimizer.learning_rate, a longer warm-up or a lower \
             clip_norm; if it happens from the first step on, look at the data",
            self.skipped.in_a_row,
            self.step,
            batch.keys.first().map_or("nothing", String::as_str),
            self.skipped.total,
            self.step,
        )
    }
}

/// Reads all numbers of a step back at once: each read waits for the device.
fn read(losses: BatchLosses, norm: Option<Tensor<1>>, rate: f64) -> Result<StepReport> {
    let parts = [
        losses.contrastive,
        losses.caption,
        losses.language_model,
        norm,
    ];
    let tensors: Vec<Tensor<1>> = parts.iter().flatten().cloned().collect();
    let values = Tensor::cat(tensors, 0).into_data().try_into_vec_as::<f32>();
    let values = values.map_err(|error| anyhow!("reading the losses: {error:?}"))?;
    let mut left = values.iter().map(|&value| f64::from(value));
    let mut next = |part: &Option<Tensor<1>>| part.as_ref().and_then(|_| left.next());
    let [contrastive, caption, language_model, norm] = &parts;
    Ok(StepReport {
        contrastive: next(contrastive),
        caption: next(caption),
        language_model: next(language_model),
        gradient_norm: next(norm).unwrap_or(0.0),
        learning_rate: rate,
        skipped: values.iter().any(|value| !value.is_finite()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::config::{EmaConfig, tests::read as config};
    use crate::train::golden::{model, plan, uneven_batch};
    use burn::tensor::Device;
    use coca_model::weights::{StateDict, save};
    use pollster::block_on;

    fn trainer(config: &TrainConfig) -> Trainer {
        let model = model(&Device::flex());
        Trainer {
            parameters: Parameters::new(&config.optimizer, &config.freeze, &model).unwrap(),
            optimizer: Optimizer::new(config.optimizer.clone()),
            ema: config.ema.map(|ema| Ema::new(ema, &model)),
            step: 0,
            skipped: Skipped::default(),
            plan: plan(),
            model,
        }
    }

    fn weights(model: &Coca) -> StateDict {
        block_on(save(model)).unwrap()
    }

    #[test]
    fn a_step_that_is_not_finite_changes_nothing_but_the_counts() {
        let config =
            config(&["max_skipped=2", "ema={ decay = 0.9 }", "optimizer.warmup=1"]).unwrap();
        let mut trainer = trainer(&config);
        let good = uneven_batch();
        let mut bad = good.clone();
        bad.pixels[5] = f32::NAN;
        assert!(!trainer.step(&config, &good).unwrap().skipped);
        let state = |trainer: &Trainer| {
            let ema = trainer.ema.as_ref().unwrap().state().unwrap();
            (
                weights(&trainer.model),
                trainer.optimizer.state().unwrap(),
                ema,
            )
        };
        let before = state(&trainer);
        let report = trainer.step(&config, &bad).unwrap();
        assert!(report.skipped && report.gradient_norm.is_nan());
        assert!(state(&trainer) == before);
        assert_eq!((trainer.step, trainer.optimizer.updates()), (2, 1));
        assert!(!trainer.step(&config, &good).unwrap().skipped);
        assert_eq!((trainer.skipped.total, trainer.skipped.in_a_row), (1, 0));
        trainer.step(&config, &bad).unwrap();
        let error = trainer.step(&config, &bad).unwrap_err().to_string();
        assert!(
            error.contains("2 steps in a row") && error.contains("3 of 5 steps"),
            "{error}"
        );
    }

    #[test]
    fn the_average_is_the_average() {
        let ema = EmaConfig {
            decay: 0.5,
            warmup: true,
            validate: true,
            finish: false,
        };
        let mut config = config(&["optimizer.warmup=1", "optimizer.learning_rate=0.01"]).unwrap();
        config.ema = Some(ema);
        let mut trainer = trainer(&config);
        let name = "visual.proj";
        let values = |model: &Coca| weights(model).get_f32(name).unwrap().1;
        let mut average: Vec<f64> = values(&trainer.model)
            .iter()
            .map(|&x| f64::from(x))
            .collect();
        for update in 1..8 {
            trainer.step(&config, &uneven_batch()).unwrap();
            let decay = f64::min(0.5, (1.0 + f64::from(update)) / (10.0 + f64::from(update)));
            for (average, x) in average.iter_mut().zip(values(&trainer.model)) {
                *average = decay * *average + (1.0 - decay) * f64::from(x);
            }
            for (found, expected) in values(&trainer.validated(&config)).iter().zip(&average) {
                assert!((f64::from(*found) - expected).abs() < 1e-6);
            }
        }
        assert_eq!(values(&trainer.finished(&config)), values(&trainer.model));
        assert_ne!(values(&trainer.validated(&config)), values(&trainer.model));
    }

    #[test]
    fn frozen_parameters_stay_and_the_others_learn() {
        let config = config(&[
            "freeze.text=true",
            "optimizer.warmup=1",
            "optimizer.method=muon",
        ])
        .unwrap();
        let mut trainer = trainer(&config);
        trainer.plan.frozen = trainer.parameters.frozen.clone();
        let before = weights(&trainer.model);
        trainer.step(&config, &uneven_batch()).unwrap();
        let after = weights(&trainer.model);
        for (name, tensor) in before.iter() {
            let same = after.get(name).unwrap() == tensor;
            assert_eq!(same, name.starts_with("text."), "{name}");
        }
    }
}
