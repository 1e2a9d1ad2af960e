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
    /// Type of the weights
    #[arg(long, default_value = "f32", value_parser = ["f32", "f16", "q8", "q4"])]
    dtype: String,
    /// The image encoder, or all parts
    #[arg(long, default_value = "all", value_parser = ["all", "image"])]
    only: String,
    /// Instead burn's own kernels in SPIR-V, which it chooses by timing them: minutes before the first result
    #[arg(long, conflicts_with = "kernels")]
    burn: bool,
    /// Also list the kernels that were started
    #[arg(long)]
    names: bool,
}

/// Times image encoder, text encoder and a step of decoding. VK_DRIVER_FILES names another Vulkan driver than the
/// system's, such as one that computes on the CPU.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    if options.burn {
        // Another set of burn's features: in a folder of its own, so that the one of the tests stays as it is.
        let folder = project.target().join("bench-burn");
        let build = "build --release --package coca-golden --features vulkan --example kernels";
        command::run(tools::cargo(project, build).env("CARGO_TARGET_DIR", &folder))?;
        let mut bench = std::process::Command::new(folder.join("release/examples/kernels"));
        bench.args([&options.preset, "off", &options.dtype, &options.only]);
        return command::run(bench.args(options.names.then_some("names")));
    }
    // With `--workspace` cargo unifies features as the tests do, so burn is not compiled a second time.
    let build = "build --release --workspace --features coca-golden/wgpu --example kernels";
    command::run(&mut tools::cargo(project, build))?;
    let mut bench = std::process::Command::new(project.target().join("release/examples/kernels"));
    bench.args([
        &options.preset,
        &options.kernels,
        &options.dtype,
        &options.only,
    ]);
    command::run(bench.args(options.names.then_some("names")))
}
