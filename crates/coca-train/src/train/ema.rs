//! The exponential moving average of the weights.

use burn::tensor::Device;
use coca_model::Coca;
use coca_model::weights::StateDict;

use super::config::EmaConfig;
use super::weights::{NamedTensors, copies, put, restored, state};

/// The average of every weight, flat, by its name.
#[derive(Clone, Debug)]
pub struct Ema {
    config: EmaConfig,
    average: NamedTensors,
}

impl Ema {
    /// Starts at a model's weights.
    pub fn new(config: EmaConfig, model: &Coca) -> Self {
        Self {
            config,
            average: copies(model),
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
        for (name, weight) in copies(model) {
            let average = match self.average.remove(&name) {
                Some(average) => average * decay + weight * (1.0 - decay),
                None => weight,
            };
            self.average.insert(name, average);
        }
    }

    /// `model` with the average as its weights.
    pub fn model(&self, model: &Coca) -> Coca {
        put(model.clone(), self.average.clone())
    }

    /// The average, for a checkpoint.
    pub fn state(&self) -> coca_model::Result<StateDict> {
        let average = self.average.iter();
        state(
            average.map(|(name, tensor)| (name.clone(), tensor)),
            "the average",
        )
    }

    /// Continues from a checkpoint.
    pub fn restore(
        config: EmaConfig,
        state: &StateDict,
        device: &Device,
    ) -> coca_model::Result<Self> {
        let names = state.iter().map(|(name, _)| name.to_string());
        let average = names.map(|name| {
            let tensor = restored(state, &name, device)?;
            Ok((name, tensor))
        });
        Ok(Self {
            config,
            average: average.collect::<coca_model::Result<_>>()?,
        })
    }
}
