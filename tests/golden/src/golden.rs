//! A golden file pair: `NAME.json` and `NAME.safetensors`.

use burn::tensor::{Device, Int, Tensor, TensorData};
use coca_model::{
    Coca, ModelConfig,
    weights::{Dtype, LoadOptions, StateDict, load},
};
use serde_json::Value;

use crate::Outcome;

/// Configuration, weights, inputs and expected outputs of one model.
pub struct Golden {
    /// The JSON file: `config`, scalar losses, calls.
    pub meta: Value,
    tensors: StateDict,
}

impl Golden {
    /// Parses the two files.
    pub fn new(json: &[u8], safetensors: Vec<u8>) -> Outcome<Self> {
        Ok(Self {
            meta: serde_json::from_slice(json).map_err(|error| error.to_string())?,
            tensors: StateDict::from_safetensors(safetensors).map_err(|error| error.to_string())?,
        })
    }

    /// The model with the file's weights (`w.*`).
    pub fn model(&self, device: &Device) -> Outcome<Coca> {
        self.model_as(None, false, device)
    }

    /// The model with the file's weights as another type, which stay [as they are](LoadOptions::keep_dtype) or are
    /// widened.
    pub fn model_as(&self, dtype: Option<Dtype>, keep: bool, device: &Device) -> Outcome<Coca> {
        let config = self.config()?;
        let mut weights = StateDict::new();
        for (name, tensor) in self.tensors.iter() {
            if let Some(name) = name.strip_prefix("w.") {
                weights.insert(name, tensor.clone());
            }
        }
        if let Some(dtype) = dtype {
            weights = weights.to_dtype(dtype).map_err(|error| error.to_string())?;
        }
        let [rows, columns] = config.vision_cfg.grid();
        let model = Coca::new(&config, device).map_err(|error| error.to_string())?;
        let options = LoadOptions {
            grid: Some((rows, columns)),
            keep_dtype: keep,
        };
        load(model, &weights, &options).map_err(|error| error.to_string())
    }

    /// The model's configuration.
    pub fn config(&self) -> Outcome<ModelConfig> {
        let config = serde_json::to_vec(&self.meta["config"]).map_err(|error| error.to_string())?;
        ModelConfig::from_json(&config).map_err(|error| error.to_string())
    }

    /// A scalar of the JSON file.
    pub fn scalar(&self, name: &str) -> Outcome<f32> {
        self.meta[name]
            .as_f64()
            .map(|value| value as f32)
            .ok_or_else(|| format!("no number `{name}`"))
    }

    /// Shape and values of a float tensor.
    pub fn f32(&self, name: &str) -> Outcome<(Vec<usize>, Vec<f32>)> {
        self.tensors
            .get_f32(name)
            .map_err(|error| error.to_string())
    }

    /// Whether the file has a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.get(name).is_some()
    }

    /// A float tensor on the device.
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Outcome<Tensor<D>> {
        let (shape, values) = self.f32(name)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// A matrix of token ids: its rows.
    pub fn ids(&self, name: &str) -> Outcome<Vec<Vec<u32>>> {
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| format!("no tensor `{name}`"))?;
        let values: Vec<u32> = entry
            .bytes()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|&bytes| i64::from_le_bytes(bytes) as u32)
            .collect();
        let columns = entry.shape().last().copied().unwrap_or(1);
        Ok(values.chunks(columns).map(<[u32]>::to_vec).collect())
    }
}

/// Rows of token ids on the device.
pub(crate) fn id_tensor(rows: &[Vec<u32>], device: &Device) -> Tensor<2, Int> {
    let columns = rows.first().map_or(0, Vec::len);
    let ids: Vec<i32> = rows.iter().flatten().map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(ids, [rows.len(), columns]), device)
}
