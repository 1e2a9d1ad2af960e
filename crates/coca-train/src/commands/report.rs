//! `coca-train report`: the report of a run.

use std::path::PathBuf;

use anyhow::Result;

use super::output;
use crate::observe::write_report;

/// Rebuild report.html of a training run from its metrics.jsonl, run.json and pictures.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The `output` of the training configuration.
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Print a JSON object with the report's path.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let report = write_report(&args.run)?;
    if args.json {
        return output::json(&serde_json::json!({ "report": report }));
    }
    output::line(report.display())
}
