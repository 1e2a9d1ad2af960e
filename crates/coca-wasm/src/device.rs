//! Where the model runs.

use burn::tensor::Device;
use wasm_bindgen::prelude::*;

use crate::error::CodedError;
use crate::self_check::largest_difference;
use crate::turns::with_turns;

/// A device, started once for a worker.
#[wasm_bindgen]
#[derive(Debug)]
pub struct CocaDevice {
    device: Device,
    webgpu: bool,
}

#[wasm_bindgen]
impl CocaDevice {
    /// Starts `"webgpu"` or `"cpu"`.
    pub async fn open(kind: String) -> Result<CocaDevice, JsValue> {
        match kind.as_str() {
            // The device that this returns must be cloned wherever one is needed: asking burn for another, even for
            // the default one, would start it synchronously, which panics in a browser.
            "webgpu" => match Device::wgpu_options().init_async().await {
                Ok(device) => Ok(Self {
                    device,
                    webgpu: true,
                }),
                Err(error) => Err(CodedError::new("webgpu-unavailable", error).into()),
            },
            "cpu" => Ok(Self {
                device: Device::flex(),
                webgpu: false,
            }),
            _ => Err(
                CodedError::new("invalid-argument", format!("there is no device {kind:?}")).into(),
            ),
        }
    }

    /// Computes a tiny model here and on the CPU and returns the largest difference of their results, relative to
    /// the largest result. Always 0 on the CPU.
    pub async fn check(&self) -> Result<f32, JsValue> {
        if !self.webgpu {
            return Ok(0.0);
        }
        Ok(with_turns(largest_difference(&self.device))
            .await
            .map_err(CodedError::from)?)
    }
}

impl CocaDevice {
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }
}
