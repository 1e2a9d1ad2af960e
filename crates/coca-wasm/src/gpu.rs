//! The GPU device: made here and handed to burn, so that what happens to it is heard.

use std::sync::Arc;

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuSetup, wgpu};

use crate::error::CodedError;
use crate::hooks::device_failed;

/// Asks the browser for its fastest GPU and starts burn on it.
///
/// The device that this returns must be cloned wherever one is needed: asking burn for another, even for the default
/// one, would start it synchronously, which panics in a browser.
pub async fn open() -> Result<Device, CodedError> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::BROWSER_WEBGPU,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapter = instance
        .request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        })
        .await
        .map_err(|error| unavailable(format!("WebGPU gave no adapter: {error}")))?;
    if !adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        // burn times its kernels with it, and panics where it cannot.
        return Err(unavailable(
            "the WebGPU adapter lacks the feature timestamp-query, which the runtime needs",
        ));
    }
    let (device, queue) = adapter
        .request_device(&wgpu::DeviceDescriptor {
            label: Some("coca-wasm"),
            // What burn asks for when it makes a device itself: all that there is, to choose its kernels from.
            required_features: adapter
                .features()
                .difference(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS),
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        })
        .await
        .map_err(|error| unavailable(format!("WebGPU gave no device: {error}")))?;
    let setup = WgpuSetup {
        instance,
        adapter,
        device: device.clone(),
        queue,
        backend: wgpu::Backend::BrowserWebGpu,
    };
    let burn = Device::wgpu_options()
        .setup(setup)
        .init()
        .map_err(unavailable)?;
    watch(&device);
    Ok(burn)
}

/// To be called after burn has taken the device: its own handler of uncaptured errors panics, and there is only one.
fn watch(device: &wgpu::Device) {
    device.set_device_lost_callback(|reason, message| {
        device_failed(CodedError::new(
            "device-lost",
            format!("the GPU device was lost ({reason:?}): {message}"),
        ));
    });
    device.on_uncaptured_error(Arc::new(|error| {
        device_failed(match error {
            wgpu::Error::OutOfMemory { .. } => CodedError::new(
                "out-of-memory",
                format!("the GPU has not enough memory: {error}"),
            ),
            _ => CodedError::new(
                "webgpu-failed",
                format!("the GPU reported an error: {error}"),
            ),
        });
    }));
}

fn unavailable(message: impl ToString) -> CodedError {
    CodedError::new("webgpu-unavailable", message)
}
