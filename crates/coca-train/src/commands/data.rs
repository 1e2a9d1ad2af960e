//! `coca-train data`: look at data sets, pack them, and time their loading.

mod bench;
mod check;
mod inspection;
mod pack;
mod report;
mod sheet;
mod sources;

use anyhow::Result;
use clap::Subcommand;

/// Check data sets, pack them into shards, and time their loading.
///
/// A SPEC is a shard, a brace pattern such as train-{00000..00031}.tar, a folder of shards, a folder with a subfolder
/// of images for each class, a .csv, .tsv, .jsonl or .parquet file, or a .toml configuration, of which all [[data]]
/// tables are meant.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Check(check::Args),
    Pack(pack::Args),
    Bench(bench::Args),
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Check(args) => check::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Bench(args) => bench::run(args),
    }
}
