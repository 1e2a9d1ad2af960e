//! `cargo xtask test`: every check of the project, in one command.

use std::env::consts::OS;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::command::{run as run_command, status};
use crate::project::Project;
use crate::{browser, package, tools, wasm};

#[derive(Args)]
pub struct Options {
    /// Run only this step (may be given more than once)
    #[arg(long, value_name = "STEP", value_parser = PossibleValuesParser::new(STEPS.map(|step| step.name)))]
    only: Vec<String>,
    /// Leave out this step (may be given more than once)
    #[arg(long, value_name = "STEP", value_parser = PossibleValuesParser::new(STEPS.map(|step| step.name)))]
    skip: Vec<String>,
}

enum Outcome {
    Passed,
    /// With the reason.
    Skipped(String),
    /// With what went wrong.
    Failed(String),
}

#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    /// The step without which this one cannot pass.
    after: Option<&'static str>,
    run: fn(&Project) -> Result<Outcome>,
}

const STEPS: [Step; 7] = [
    Step::new("fmt", fmt),
    Step::new("clippy", clippy),
    Step::new("native", native),
    Step::new("package", build_package),
    Step::new("npm", npm).after("package"),
    Step::new("browser", browser).after("package"),
    Step::new("python", python),
];

impl Step {
    const fn new(name: &'static str, run: fn(&Project) -> Result<Outcome>) -> Self {
        Self {
            name,
            after: None,
            run,
        }
    }

    const fn after(mut self, needed: &'static str) -> Self {
        self.after = Some(needed);
        self
    }
}

/// Runs the chosen steps, the later ones also when an earlier one failed, and prints a summary on stdout.
pub fn run(project: &Project, options: &Options) -> Result<ExitCode> {
    let mut results: Vec<(&str, Outcome, Duration)> = Vec::new();
    for step in STEPS {
        let start = Instant::now();
        let outcome = if !options.chosen(step.name) {
            Outcome::Skipped("not chosen".into())
        } else if let Some(needed) = step.after.filter(|needed| failed(&results, needed)) {
            Outcome::Skipped(format!("{needed} failed"))
        } else {
            eprintln!("=== {}", step.name);
            (step.run)(project).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
        };
        results.push((step.name, outcome, start.elapsed()));
    }
    println!("{}", summary(&results));
    let good = STEPS.iter().all(|step| !failed(&results, step.name));
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn failed(results: &[(&str, Outcome, Duration)], step: &str) -> bool {
    let mut outcomes = results.iter().filter(|(name, ..)| *name == step);
    outcomes.any(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)))
}

impl Options {
    fn chosen(&self, step: &str) -> bool {
        (self.only.is_empty() || self.only.iter().any(|it| it == step))
            && !self.skip.iter().any(|it| it == step)
    }
}

/// One line per step, then the counts alone on a line.
fn summary(results: &[(&str, Outcome, Duration)]) -> String {
    let mut text = String::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, outcome, time) in results {
        let (count, word, reason) = match outcome {
            Outcome::Passed => (&mut passed, "passed", ""),
            Outcome::Failed(reason) => (&mut failed, "FAILED", reason.as_str()),
            Outcome::Skipped(reason) => (&mut skipped, "skipped", reason.as_str()),
        };
        *count += 1;
        let line = format!("{name:8} {word:8} {:6.1} s  {reason}", time.as_secs_f64());
        text += line.trim_end();
        text.push('\n');
    }
    text + &format!("{passed} passed, {failed} failed, {skipped} skipped")
}

fn fmt(project: &Project) -> Result<Outcome> {
    run_command(&mut tools::cargo(project, "fmt --all --check"))?;
    Ok(Outcome::Passed)
}

/// Lints everything, the code of the GPU backends and of the browser included.
fn clippy(project: &Project) -> Result<Outcome> {
    let gpu = match OS {
        "macos" => "coca-train/metal",
        _ => "coca-train/cuda,coca-train/vulkan",
    };
    let native = format!(
        "clippy --release --workspace --all-targets --features {gpu},coca-golden/wgpu -- -D warnings"
    );
    // The CUDA backend's build script fetches LLVM, which a check does not need; this variable keeps it from that.
    run_command(tools::cargo(project, &native).env("DOCS_RS", "1"))?;

    tools::add_wasm_target(project)?;
    let browser = "clippy --profile wasm --target wasm32-unknown-unknown \
                   --package coca-wasm --package coca-golden -- -D warnings";
    run_command(&mut tools::cargo(project, browser))?;
    Ok(Outcome::Passed)
}

fn native(project: &Project) -> Result<Outcome> {
    run_command(&mut tools::cargo(
        project,
        "test --release --workspace --no-fail-fast",
    ))?;
    Ok(Outcome::Passed)
}

fn build_package(project: &Project) -> Result<Outcome> {
    package::build(project)?;
    Ok(Outcome::Passed)
}

/// The unit and type tests of the package's and the page's TypeScript, and what publishing would complain about.
fn npm(project: &Project) -> Result<Outcome> {
    package::build(project)?;
    let sources = package::sources(project);
    run_command(tools::npm(&sources).arg("test"))?;
    run_command(tools::npm(&sources).args(["run", "check:package"]))?;
    let mut page = tools::npm(&project.path("www"));
    run_command(page.arg("test").env("CHROMIUM", tools::chromium()?))?;
    Ok(Outcome::Passed)
}

/// The packed package and the page in Chromium, against the native command; the golden checks there.
fn browser(project: &Project) -> Result<Outcome> {
    let mut tests = browser::script(project, "test")?;
    let module = wasm::compile(project, "coca-golden", "")?;
    let checks = project.target().join("golden");
    wasm::bind(project, &module, &checks, "coca_golden")?;
    tests.env("COCA_GOLDEN", checks);
    tests.env("COCA_GOLDEN_DATA", project.path("tests/golden/data"));
    run_command(&mut tests)?;
    Ok(Outcome::Passed)
}

/// What other programs make of our files, each where it is installed: model folders in open_clip, event files in
/// TensorBoard.
fn python(project: &Project) -> Result<Outcome> {
    const NOT_INSTALLED: i32 = 77;
    const INSTALL: &str =
        "pip install open_clip_torch==3.3.0 transformers tensorboard; PYTHON names one";
    let installed = |module: &str| {
        let mut check = tools::python();
        check
            .args(["-c", &format!("import {module}")])
            .stderr(std::process::Stdio::null());
        matches!(check.status(), Ok(status) if status.success())
    };
    let checks = [
        ("open_clip, transformers", "open_clip_parity.py", true),
        ("tensorboard", "tensorboard_events.py", false),
    ];
    let (checks, missing): (Vec<_>, Vec<_>) = checks
        .into_iter()
        .partition(|(module, ..)| installed(module));
    if checks.is_empty() {
        let reason = format!("no Python with open_clip or tensorboard ({INSTALL})");
        return Ok(Outcome::Skipped(reason));
    }
    for (module, script, _) in missing {
        eprintln!("skipped {script}: no Python with {module} ({INSTALL})");
    }
    browser::build_native(project)?;
    let mut unusable = Vec::new();
    for (module, script, needs_model) in checks {
        let mut command = tools::python();
        command
            .arg(project.path(&format!("tests/python/{script}")))
            .arg("--coca-train")
            .arg(project.coca_train());
        if needs_model {
            command.arg("--model").arg(project.model());
        }
        match status(&mut command)? {
            0 => {}
            NOT_INSTALLED => unusable.push(module),
            code => return Ok(Outcome::Failed(format!("{script}: exit code {code}"))),
        }
    }
    Ok(if unusable.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Skipped(format!(
            "{} not usable; see the messages above",
            unusable.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_ends_with_the_counts() {
        let results = [
            ("fmt", Outcome::Passed, Duration::from_millis(1250)),
            (
                "clippy",
                Outcome::Failed("exit code 1".into()),
                Duration::from_secs(100),
            ),
            (
                "python",
                Outcome::Skipped("no open_clip".into()),
                Duration::ZERO,
            ),
        ];
        let text = summary(&results);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "fmt      passed      1.2 s");
        assert_eq!(lines[1], "clippy   FAILED    100.0 s  exit code 1");
        assert_eq!(lines[2], "python   skipped     0.0 s  no open_clip");
        assert_eq!(lines[3], "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn steps_are_chosen_by_name() {
        let options = Options {
            only: vec!["fmt".into(), "npm".into()],
            skip: vec!["npm".into()],
        };
        assert!(options.chosen("fmt") && !options.chosen("npm") && !options.chosen("clippy"));
        assert!(
            Options {
                only: vec![],
                skip: vec![]
            }
            .chosen("clippy")
        );
    }

    #[test]
    fn a_step_comes_after_the_one_it_needs() {
        for (at, step) in STEPS.iter().enumerate() {
            assert!(
                step.after
                    .is_none_or(|needed| STEPS[..at].iter().any(|it| it.name == needed)),
                "{}",
                step.name
            );
        }
    }
}
