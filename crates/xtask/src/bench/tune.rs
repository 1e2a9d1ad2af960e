//! `cargo xtask bench tune`: the ways to divide the work of a product, timed on the GPU.

use anyhow::Result;
use clap::Args;

use crate::project::Project;
use crate::{command, tools};

#[derive(Args)]
pub struct Options {
    /// The model whose products are timed
    #[arg(long, default_value = "coca_ViT-B-32")]
    preset: String,
    /// Print all of them, not only the best and the chosen one
    #[arg(long)]
    all: bool,
    /// Only products with this extent: rows, columns or what is summed over
    #[arg(long, value_name = "EXTENT")]
    only: Option<usize>,
}

/// Prints the times beside what the GPU reads in a second. VK_DRIVER_FILES names another Vulkan driver than the system's.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let build = "build --release --workspace --features coca-golden/wgpu --example tune";
    command::run(&mut tools::cargo(project, build))?;
    let mut bench = std::process::Command::new(project.target().join("release/examples/tune"));
    bench.args([
        &options.preset[..],
        if options.all { "all" } else { "best" },
    ]);
    command::run(bench.args(options.only.map(|extent| extent.to_string())))
}
