//! `coca-train`: train, evaluate, convert and run CoCa models.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")
)]

mod commands;
mod data;
mod device;
mod disk;
mod eval;
mod folder;
mod hub;
mod memory;
mod observe;
mod parallel;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::commands::UsageError;
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
        /// Show the run on the whole terminal: curves, speed, sample captions.
        #[arg(long)]
        dashboard: bool,
    },
    Report(commands::report::Args),
    Eval(commands::eval::Args),
    Classify(commands::classify::Args),
    Caption(commands::caption::Args),
    Answer(commands::answer::Args),
    Embed(commands::embed::Args),
    Explain(commands::explain::Args),
    Convert(commands::convert::Args),
    Data(commands::data::Args),
    Info(commands::info::Args),
    #[command(hide = true)]
    Bench(commands::bench::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", commands::describe(&error));
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let device = DeviceKind::open(cli.device)?;
    match cli.command {
        Command::Train {
            config,
            resume,
            changes,
            dashboard,
        } => {
            let (mut config, base) = train::TrainConfig::read(&config, &changes)?;
            config.log.dashboard |= dashboard;
            if config.threads > 1 {
                // The threads are busy already; burn's own would only get in their way.
                parallel::one_thread_within()?;
            }
            memory::keep_freed();
            let devices = DeviceKind::open_several(cli.device, config.devices)?;
            let stop = Arc::new(AtomicBool::new(false));
            let signal = Arc::clone(&stop);
            ctrlc::set_handler(move || observe::interrupt(&signal)).context("catching Ctrl-C")?;
            match train::train(&config, &base, &devices, resume, &stop)? {
                train::Outcome::Finished(model) => eprintln!("the model is in {}", model.display()),
                train::Outcome::Interrupted(step) => {
                    eprintln!("saved step {step}; continue with --resume")
                }
            }
            Ok(())
        }
        Command::Eval(args) => commands::eval::run(&args, &device),
        Command::Classify(args) => commands::classify::run(&args, &device),
        Command::Caption(args) => commands::caption::run(&args, &device),
        Command::Answer(args) => commands::answer::run(&args, &device),
        Command::Embed(args) => commands::embed::run(&args, &device),
        Command::Explain(args) => commands::explain::run(&args, &device),
        Command::Convert(args) => commands::convert::run(&args, &device),
        Command::Data(args) => commands::data::run(&args),
        Command::Info(args) => commands::info::run(&args),
        Command::Bench(args) => commands::bench::run(&args, &device),
        Command::Report(args) => commands::report::run(&args),
    }
}
