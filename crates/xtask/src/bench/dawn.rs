//! `cargo xtask bench dawn`: the package in Node.js on native WebGPU.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use super::web::{convert, link};
use crate::project::Project;
use crate::{browser, command, package, tools};

#[derive(Args)]
pub struct Options {
    /// Calls of each kind after the first; the best and the median are reported
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only the models whose name, such as `coca_tiny` or `B32-q8`, contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Also count the calls of WebGPU that a token takes, and the time spent waiting for the GPU
    #[arg(long)]
    counts: bool,
    /// An option of Dawn, such as `backend=vulkan` (repeatable)
    #[arg(long, value_name = "OPTION")]
    dawn: Vec<String>,
}

/// The model of the published shape, in each type of weights.
const LARGE: [(&str, &str); 3] = [("B32", "f16"), ("B32-q8", "q8"), ("B32-q4", "q4")];

/// Times image encoder, text encoder and captions, prints a table, and writes it to `target/bench-dawn.md` and `.json`.
/// VK_DRIVER_FILES names another Vulkan driver than the system's, such as one that computes on the CPU.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let tarball = package::build(project)?.tarball;
    browser::build_native(project)?;
    let folder = project.path("tests/dawn");
    tools::install_node_modules(project, &folder, &[tarball])?;
    let models = project.target().join("bench-web/models");
    link(&project.model(), &models.join("coca_tiny"))?;
    // All from the same numbers.
    let random = Path::new("random:coca_ViT-B-32").to_path_buf();
    let wide = models.join(LARGE[0].0);
    for (name, dtype) in LARGE {
        let out = models.join(name);
        convert(
            project,
            if out == wide { &random } else { &wide },
            dtype,
            &out,
        )?;
    }
    let mut node = Command::new("node");
    node.arg("run.mjs")
        .current_dir(&folder)
        .arg("--models")
        .arg(&models)
        .args(["--only", &options.only])
        .args(["--rounds", &options.rounds.to_string()])
        .args(options.counts.then_some("--counts"))
        .args(options.dawn.iter().flat_map(|option| ["--dawn", option]))
        .arg("--out")
        .arg(project.target().join("bench-dawn"));
    command::run(&mut node)
}
