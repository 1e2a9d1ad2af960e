//! The optimiser: one of three rules, each in a file of its own, under global clipping, weight decay and the
//! parameters' settings.

mod adafactor;
mod adamw;
mod muon;

use std::collections::BTreeMap;

use anyhow::Result;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use coca_kernels::sum_of_squares;
use coca_model::Coca;
use coca_model::weights::{StateDict, TensorEntry};

use super::config::{Method, OptimizerConfig};
use super::gradients::NamedGradients;
use super::parameters::{Parameters, Settings};
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
    pub fn gradient_norm(gradients: &NamedGradients) -> Option<Tensor<1>> {
        let squares = gradients
            .values()
            .map(|gradient| sum_of_squares(gradient.clone()));
        squares.reduce(|sum, square| sum + square).map(Tensor::sqrt)
    }

    /// One update of a model without graph, at learning rate `rate`, on `threads` threads. Gradients, whose global norm
    /// is `norm`, are scaled so that it does not exceed the limit. A parameter without gradient is left as it is,
    /// weight decay included, as PyTorch does.
    ///
    /// # Errors
    /// A gradient of a parameter that does not learn.
    pub fn step(
        &mut self,
        model: Coca,
        parameters: &Parameters,
        gradients: NamedGradients,
        norm: f64,
        rate: f64,
        threads: usize,
    ) -> Result<Coca> {
        self.updates += 1;
        let limit = self.config.clip_norm;
        // PyTorch's clip_grad_norm_: the factor never exceeds 1, and 1e-6 guards the division.
        let clip = (limit / (norm + 1e-6)).min(1.0);
        let clip = (limit > 0.0 && clip < 1.0).then_some(clip);
        let mut weights = Weights::of(&model);
        let mut jobs = Vec::with_capacity(gradients.len());
        for (name, gradient) in gradients {
            let settings = parameters.get(&name)?;
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
        let mut updated = BTreeMap::new();
        for (name, slots, weights) in updates.into_iter().flatten() {
            self.slots.insert(name.clone(), slots);
            updated.insert(name, weights);
        }
        Ok(model.map(&mut Apply {
            updated,
            path: Vec::new(),
        }))
    }

    /// What a parameter's rule remembers now, and the parameter, flat. The gradient is taken times `clip`.
    fn update(&self, job: Job<'_>, clip: Option<f64>, rate: f64) -> (String, Slots, Tensor<1>) {
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
        let gradient = match clip {
            Some(clip) => gradient * clip,
            None => gradient,
        };
        let by_change = |change: Tensor<1>| {
            if decay == 0.0 {
                weights.clone() - change
            } else {
                weights.clone() * (1.0 - rate * decay) - change
            }
        };
        let weights = match config.method {
            Method::Muon if muon::applies(&name, shape) => {
                by_change(muon::change(config, &name, shape, gradient, slot, rate))
            }
            Method::Adafactor => by_change(adafactor::change(
                config, shape, gradient, slot, update, rate,
            )),
            Method::AdamW | Method::Muon => {
                adamw::update(config, weights, gradient, slot, update, rate, decay)
            }
        };
        (name, slots, weights)
    }

    /// What the rule remembers, for a checkpoint: `SLOT.NAME`.
    pub fn state(&self) -> coca_model::Result<StateDict> {
        let mut state = StateDict::new();
        for (name, slots) in &self.slots {
            for (slot, tensor) in slots {
                let values = tensor.clone().into_data().try_into_vec_as::<f32>();
                let values = values.map_err(|error| {
                    coca_model::Error::Device(format!("reading the optimiser: {error:?}"))
                })?;
                let entry = TensorEntry::from_f32(vec![values.len()], &values)?;
                state.insert(format!("{slot}.{name}"), entry);
            }
        }
        Ok(state)
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
            let (_, values) = state.get_f32(key)?;
            let tensor = Tensor::from_data(TensorData::from(values.as_slice()), device);
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

/// Takes a model's weights, flat, by parameter name.
#[derive(Default)]
struct Weights {
    path: Vec<String>,
    found: BTreeMap<String, Tensor<1>>,
}

impl Weights {
    fn of(model: &Coca) -> BTreeMap<String, Tensor<1>> {
        let mut weights = Self::default();
        model.visit(&mut weights);
        weights.found
    }
}

impl ModuleVisitor for Weights {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let count = value.dims().iter().product::<usize>();
        self.found
            .insert(self.path.join("."), value.reshape([count]));
    }
}

/// Puts updated weights in the place of the old ones.
struct Apply {
    updated: BTreeMap<String, Tensor<1>>,
    path: Vec<String>,
}

impl ModuleMapper for Apply {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        let Some(updated) = self.updated.remove(&name) else {
            return param;
        };
        param.map(|value| {
            let value = updated.reshape(value.dims());
            if name == "logit_scale" {
                value.clamp(0.0, LARGEST_LOGIT_SCALE)
            } else {
                value
            }
        })
    }
}
