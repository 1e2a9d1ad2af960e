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
        self.model = self.optimizer.step(
            self.model.clone(),
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
