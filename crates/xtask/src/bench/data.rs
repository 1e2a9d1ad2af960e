//! `cargo xtask bench data`

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::project::Project;
use crate::{browser, command, tools};

#[derive(Args)]
pub struct Options {
    /// Webdataset shards to load, a file or a brace pattern
    #[arg(long, value_name = "SPEC")]
    shards: Option<String>,
    /// How many samples to load
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Side of the model's image in pixels
    #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u32).range(1..))]
    image_size: u32,
}

/// Times our loader and webdataset's on the same shards, one thread each, where Python has the packages.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    const NOT_INSTALLED: i32 = 77;
    let Some(shards) = &options.shards else {
        bail!("name the shards to load with --shards");
    };
    let (samples, size) = (options.samples.to_string(), options.image_size.to_string());
    let common = ["--samples", &samples, "--image-size", &size];
    browser::build_native(project)?;
    let mut ours = std::process::Command::new(project.coca_train());
    ours.args(["data", "bench", shards, "--workers", "1"])
        .args(common);
    command::run(&mut ours)?;
    let mut theirs = tools::python();
    theirs
        .arg(project.path("tests/python/loader_benchmark.py"))
        .args(["--shards", shards])
        .args(common);
    match command::status(&mut theirs).context("timing webdataset")? {
        0 => Ok(()),
        NOT_INSTALLED => {
            println!("webdataset: skipped, see above (PYTHON names another Python)");
            Ok(())
        }
        code => bail!("the Python benchmark ended with exit code {code}"),
    }
}
