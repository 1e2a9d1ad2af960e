//! `cargo xtask`: the project's set-up and chores. Each command sets up what it needs on a machine that has only
//! Rust and Node.js.

mod bench;
mod browser;
mod command;
mod demo;
mod package;
mod project;
mod relaxed;
mod serve;
mod stamp;
mod test;
mod tools;
mod wasm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use project::Project;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Set-up and chores of coca-wasm",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the npm package and the demo page, and serve the page on this machine until Ctrl-C
    Demo(demo::Options),
    /// Run every check and test, with a summary at the end
    Test(test::Options),
    /// Build target/npm/coca-wasm-VERSION.tgz and the demo page target/www
    Package,
    /// Time the package in Chromium, alone or beside ONNX Runtime (`bench web`, `bench webgpu`), or in Node.js on native
    /// WebGPU (`bench dawn`), training steps (`bench train`), the loading of data (`bench data`), GPU kernels
    /// (`bench kernels`, `bench tune`); audit the page (`bench page`)
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let project = Project::find()?;
    match cli.task {
        Task::Demo(options) => demo::run(&project, &options)?,
        Task::Test(options) => return test::run(&project, &options),
        Task::Package => {
            let package = package::build(&project)?;
            println!("{}\n{}", package.tarball.display(), package.page.display());
        }
        Task::Bench(options) => bench::run(&project, &options)?,
    }
    Ok(ExitCode::SUCCESS)
}
