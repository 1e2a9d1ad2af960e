//! AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, over named parameters.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use coca_model::Coca;
use coca_model::weights::{StateDict, TensorEntry};

use super::config::OptimizerConfig;
use super::gradients::NamedGradients;

/// The optimiser: two moments for each parameter, as flat vectors under the parameter's name.
///
/// A parameter without gradient is left as it is, weight decay included, as PyTorch does.
#[derive(Debug)]
pub struct AdamW {
    config: OptimizerConfig,
    moments: BTreeMap<String, Moments>,
    steps: u64,
}

#[derive(Clone, Debug)]
struct Moments {
    first: Tensor<1>,
    second: Tensor<1>,
}

/// The logit scale stays within a factor of 1 to 100 (CLIP; open_clip clamps after each step).
const LARGEST_LOGIT_SCALE: f32 = 4.605_170_2;

impl AdamW {
    /// Moments of zero.
    pub fn new(config: OptimizerConfig) -> Self {
        Self { config, moments: BTreeMap::new(), steps: 0 }
    }

    /// The gradient's norm over all parameters, `[1]`; none if there is no gradient.
    pub fn gradient_norm(gradients: &NamedGradients) -> Option<Tensor<1>> {
        let squares = gradients.values().map(|gradient| gradient.clone().square().sum());
        squares.reduce(|sum, square| sum + square).map(Tensor::sqrt)
    }

    /// One update of a model without graph. Gradients are scaled so that their global norm does not exceed the limit.
    pub fn step(&mut self, model: Coca, gradients: NamedGradients, rate: f64) -> Coca {
        self.steps += 1;
        let limit = self.config.clip_norm;
        // PyTorch's clip_grad_norm_: the factor never exceeds 1, and 1e-6 guards the division.
        let clip = Self::gradient_norm(&gradients)
            .filter(|_| limit > 0.0)
            .map(|norm| ((norm + 1e-6).recip() * limit).clamp_max(1.0));
        model.map(&mut Update { optimizer: self, gradients, clip, rate, path: Vec::new() })
    }

    /// Number of updates so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The moments, for a checkpoint: `first.NAME` and `second.NAME`.
    pub fn state(&self) -> coca_model::Result<StateDict> {
        let mut state = StateDict::new();
        for (name, moments) in &self.moments {
            for (moment, tensor) in [("first", &moments.first), ("second", &moments.second)] {
                let values: Vec<f32> = tensor
                    .clone()
                    .into_data()
                    .try_into_vec_as()
                    .map_err(|error| coca_model::Error::Device(format!("reading the optimiser: {error:?}")))?;
                state.insert(format!("{moment}.{name}"), TensorEntry::from_f32(vec![values.len()], &values)?);
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
        let tensor = |name: String| -> coca_model::Result<Tensor<1>> {
            let (_, values) = state.get_f32(&name)?;
            Ok(Tensor::from_data(TensorData::from(values.as_slice()), device))
        };
        for (name, _) in state.iter() {
            if let Some(name) = name.strip_prefix("first.") {
                let (first, second) = (tensor(format!("first.{name}"))?, tensor(format!("second.{name}"))?);
                moments.insert(name.to_string(), Moments { first, second });
            }
        }
        Ok(Self { config, moments, steps })
    }
}

/// open_clip's groups: matrices decay; vectors, biases, norms and the logit scale do not.
fn decays(name: &str, rank: usize) -> bool {
    rank >= 2 && !["bn", "ln", "bias", "logit_scale"].iter().any(|part| name.contains(part))
}

struct Update<'a> {
    optimizer: &'a mut AdamW,
    gradients: NamedGradients,
    clip: Option<Tensor<1>>,
    rate: f64,
    path: Vec<String>,
}

impl Update<'_> {
    fn new_value<const D: usize>(&mut self, name: &str, value: Tensor<D>, gradient: Tensor<1>) -> Tensor<D> {
        let config = &self.optimizer.config;
        let shape = value.dims();
        let gradient = match &self.clip {
            Some(clip) => gradient * clip.clone(),
            None => gradient,
        };
        let moments = self.optimizer.moments.remove(name).unwrap_or_else(|| Moments {
            first: gradient.zeros_like(),
            second: gradient.zeros_like(),
        });
        let first = moments.first * config.beta1 + gradient.clone() * (1.0 - config.beta1);
        let second = moments.second * config.beta2 + gradient.square() * (1.0 - config.beta2);
        let steps = self.optimizer.steps as i32;
        let (bias1, bias2) = (1.0 - config.beta1.powi(steps), 1.0 - config.beta2.powi(steps));
        let denominator = second.clone().sqrt() / bias2.sqrt() + config.epsilon;
        let decay = if decays(name, D) { 1.0 - self.rate * config.weight_decay } else { 1.0 };
        let update = first.clone() / denominator * (self.rate / bias1);
        self.optimizer.moments.insert(name.to_string(), Moments { first, second });
        let value = value * decay - update.reshape(shape);
        if name == "logit_scale" { value.clamp(0.0, LARGEST_LOGIT_SCALE) } else { value }
    }
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        match self.gradients.remove(&name) {
            Some(gradient) => param.map(|value| self.new_value(&name, value, gradient)),
            None => param,
        }
    }
}
