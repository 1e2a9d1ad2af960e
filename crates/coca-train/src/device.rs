//! The devices this build can compute on.

use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::ValueEnum;

/// A kind of device, each a cargo feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// The CPU.
    Flex,
    /// NVIDIA GPUs.
    Cuda,
    /// GPUs through Vulkan.
    Vulkan,
    /// Apple GPUs.
    Metal,
}

impl DeviceKind {
    /// The kinds in this build, best first.
    const BUILT: &[Self] = &[
        #[cfg(feature = "cuda")]
        Self::Cuda,
        #[cfg(feature = "metal")]
        Self::Metal,
        #[cfg(feature = "vulkan")]
        Self::Vulkan,
        #[cfg(feature = "flex")]
        Self::Flex,
    ];

    /// The device of the wanted kind, or of the best one.
    pub fn open(wanted: Option<Self>) -> Result<Device> {
        Self::open_at(wanted, 0)
    }

    /// The first `count` devices of the wanted kind, or of the best one.
    ///
    /// # Errors
    /// The kind has only one, or is not in this build.
    pub fn open_several(wanted: Option<Self>, count: usize) -> Result<Vec<Device>> {
        let kind = wanted.or(Self::BUILT.first().copied());
        if count > 1 && kind == Some(Self::Flex) {
            bail!(
                "devices = {count}: the CPU is one device; set `threads` to share batches between cores"
            );
        }
        (0..count).map(|at| Self::open_at(wanted, at)).collect()
    }

    /// Whether these are the first devices of CUDA, as [`Self::open_several`] opens them.
    pub fn are_cuda(devices: &[Device]) -> bool {
        #[cfg(feature = "cuda")]
        return devices
            .iter()
            .enumerate()
            .all(|(at, device)| *device == Device::cuda(at));
        #[cfg(not(feature = "cuda"))]
        devices.is_empty()
    }

    #[cfg_attr(
        not(any(feature = "cuda", feature = "vulkan", feature = "metal")),
        expect(unused_variables, reason = "the CPU is one device")
    )]
    fn open_at(wanted: Option<Self>, at: usize) -> Result<Device> {
        let Some(kind) = wanted.or(Self::BUILT.first().copied()) else {
            bail!("this build has no device; build with --features flex, cuda, vulkan or metal");
        };
        match kind {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(at)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Ok(Device::vulkan(gpu(at))),
            #[cfg(feature = "metal")]
            Self::Metal => Ok(Device::metal(gpu(at))),
            #[allow(
                unreachable_patterns,
                reason = "with every feature on, all kinds are handled above"
            )]
            other => bail!(
                "this build has no {other:?} device; it has {:?}. Build with --features {}",
                Self::BUILT,
                format!("{other:?}").to_lowercase()
            ),
        }
    }
}

/// The GPU number `at`; the first is the one that the system prefers.
#[cfg(any(feature = "vulkan", feature = "metal"))]
fn gpu(at: usize) -> burn::tensor::DeviceKind {
    match at {
        0 => burn::tensor::DeviceKind::DefaultDevice,
        at => burn::tensor::DeviceKind::DiscreteGpu(at),
    }
}
