//! `cargo xtask bench`

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::project::Project;
use crate::{bench_train, browser, command};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Calls of each kind; the median is reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
}

#[derive(Subcommand)]
enum What {
    /// Time training steps beside open_clip's on PyTorch, if PYTHON (or python3) has it
    Train(bench_train::Options),
}

/// Times training, or loading and each task in Chromium, on the CPU and on WebGPU; prints a line for each device.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    if let Some(What::Train(options)) = &options.what {
        return bench_train::run(project, options);
    }
    command::run(browser::script(project, "bench")?.env("COCA_CALLS", options.calls.to_string()))
}
