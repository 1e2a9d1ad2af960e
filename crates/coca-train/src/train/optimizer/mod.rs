//! The optimiser: one of three rules, each in a file of its own, under global clipping, weight decay and the
//! parameters' settings.

mod adafactor;
mod adamw;
mod muon;

use std::collections::BTreeMap;

use anyhow::Result;
use burn::tensor::{Device, Tensor};
use coca_kernels::{AdamW, sum_of_squares};
use coca_model::Coca;
use coca_model::weights::StateDict;

use super::config::{Method, OptimizerConfig};
use super::parameters::{Parameters, Settings};
use super::weights::{NamedTensors, put, restored, state, take};
use crate::parallel::side_by_side;

/// What a rule remembers of one parameter, flat, by the names of [`SLOTS`].
type Slots = BTreeMap<&'static str, Tensor<1>>;

/// Everything that a rule can remember.
const SLOTS: [&str; 4] = ["first", "second", "row", "column"];

/// The logit scale stays within a factor of 1 to 100 (CLIP; open_clip clamps after each step).
const LARGEST_LOGIT_SCALE: f32 = 4.605_170_2;

/// A rule and what it remembers of every parameter, by its name.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    slots: BTreeMap<String, Slots>,
    updates: u64,
}

/// What one parameter needs to be updated.
struct Job<'a> {
    name: String,
    settings: &'a Settings,
    weights: Tensor<1>,
    gradient: Tensor<1>,
    slots: Slots,
}

impl Optimizer {
    /// Remembers nothing yet.
    pub fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            slots: BTreeMap::new(),
            updates: 0,
        }
    }

    /// How many updates it has made.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The gradient's norm over all parameters, `[1]`; none if there is no gradient.
    pub fn gradient_norm(gradients: &NamedTensors) -> Option<Tensor<1>> {
        let squares = gradients
            .values()
            .map(|gradient| sum_of_squares(gradient.clone()));
        squares.reduce(|sum, square| sum + square).map(Tensor::sqrt)
    }

    /// One update of a model without graph, at learning rate `rate`, on `threads` threads. Gradients, whose global norm
    /// is `norm`, are scaled so that it does not exceed the limit. A parameter without gradient is left as it is,
    /// weight decay included, as PyTorch does. Weights and moments that nobody else holds are changed in place.
    ///
    /// # Errors
    /// A gradient of a parameter that does not learn; the model is as it was.
    pub fn step(
        &mut self,
        model: &mut Coca,
        parameters: &Parameters,
        gradients: NamedTensors,
        norm: f64,
        rate: f64,
        threads: usize,
    ) -> Result<()> {
        let settings = gradients.keys().map(|name| parameters.get(name));
        let settings = settings.collect::<Result<Vec<_>>>()?;
        self.updates += 1;
        let limit = self.config.clip_norm;
        // PyTorch's clip_grad_norm_: the factor never exceeds 1, and 1e-6 guards the division.
        let clip = (limit / (norm + 1e-6)).min(1.0);
        let clip = if limit > 0.0 { clip } else { 1.0 };
        let mut weights = take(model, gradients.keys());
        let mut jobs = Vec::with_capacity(gradients.len());
        for ((name, gradient), settings) in gradients.into_iter().zip(settings) {
            if let Some(weights) = weights.remove(&name) {
                jobs.push(Job {
                    settings,
                    slots: self.slots.remove(&name).unwrap_or_default(),
                    name,
                    weights,
                    gradient,
                });
            }
        }
        let this = &*self;
        let updates = side_by_side(shares(jobs, threads.max(1)), |jobs| {
            Ok(jobs
                .into_iter()
                .map(|job| this.update(job, clip, rate))
                .collect::<Vec<_>>())
        })?;
        for (name, slots, updated) in updates.into_iter().flatten() {
            self.slots.insert(name.clone(), slots);
            weights.insert(name, updated);
        }
        *model = put(model.clone(), weights);
        Ok(())
    }

    /// What a parameter's rule remembers now, and the parameter, flat. The gradient is taken times `clip`.
    fn update(&self, job: Job<'_>, clip: f64, rate: f64) -> (String, Slots, Tensor<1>) {
        let Job {
            name,
            settings,
            weights,
            gradient,
            mut slots,
        } = job;
        let (config, slot, update) = (&self.config, &mut slots, self.updates);
        let (shape, rate) = (&settings.shape, rate * settings.rate_factor);
        let decay = settings.weight_decay;
        let clipped = |gradient: Tensor<1>| {
            if clip == 1.0 {
                gradient
            } else {
                gradient * clip
            }
        };
        let by_change = |weights: Tensor<1>, change: Tensor<1>| {
            if decay == 0.0 {
                weights - change
            } else {
                weights * (1.0 - rate * decay) - change
            }
        };
        let weights = match config.method {
            Method::Muon if muon::applies(&name, shape) => {
                let gradient = clipped(gradient);
                let change = muon::change(config, &name, shape, gradient, slot, rate);
                by_change(weights, change)
            }
            Method::Adafactor => {
                let gradient = clipped(gradient);
                let change = adafactor::change(config, shape, gradient, slot, update, rate);
                by_change(weights, change)
            }
            Method::AdamW | Method::Muon => {
                let numbers = AdamW {
                    beta1: config.beta1,
                    beta2: config.beta2,
                    epsilon: config.epsilon,
                    rate,
                    weight_decay: decay,
                    step: i32::try_from(update).unwrap_or(i32::MAX),
                    clip,
                };
                adamw::update(numbers, weights, gradient, slot)
            }
        };
        let weights = if name == "logit_scale" {
            weights.clamp(0.0, LARGEST_LOGIT_SCALE)
        } else {
            weights
        };
        (name, slots, weights)
    }

    /// What the rule remembers, for a checkpoint: `SLOT.NAME`.
    pub fn state(&self) -> coca_model::Result<StateDict> {
        let tensors = self.slots.iter().flat_map(|(name, slots)| {
            let slots = slots.iter();
            slots.map(move |(slot, tensor)| (format!("{slot}.{name}"), tensor))
        });
        state(tensors, "the optimiser")
    }

    /// Continues from a checkpoint after `updates` updates.
    pub fn restore(
        config: OptimizerConfig,
        state: &StateDict,
        updates: u64,
        device: &Device,
    ) -> coca_model::Result<Self> {
        let mut slots: BTreeMap<String, Slots> = BTreeMap::new();
        for (key, _) in state.iter() {
            let place = SLOTS.iter().find_map(|slot| {
                let name = key.strip_prefix(slot)?.strip_prefix('.')?;
                Some((*slot, name))
            });
            let Some((slot, name)) = place else { continue };
            let tensor = restored(state, key, device)?;
            slots.entry(name.into()).or_default().insert(slot, tensor);
        }
        Ok(Self {
            config,
            slots,
            updates,
        })
    }
}

/// Jobs for each of `threads` threads, with about as many weights each.
fn shares(mut jobs: Vec<Job<'_>>, threads: usize) -> Vec<Vec<Job<'_>>> {
    let size = |job: &Job<'_>| job.settings.shape.iter().product::<usize>();
    jobs.sort_by_key(|job| std::cmp::Reverse(size(job)));
    let mut shares: Vec<(usize, Vec<Job<'_>>)> = (0..threads).map(|_| (0, Vec::new())).collect();
    for job in jobs {
        if let Some((total, share)) = shares.iter_mut().min_by_key(|(total, _)| *total) {
            *total += size(&job);
            share.push(job);
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}
