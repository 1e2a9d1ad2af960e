//! The device that COCA_TEST_DEVICE names.

use burn::tensor::Device;

/// The device to test, with or without the kernels.
pub fn device() -> Device {
    #[cfg(any(feature = "wgpu", feature = "vulkan"))]
    coca_kernels::gpu::enable(std::env::var("COCA_TEST_KERNELS").as_deref() != Ok("off"));
    #[cfg(any(feature = "wgpu", feature = "vulkan"))]
    coca_kernels::gpu::choose(match std::env::var("COCA_TEST_FORMS").as_deref() {
        Ok("software") => coca_kernels::gpu::Forms::Software,
        Ok("hardware") => coca_kernels::gpu::Forms::Hardware,
        _ => coca_kernels::gpu::Forms::OfDevice,
    });
    match std::env::var("COCA_TEST_DEVICE")
        .as_deref()
        .unwrap_or("flex")
    {
        "flex" => Device::flex(),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(Default::default()),
        #[cfg(feature = "vulkan")]
        "vulkan" => Device::vulkan(Default::default()),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(0),
        other => {
            panic!("COCA_TEST_DEVICE is {other}: unknown, or its cargo feature is not enabled")
        }
    }
}
