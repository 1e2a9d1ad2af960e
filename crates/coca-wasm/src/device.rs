//! Where the model runs.

use burn::tensor::Device;
use wasm_bindgen::prelude::*;

use crate::error::CodedError;
#[cfg(feature = "webgpu")]
use crate::{gpu, self_check::largest_difference, turns::with_turns};

/// A device, started once for a worker.
#[wasm_bindgen]
#[derive(Debug)]
pub struct CocaDevice {
    device: Device,
    #[cfg(feature = "webgpu")]
    webgpu: bool,
}

#[wasm_bindgen]
impl CocaDevice {
    /// Starts `"webgpu"` or `"cpu"`.
    pub async fn open(kind: String) -> Result<CocaDevice, JsValue> {
        match kind.as_str() {
            #[cfg(feature = "webgpu")]
            "webgpu" => Ok(Self {
                device: gpu::open().await?,
                webgpu: true,
            }),
            #[cfg(not(feature = "webgpu"))]
            "webgpu" => {
                let message = "this wasm was built for the CPU alone; WebGPU needs coca_bg.wasm";
                Err(CodedError::new("webgpu-unavailable", message).into())
            }
            "cpu" => Ok(Self {
                device: Device::flex(),
                #[cfg(feature = "webgpu")]
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
        #[cfg(feature = "webgpu")]
        if self.webgpu {
            let difference = with_turns(largest_difference(&self.device)).await;
            return Ok(difference.map_err(CodedError::from)?);
        }
        Ok(0.0)
    }
}

impl CocaDevice {
    /// Whether tensors lie outside the memory of the wasm.
    pub(crate) fn has_own_memory(&self) -> bool {
        #[cfg(feature = "webgpu")]
        return self.webgpu;
        #[cfg(not(feature = "webgpu"))]
        false
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }
}
