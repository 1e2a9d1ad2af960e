//! `cargo xtask bench`

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::project::Project;
use crate::{bench_data, browser, command};

#[derive(Args)]
pub struct Options {
    /// What to time
    #[arg(value_enum, default_value_t = Target::Browser)]
    target: Target,
    #[command(flatten)]
    data: bench_data::Options,
    /// Calls of each kind; the median is reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// Loading and each task in Chromium, on the CPU and on WebGPU; a line for each device
    Browser,
    /// Loading of training data, beside webdataset and torchvision
    Data,
}

/// Runs the benchmark.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    if let Target::Data = options.target {
        return bench_data::run(project, &options.data);
    }
    command::run(browser::script(project, "bench")?.env("COCA_CALLS", options.calls.to_string()))
}
