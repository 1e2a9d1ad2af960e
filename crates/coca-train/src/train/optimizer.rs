//! The optimiser: AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, and Muon for the matrices inside blocks if
//! wanted.

use std::collections::BTreeMap;

use anyhow::Result;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use coca_kernels::{AdamW, adamw, sum_of_squares};
use coca_model::Coca;
use coca_model::weights::{StateDict, TensorEntry, expected};

use super::config::{Method, OptimizerConfig};
use super::gradients::NamedGradients;
use super::muon;
use crate::parallel::side_by_side;

/// Moments of every parameter, by its name, and the number of updates.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    moments: BTreeMap<String, Moments>,
    steps: u64,
}

/// Running means of the gradient and of its square, flat. Muon has no second.
#[derive(Clone, Debug)]
struct Moments {
    first: Tensor<1>,
    second: Option<Tensor<1>>,
}

/// What one parameter needs to be updated.
struct Job {
    name: String,
    shape: Vec<usize>,
    weights: Tensor<1>,
    gradient: Tensor<1>,
    moments: Option<Moments>,
}

/// A parameter after its update: its name, its moments and its weights, flat.
type Updated = (String, Moments, Tensor<1>);

/// The logit scale stays within a factor of 1 to 100 (CLIP; open_clip clamps after each step).
const LARGEST_LOGIT_SCALE: f32 = 4.605_170_2;

impl Optimizer {
    /// Moments of zero.
    pub fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            moments: BTreeMap::new(),
            steps: 0,
        }
    }

    /// The gradient's norm over all parameters, `[1]`; none if there is no gradient.
    pub fn gradient_norm(gradients: &NamedGradients) -> Option<Tensor<1>> {
        let squares = gradients
            .values()
            .map(|gradient| sum_of_squares(gradient.clone()));
        squares.reduce(|sum, square| sum + square).map(Tensor::sqrt)
    }

    /// One update of a model without graph, at learning rate `rate`, on `threads` threads. Gradients are scaled so
    /// that their global norm does not exceed the limit. A parameter without gradient is left as it is, weight decay
    /// included, as PyTorch does.
    pub fn step(
        &mut self,
        model: Coca,
        gradients: NamedGradients,
        rate: f64,
        threads: usize,
    ) -> Result<Coca> {
        self.steps += 1;
        let limit = self.config.clip_norm;
        // PyTorch's clip_grad_norm_: the factor never exceeds 1, and 1e-6 guards the division.
        let clip = Self::gradient_norm(&gradients)
            .filter(|_| limit > 0.0)
            .map(|norm| ((norm + 1e-6).recip() * limit).clamp_max(1.0));
        let shapes = expected(&model);
        let mut weights = Weights::of(&model);
        let mut jobs = Vec::with_capacity(gradients.len());
        for (name, gradient) in gradients {
            if let Some(weights) = weights.remove(&name) {
                jobs.push(Job {
                    shape: shapes.get(&name).cloned().unwrap_or_default(),
                    moments: self.moments.remove(&name),
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
                .map(|job| this.update(job, clip.as_ref(), rate))
                .collect::<Vec<_>>())
        })?;
        let mut updated = BTreeMap::new();
        for (name, moments, weights) in updates.into_iter().flatten() {
            self.moments.insert(name.clone(), moments);
            updated.insert(name, weights);
        }
        Ok(model.map(&mut Apply {
            updated,
            path: Vec::new(),
        }))
    }

    /// One parameter after its update.
    fn update(&self, job: Job, clip: Option<&Tensor<1>>, rate: f64) -> Updated {
        let config = &self.config;
        let Job {
            name,
            shape,
            weights,
            gradient,
            moments,
        } = job;
        let weight_decay = if decays(&name, shape.len()) {
            config.weight_decay
        } else {
            0.0
        };
        let zeros = || gradient.zeros_like();
        let (first, second) = match moments {
            Some(moments) => (moments.first, moments.second),
            None => (zeros(), None),
        };
        if config.method == Method::Muon && muon::applies(&name, &shape) {
            let gradient = match clip {
                Some(clip) => gradient * clip.clone(),
                None => gradient,
            };
            let first = first * config.momentum + gradient.clone();
            let ahead = gradient + first.clone() * config.momentum;
            let (stacked, count) = (muon::stacked(&name), shape.iter().product::<usize>());
            let matrices = ahead.reshape([stacked, shape[0] / stacked, shape[1]]);
            let change = muon::orthogonalise(matrices).reshape([count]) * rate;
            let weights = weights * (1.0 - rate * weight_decay) - change;
            let moments = Moments {
                first,
                second: None,
            };
            return (name, moments, weights);
        }
        let second = second.unwrap_or_else(zeros);
        let numbers = AdamW {
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
            rate,
            weight_decay,
            step: self.steps as i32,
        };
        let (weights, [first, second]) =
            adamw(numbers, weights, gradient, clip.cloned(), [first, second]);
        let moments = Moments {
            first,
            second: Some(second),
        };
        (name, moments, weights)
    }

    /// The moments, for a checkpoint: `first.NAME` and `second.NAME`.
    pub fn state(&self) -> coca_model::Result<StateDict> {
        let mut state = StateDict::new();
        for (name, moments) in &self.moments {
            for (moment, tensor) in [
                ("first", Some(&moments.first)),
                ("second", moments.second.as_ref()),
            ] {
                let Some(tensor) = tensor else { continue };
                let values: Vec<f32> =
                    tensor
                        .clone()
                        .into_data()
                        .try_into_vec_as()
                        .map_err(|error| {
                            coca_model::Error::Device(format!("reading the optimiser: {error:?}"))
                        })?;
                state.insert(
                    format!("{moment}.{name}"),
                    TensorEntry::from_f32(vec![values.len()], &values)?,
                );
            }
        }
        Ok(state)
    }

    /// Continues from a checkpoint of `steps` updates.
    pub fn restore(
        config: OptimizerConfig,
        state: &StateDict,
        steps: u64,
        device: &Device,
    ) -> coca_model::Result<Self> {
        let mut moments = BTreeMap::new();
        let tensor = |name: &str| -> coca_model::Result<Tensor<1>> {
            let (_, values) = state.get_f32(name)?;
            Ok(Tensor::from_data(
                TensorData::from(values.as_slice()),
                device,
            ))
        };
        for (key, _) in state.iter() {
            if let Some(name) = key.strip_prefix("first.") {
                let second = format!("second.{name}");
                let second = state.get(&second).map(|_| tensor(&second)).transpose()?;
                moments.insert(
                    name.to_string(),
                    Moments {
                        first: tensor(key)?,
                        second,
                    },
                );
            }
        }
        Ok(Self {
            config,
            moments,
            steps,
        })
    }
}

/// open_clip's groups: matrices decay; vectors, biases, norms and the logit scale do not.
fn decays(name: &str, rank: usize) -> bool {
    rank >= 2
        && !["bn", "ln", "bias", "logit_scale"]
            .iter()
            .any(|part| name.contains(part))
}

/// Jobs for each of `threads` threads, with about as many weights each.
fn shares(mut jobs: Vec<Job>, threads: usize) -> Vec<Vec<Job>> {
    let size = |job: &Job| job.shape.iter().product::<usize>();
    jobs.sort_by_key(|job| std::cmp::Reverse(size(job)));
    let mut shares: Vec<(usize, Vec<Job>)> = (0..threads).map(|_| (0, Vec::new())).collect();
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
