//! `cargo xtask bench train`: training steps of `coca-train` beside open_clip's on PyTorch.

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use std::process::Command;

use crate::project::Project;
use crate::{browser, command, tools};

#[derive(Args)]
pub struct Options {
    /// How often each side is timed, in turn: what else the machine does meets both
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Threads of each side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// One comparison.
struct Case {
    name: &'static str,
    /// A name that both sides know, or a file of the project.
    config: &'static str,
    batch: u32,
    steps: u32,
}

const CASES: &[Case] = &[
    Case {
        name: "small (10.5 M), batch 16",
        config: "tests/python/bench_small.json",
        batch: 16,
        steps: 7,
    },
    Case {
        name: "small (10.5 M), batch 64",
        config: "tests/python/bench_small.json",
        batch: 64,
        steps: 4,
    },
    Case {
        name: "coca_ViT-B-32 (253 M), batch 8",
        config: "coca_ViT-B-32",
        batch: 8,
        steps: 2,
    },
];

/// What either side prints.
#[derive(Deserialize)]
struct Report {
    parameters: usize,
    seconds: Vec<f64>,
    versions: Option<String>,
}

/// Prints a line for each case: samples a second of both sides, and their ratio.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    browser::build_native(project)?;
    let peer = has_peer();
    if !peer {
        eprintln!(
            "no Python with open_clip (pip install open_clip_torch==3.3.0; PYTHON names one): \
             only coca-train is timed, there is nothing to compare it with"
        );
    }
    let mut versions = None;
    for case in CASES
        .iter()
        .filter(|case| case.name.contains(&options.only))
    {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let mut command = Command::new(project.coca_train());
            let own = time(project, command.arg("bench"), case, options.threads)?;
            ours.extend(&own.seconds);
            if peer {
                let mut command = tools::python();
                let script = project.path("tests/python/bench_train.py");
                let other = time(project, command.arg(script), case, options.threads)?;
                if other.parameters != own.parameters {
                    bail!(
                        "the sides time different models: {} and {} parameters",
                        own.parameters,
                        other.parameters
                    );
                }
                theirs.extend(&other.seconds);
                versions = other.versions.or(versions);
            }
        }
        println!("{}", line(case, &mut ours, &mut theirs));
    }
    if let Some(versions) = versions {
        println!(
            "AdamW steps in 32-bit floats on {} threads each; the peer is {versions}",
            options.threads
        );
    }
    Ok(())
}

fn has_peer() -> bool {
    command::capture(tools::python().args(["-c", "import open_clip, torch"])).is_ok()
}

fn time(project: &Project, command: &mut Command, case: &Case, threads: u32) -> Result<Report> {
    let config = project.path(case.config);
    let printed = command::capture(
        command
            .arg("--config")
            .arg(if config.is_file() {
                config.as_os_str()
            } else {
                case.config.as_ref()
            })
            .args(["--batch", &case.batch.to_string()])
            .args(["--steps", &case.steps.to_string()])
            .args(["--threads", &threads.to_string()]),
    )?;
    serde_json::from_str(&printed).with_context(|| format!("no report in `{printed}`"))
}

fn line(case: &Case, ours: &mut [f64], theirs: &mut [f64]) -> String {
    let rate = |seconds: f64| f64::from(case.batch) / seconds;
    let own = median(ours).map_or(f64::NAN, rate);
    let name = format!("{}: coca-train {own:.2} samples/s", case.name);
    match median(theirs).map(rate) {
        Some(other) => format!("{name}, open_clip {other:.2}, ratio {:.2}", own / other),
        None => name,
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_line_compares_or_says_only_its_own() {
        let case = &CASES[0];
        assert_eq!(
            line(case, &mut [0.5], &mut [1.0]),
            "small (10.5 M), batch 16: coca-train 32.00 samples/s, open_clip 16.00, ratio 2.00"
        );
        assert_eq!(
            line(case, &mut [0.5], &mut []),
            "small (10.5 M), batch 16: coca-train 32.00 samples/s"
        );
    }
}
