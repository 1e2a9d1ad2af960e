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
    /// Instead, load models of the published sizes, with random weights, in Chromium on the CPU, and check that they
    /// answer and how much memory they take (needs 12 GB of memory and 2 GB of disk)
    #[arg(long)]
    large: bool,
}

/// The models of `--large`: preset and type of weights.
const LARGE: [(&str, &str); 2] = [("coca_ViT-B-32", "q8"), ("coca_ViT-L-14", "q4")];

/// Times loading and each task in Chromium, on the CPU and on WebGPU; prints a line for each device.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    if options.large {
        return large(project);
    }
    command::run(browser::script(project, "bench")?.env("COCA_CALLS", options.calls.to_string()))
}

fn large(project: &Project) -> Result<()> {
    let mut tests = browser::script(project, "large")?;
    let folder = project.target().join("large");
    for (preset, dtype) in LARGE {
        let model = folder.join("models").join(format!("{preset}-{dtype}"));
        if model.join("coca.json").is_file() {
            continue;
        }
        let mut convert = std::process::Command::new(project.coca_train());
        convert
            .arg("convert")
            .arg(format!("random:{preset}"))
            .arg(&model);
        command::run(convert.args(["--dtype", dtype]))?;
    }
    command::run(tests.env("COCA_LARGE", folder))
}
