//! The exponential moving average of the weights.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use coca_model::Coca;
use coca_model::weights::{StateDict, TensorEntry};

use super::config::EmaConfig;

/// The average of every weight, flat, by its name.
#[derive(Clone, Debug)]
pub struct Ema {
    config: EmaConfig,
    average: BTreeMap<String, Tensor<1>>,
}

impl Ema {
    /// Starts at a model's weights.
    pub fn new(config: EmaConfig, model: &Coca) -> Self {
        Self {
            config,
            average: weights(model),
        }
    }

    /// Takes in a model after its update number `update`, from 1.
    pub fn update(&mut self, model: &Coca, update: u64) {
        let grown = (1.0 + update as f64) / (10.0 + update as f64);
        let decay = if self.config.warmup {
            self.config.decay.min(grown)
        } else {
            self.config.decay
        };
        for (name, weight) in weights(model) {
            let average = match self.average.remove(&name) {
                Some(average) => average * decay + weight * (1.0 - decay),
                None => weight,
            };
            self.average.insert(name, average);
        }
    }

    /// `model` with the average as its weights.
    pub fn model(&self, model: &Coca) -> Coca {
        let average = self.average.clone();
        model.clone().map(&mut Replace {
            average,
            path: Vec::new(),
        })
    }

    /// The average, for a checkpoint.
    pub fn state(&self) -> coca_model::Result<StateDict> {
        let mut state = StateDict::new();
        for (name, tensor) in &self.average {
            let values = tensor.clone().into_data().try_into_vec_as::<f32>();
            let values = values.map_err(|error| {
                coca_model::Error::Device(format!("reading the average: {error:?}"))
            })?;
            state.insert(
                name.clone(),
                TensorEntry::from_f32(vec![values.len()], &values)?,
            );
        }
        Ok(state)
    }

    /// Continues from a checkpoint.
    pub fn restore(
        config: EmaConfig,
        state: &StateDict,
        device: &Device,
    ) -> coca_model::Result<Self> {
        let mut average = BTreeMap::new();
        for (name, _) in state.iter() {
            let (_, values) = state.get_f32(name)?;
            let tensor = Tensor::from_data(TensorData::from(values.as_slice()), device);
            average.insert(name.to_string(), tensor);
        }
        Ok(Self { config, average })
    }
}

/// Every weight, flat.
fn weights(model: &Coca) -> BTreeMap<String, Tensor<1>> {
    let mut all = Weights::default();
    model.visit(&mut all);
    all.found
}

#[derive(Default)]
struct Weights {
    path: Vec<String>,
    found: BTreeMap<String, Tensor<1>>,
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

struct Replace {
    average: BTreeMap<String, Tensor<1>>,
    path: Vec<String>,
}

impl ModuleMapper for Replace {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.average.remove(&self.path.join(".")) {
            Some(average) => param.map(|value| average.reshape(value.dims())),
            None => param,
        }
    }
}
