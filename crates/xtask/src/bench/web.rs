//! `cargo xtask bench web` and `bench webgpu`: the package beside ONNX Runtime in the same Chromium.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::project::Project;
use crate::{browser, command, stamp, tools};

#[derive(Args)]
pub struct Options {
    /// Calls of each side in turn (A B A B); the median is reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only the parts whose name, such as `coca_tiny image` or `B32 caption`, contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Time the package alone, without ONNX Runtime
    #[arg(long)]
    alone: bool,
    /// Instead of ONNX Runtime, time the wasm that engines without relaxed SIMD get
    #[arg(long, conflicts_with = "alone")]
    baseline: bool,
}

/// Where both sides compute.
#[derive(Clone, Copy)]
pub enum Device {
    /// WebAssembly, one thread each.
    Cpu,
    /// The browser's GPU, or its software one.
    WebGpu,
}

/// The shape of the large model; its weights are random.
const LARGE: &str = "coca_ViT-B-32";

/// Times image encoder, text encoder and captions of both sides, prints a table, and writes it to
/// `target/bench-web/DEVICE.md` and `.json`.
pub fn run(project: &Project, options: &Options, device: Device) -> Result<()> {
    let mut bench = browser::script(project, "peer")?;
    let folder = project.target().join("bench-web");
    let models = folder.join("models");
    link(&project.model(), &models.join("coca_tiny"))?;
    let large = models.join("B32");
    convert(
        project,
        Path::new(&format!("random:{LARGE}")),
        "f16",
        &large,
    )?;
    let quantised = models.join("B32-q8");
    convert(project, &large, "q8", &quantised)?;
    let exported = folder.join("onnx");
    let packages = "import open_clip, transformers, onnx, onnxscript";
    let wanted = !options.alone && !options.baseline;
    let peer = wanted && command::capture(tools::python().args(["-c", packages])).is_ok();
    if peer {
        // open_clip reads no quantised weights: the peer gets the same numbers in 32 bits.
        let widened = folder.join("B32-q8-wide");
        convert(project, &quantised, "f32", &widened)?;
        let sources = [
            ("coca_tiny", &models.join("coca_tiny")),
            ("B32", &large),
            ("B32-q8", &widened),
        ];
        for (name, source) in sources {
            export(project, source, &exported.join(name))?;
        }
    } else if wanted {
        eprintln!(
            "ONNX Runtime is skipped, as there is no Python to make its models: pip install open_clip_torch==3.3.0 \
             transformers onnx onnxscript (PYTHON names another Python)"
        );
    }
    let beside = match (peer, options.baseline) {
        (true, _) => "onnx",
        (false, true) => "baseline",
        (false, false) => "nothing",
    };
    let name = match device {
        Device::Cpu => "cpu",
        Device::WebGpu => "webgpu",
    };
    command::run(
        bench
            .env("COCA_PEER_DEVICE", name)
            .env("COCA_PEER_MODELS", &models)
            .env("COCA_PEER_ONNX", &exported)
            .env("COCA_PEER_BESIDE", beside)
            .env("COCA_PEER_ONLY", &options.only)
            .env("COCA_PEER_ROUNDS", options.rounds.to_string())
            .env("COCA_PEER_OUT", folder.join(name)),
    )
}

/// Writes a model folder with weights of this type, if there is none.
pub(super) fn convert(project: &Project, source: &Path, dtype: &str, out: &Path) -> Result<()> {
    if out.join("coca.json").is_file() {
        return Ok(());
    }
    let mut convert = Command::new(project.coca_train());
    convert.arg("convert").arg(source).arg(out);
    command::run(convert.args(["--dtype", dtype, "--overwrite"]))
}

/// A copy of a model folder, for a server that serves only what is below one folder.
pub(super) fn link(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("{} cannot be made", to.display()))?;
    for entry in fs::read_dir(from)? {
        let from = entry?.path();
        if let Some(name) = from.file_name() {
            fs::copy(&from, to.join(name))
                .with_context(|| format!("{} cannot be copied", from.display()))?;
        }
    }
    Ok(())
}

/// Writes a model folder for ONNX Runtime.
fn export(project: &Project, model: &Path, out: &Path) -> Result<()> {
    let script = project.path("tests/python/export_onnx.py");
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let inputs = [script.clone(), model.to_path_buf()];
    let description = out.join("model.json");
    stamp::unless_done(
        project,
        &format!("onnx-{name}"),
        "",
        &inputs,
        &description,
        || {
            let mut python = tools::python();
            python.arg(&script).arg("--model").arg(model);
            command::run(python.arg("--out").arg(out))
        },
    )
}
