//! `cargo xtask bench page`: Lighthouse on the demo page.

use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::project::Project;
use crate::{command, package, serve, tools};

/// The version whose scores are reported; scores change between major versions.
const LIGHTHOUSE: &str = "lighthouse@13";

const CATEGORIES: [&str; 4] = ["performance", "accessibility", "best-practices", "seo"];

const METRICS: [&str; 5] = [
    "first-contentful-paint",
    "largest-contentful-paint",
    "total-blocking-time",
    "cumulative-layout-shift",
    "total-byte-weight",
];

/// Prints Lighthouse's scores and metrics for a phone (with its slow network and processor, simulated) and for a desktop,
/// and keeps its reports in `target/bench-page`.
pub fn run(project: &Project) -> Result<()> {
    let page = package::build(project)?.page;
    let chromium = tools::chromium()?;
    let (ready, address) = mpsc::channel();
    thread::spawn(move || {
        let served = serve::serve(&page, 0, |address| Ok(ready.send(address.to_owned())?));
        if let Err(error) = served {
            eprintln!("the page is not served: {error:#}");
        }
    });
    let address = address.recv().context("the page could not be served")?;
    let folder = project.target().join("bench-page");
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;

    for (kind, preset) in [("phone", None), ("desktop", Some("--preset=desktop"))] {
        let report = folder.join(kind);
        let mut npx = Command::new(if cfg!(windows) { "npx.cmd" } else { "npx" });
        npx.args(["--yes", LIGHTHOUSE, &address, "--quiet"])
            .args(["--output=json", "--output=html"])
            .arg("--output-path")
            .arg(&report)
            .arg(format!("--only-categories={}", CATEGORIES.join(",")))
            .arg("--chrome-flags=--headless=new --no-sandbox")
            .args(preset)
            .env("CHROME_PATH", &chromium);
        command::run(&mut npx)?;
        let written = folder.join(format!("{kind}.report.json"));
        let json = fs::read(&written)
            .with_context(|| format!("Lighthouse did not write {}", written.display()))?;
        let json = serde_json::from_slice(&json)?;
        println!("{kind}: {}", summary(&json)?);
    }
    println!("reports: {}", folder.display());
    Ok(())
}

/// Scores of 100, and metrics as Lighthouse words them.
fn summary(report: &Value) -> Result<String> {
    let missing = |what: &str| anyhow!("Lighthouse's report has no {what}");
    let scores = CATEGORIES.iter().map(|category| {
        let score = report["categories"][category]["score"].as_f64();
        let score = score.ok_or_else(|| missing(category))?;
        Ok(format!("{category} {:.0}", 100.0 * score))
    });
    let metrics = METRICS.iter().map(|metric| {
        let value = report["audits"][metric]["displayValue"].as_str();
        let value = value.ok_or_else(|| missing(metric))?;
        Ok(format!("{metric} {}", value.replace('\u{a0}', " ")))
    });
    let parts = scores.chain(metrics).collect::<Result<Vec<_>>>()?;
    Ok(parts.join(", "))
}
