//! `coca-train`: train, evaluate, convert and run CoCa models.

mod data;
mod device;
mod folder;
mod memory;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::device::DeviceKind;

/// Train, evaluate, convert and run CoCa models.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Where to compute; the best that this build has if not given.
    #[arg(long, global = true)]
    device: Option<DeviceKind>,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model.
    Train {
        /// The training configuration.
        config: PathBuf,
        /// Continue from the last checkpoint.
        #[arg(long)]
        resume: bool,
        /// Change a field of the configuration, for example `optimizer.learning_rate=1e-3`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        changes: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let device = DeviceKind::open(cli.device)?;
    match cli.command {
        Command::Train { config, resume, changes } => {
            let (config, base) = train::TrainConfig::read(&config, &changes)?;
            if config.threads > 1 {
                // The threads are busy already; burn's own would only get in their way.
                rayon::ThreadPoolBuilder::new().num_threads(1).build_global().context("setting up threads")?;
            }
            memory::keep_freed();
            let stop = Arc::new(AtomicBool::new(false));
            let signal = Arc::clone(&stop);
            ctrlc::set_handler(move || {
                // A second Ctrl-C does not wait for the checkpoint.
                if signal.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
                eprintln!("stopping after this step and saving; press Ctrl-C again to quit at once");
            })
            .context("catching Ctrl-C")?;
            match train::train(&config, &base, &device, resume, &stop)? {
                train::Outcome::Finished(model) => eprintln!("the model is in {}", model.display()),
                train::Outcome::Interrupted(step) => eprintln!("saved step {step}; continue with --resume"),
            }
            Ok(())
        }
    }
}
