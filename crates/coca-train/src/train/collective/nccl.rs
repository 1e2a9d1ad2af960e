//! burn's all-reduce.

use burn::tensor::distributed::{ReduceOperation, all_reduce};
use burn::tensor::{Device, Tensor};

use super::AllReduce;

/// On CUDA devices it is NCCL's; there is none on others.
#[derive(Debug)]
pub struct Nccl {
    devices: Vec<Device>,
}

impl Nccl {
    /// Between these devices, the ranks in their order.
    pub fn new(devices: Vec<Device>) -> Self {
        Self { devices }
    }

    /// Whether burn finds NCCL's library; an all-reduce without it panics.
    pub fn is_installed() -> bool {
        #[cfg(feature = "cuda")]
        return burn::cubecl::Device::cuda(0)
            .is_ok_and(|device| device.client().has_device_transport());
        #[cfg(not(feature = "cuda"))]
        false
    }
}

impl AllReduce for Nccl {
    fn sum(&self, _: usize, tensor: Tensor<1>) -> Tensor<1> {
        // Waits until the sum is under way, not until it is done: what uses it next is queued behind it.
        all_reduce(tensor, ReduceOperation::Sum, self.devices.clone()).resolve()
    }
}
