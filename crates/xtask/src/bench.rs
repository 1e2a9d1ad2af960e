//! `cargo xtask bench`

use anyhow::Result;
use clap::Args;

use crate::project::Project;
use crate::{browser, command};

#[derive(Args)]
pub struct Options {
    /// Calls of each kind; the median is reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
}

/// Times loading and each task in Chromium, on the CPU and on WebGPU; prints a line for each device.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    command::run(browser::script(project, "bench")?.env("COCA_CALLS", options.calls.to_string()))
}
