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
        let Some(kind) = wanted.or(Self::BUILT.first().copied()) else {
            bail!("this build has no device; build with --features flex, cuda, vulkan or metal");
        };
        match kind {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Ok(Device::vulkan(Default::default())),
            #[cfg(feature = "metal")]
            Self::Metal => Ok(Device::metal(Default::default())),
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
