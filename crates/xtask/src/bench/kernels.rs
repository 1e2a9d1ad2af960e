//! `cargo xtask bench kernels`: the GPU kernels beside burn's own operations, natively on wgpu.

use anyhow::Result;
use clap::Args;

use crate::project::Project;
use crate::{command, tools};

#[derive(Args)]
pub struct Options {
    /// The shape of the model; its weights are random
    #[arg(long, default_value = "coca_ViT-B-32")]
    preset: String,
    /// With our kernels (on), composed of burn's (off), or both
    #[arg(long, default_value = "both", value_parser = ["on", "off", "both"])]
    kernels: String,
    /// Also list the kernels that were started
    #[arg(long)]
    names: bool,
}

/// Times image encoder, text encoder and a step of decoding. VK_DRIVER_FILES names another Vulkan driver than the
/// system's, such as one that computes on the CPU.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    // With `--workspace` cargo unifies features as the tests do, so burn is not compiled a second time.
    let build = "build --release --workspace --features coca-golden/wgpu --example kernels";
    command::run(&mut tools::cargo(project, build))?;
    let mut bench = std::process::Command::new(project.target().join("release/examples/kernels"));
    bench.args([&options.preset, &options.kernels]);
    command::run(bench.args(options.names.then_some("names")))
}
