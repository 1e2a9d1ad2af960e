//! The checks for a page: `tests/browser` compiles this crate to wasm and runs them in Chromium.

use burn::tensor::Device;
use wasm_bindgen::prelude::*;

use crate::{
    Golden, Outcome, attentions, cached_attentions, cached_equals_uncached, generated_ids,
    largest_of_rows, layer_norms, lookups, losses, normalised_products, outputs,
    outputs_in_fewer_bits, products, quantised_products,
};

/// Switches the kernels of the GPU on (as they are at the start) or off.
#[wasm_bindgen]
pub fn use_kernels(on: bool) {
    coca_kernels::gpu::enable(on);
}

/// Divides the kernels' work as for a GPU (true) or for a device that computes on a CPU, whatever the device is.
#[wasm_bindgen]
pub fn use_forms_of_gpus(gpu: bool) {
    coca_kernels::gpu::choose(if gpu {
        coca_kernels::gpu::Forms::Hardware
    } else {
        coca_kernels::gpu::Forms::Software
    });
}

/// A device of the browser.
#[wasm_bindgen]
#[derive(Debug)]
pub struct GoldenDevice(Device);

#[wasm_bindgen]
impl GoldenDevice {
    /// Starts `"webgpu"` or `"cpu"`.
    pub async fn open(kind: String) -> Outcome<GoldenDevice> {
        // Panics say where they come from, as everywhere else.
        std::panic::set_hook(Box::new(|panic| {
            wasm_bindgen::throw_str(&panic.to_string())
        }));
        coca_kernels::gpu::run_constructors();
        match kind.as_str() {
            "webgpu" => Device::wgpu_options()
                .init_async()
                .await
                .map(Self)
                .map_err(|error| error.to_string()),
            "cpu" => Ok(Self(Device::flex())),
            _ => Err(format!("there is no device {kind:?}")),
        }
    }

    /// Runs the named checks of the device's kernels; gives the largest error.
    pub async fn kernels(&self, name: String) -> Outcome<f32> {
        let checked = match name.as_str() {
            "products" => products(&self.0).await,
            "quantised_products" => quantised_products(&self.0).await,
            "normalised_products" => normalised_products(&self.0).await,
            "cached_attentions" => cached_attentions(&self.0).await,
            "lookups" => lookups(&self.0).await,
            "largest" => largest_of_rows(&self.0).await,
            "layer_norms" => layer_norms(&self.0).await,
            "attentions" => attentions(&self.0).await,
            _ => Err(format!("there are no kernels {name:?}")),
        };
        checked.map(|checked| checked.error)
    }

    /// Runs `outputs`, `outputs_in_fewer_bits`, `losses`, `cached_equals_uncached`, `recorded_steps` or `generated_ids` on the two files of a model; gives the
    /// largest error, and for ids, which are equal or an error, the number of calls.
    pub async fn check(&self, name: String, json: Vec<u8>, weights: Vec<u8>) -> Outcome<f32> {
        let golden = Golden::new(&json, weights)?;
        match name.as_str() {
            "outputs" => outputs(&golden, &self.0).await,
            "outputs_in_fewer_bits" => outputs_in_fewer_bits(&golden, &self.0).await,
            "losses" => losses(&golden, &self.0).await,
            "cached_equals_uncached" => cached_equals_uncached(&golden, &self.0, false).await,
            "recorded_steps" => cached_equals_uncached(&golden, &self.0, true).await,
            "generated_ids" => generated_ids(&golden, &self.0)
                .await
                .map(|calls| calls as f32),
            _ => Err(format!("there is no check {name:?}")),
        }
    }
}
