//! `cargo xtask bench`

mod data;
mod dawn;
mod kernels;
mod page;
mod train;
mod tune;
mod web;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::project::Project;
use crate::{browser, command};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Calls of each kind; the median is reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    /// Instead, load models of the published sizes, with random weights, in Chromium on the CPU, and check that they
    /// answer and how much memory they take (needs 12 GB of memory and 2 GB of disk)
    #[arg(long)]
    large: bool,
    /// Instead, load and dispose of the shipped model so many times in Chromium, and check that the memory in use is
    /// where it was
    #[arg(long, value_name = "TIMES", conflicts_with = "large")]
    loads: Option<u32>,
}

#[derive(Subcommand)]
enum What {
    /// Time training steps beside open_clip's on PyTorch, if PYTHON (or python3) has it
    Train(train::Options),
    /// Time the loading of training data beside webdataset and torchvision
    Data(data::Options),
    /// Time the package on the CPU beside ONNX Runtime in the same Chromium, one thread each
    Web(web::Options),
    /// Time the package on WebGPU beside ONNX Runtime's WebGPU provider in the same Chromium
    Webgpu(web::Options),
    /// Time the package in Node.js on native WebGPU (Dawn), which also runs where there is no browser
    Dawn(dawn::Options),
    /// Ask Lighthouse about the demo page, as a phone and as a desktop see it
    Page,
    /// Time the parts of a model natively on wgpu, with the GPU kernels and without
    Kernels(kernels::Options),
    /// Time the ways to divide the work of a product on the GPU, from which those that the kernels use were chosen
    Tune(tune::Options),
}

/// The models of `--large`: preset and type of weights.
const LARGE: [(&str, &str); 2] = [("coca_ViT-B-32", "q8"), ("coca_ViT-L-14", "q4")];

/// Runs a benchmark; without a name it times loading and each task in Chromium, on the CPU and on WebGPU, and prints a
/// line for each device.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    match &options.what {
        Some(What::Train(options)) => return train::run(project, options),
        Some(What::Data(options)) => return data::run(project, options),
        Some(What::Web(options)) => {
            return web::run(project, options, web::Device::Cpu);
        }
        Some(What::Webgpu(options)) => {
            return web::run(project, options, web::Device::WebGpu);
        }
        Some(What::Dawn(options)) => return dawn::run(project, options),
        Some(What::Page) => return page::run(project),
        Some(What::Kernels(options)) => return kernels::run(project, options),
        Some(What::Tune(options)) => return tune::run(project, options),
        None => {}
    }
    if options.large {
        return large(project);
    }
    if let Some(loads) = options.loads {
        return command::run(
            browser::script(project, "loads")?.env("COCA_LOADS", loads.to_string()),
        );
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
