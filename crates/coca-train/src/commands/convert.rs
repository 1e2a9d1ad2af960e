//! `coca-train convert`: weights into a model folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use coca_model::config::PRESETS;
use coca_model::weights::{Dtype, LoadOptions, ModelFolder, StateDict, adapt, expected, save};
use coca_model::{Coca, ModelConfig};
use rayon::prelude::*;
use serde_json::json;

use super::{UsageError, fidelity, output};
use crate::{folder, hub};

/// Convert weights to a model folder.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A model folder, a .safetensors file, a PyTorch checkpoint (.bin, .pt, .pth), a repository of the Hugging Face
    /// hub (hf:owner/name or hf:owner/name@revision), the address of a model folder (https://…/), or random:PRESET
    /// for random weights, to measure sizes and speed with.
    source: PathBuf,
    /// The model folder to write.
    out: PathBuf,
    /// Type of the weights: f32, f16 or bf16; q8 or q4, which are smaller to download and only this project reads;
    /// as they are if not given.
    #[arg(long, value_parser = dtype)]
    dtype: Option<Dtype>,
    /// Split the weights into files of at most this size, for example 64MB; that is the default for q8 and q4, and
    /// 5GB for the others, so that open_clip finds the one file it reads.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    shard_size: Option<u64>,
    /// For a lone file: the model's shape, as the name of a preset or the path of an open_clip_config.json. Found by
    /// the tensors' names and shapes if not given.
    #[arg(long, value_name = "CONFIG")]
    config: Option<String>,
    /// For a lone file: the tokenizer.json; CLIP's vocabulary, or the one beside the configuration, if not given.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Replace the model folder that is there.
    #[arg(long)]
    overwrite: bool,
    /// Print, as one JSON object, how close the converted model's results are to the source's.
    #[arg(long)]
    report: bool,
    /// Compare on this picture instead of test patterns (may be given more than once).
    #[arg(long, value_name = "FILE", requires = "report")]
    image: Vec<PathBuf>,
}

/// Shards that a browser downloads well: a few at once, and little to fetch again when one is lost.
const BROWSER_SHARD: u64 = 64_000_000;
/// Larger than the weights of any model here.
const ONE_FILE: u64 = 5_000_000_000;

/// Runs the command.
pub fn run(args: &Args, device: &Device) -> Result<()> {
    check_free(&args.out, args.overwrite)?;
    let mut model = read_source(args, device)?;
    let fitted =
        folder::fitted(&model, device).with_context(|| format!("in {}", args.source.display()))?;
    for note in &fitted.notes {
        eprintln!("warning: {note}");
    }
    model.weights = fitted.weights;
    let before = args
        .report
        .then(|| fidelity::Results::of(&model, &args.image, device))
        .transpose()?;
    if let Some(dtype) = args.dtype {
        model.weights = converted(&model.weights, dtype)?;
    }
    model.coca.self_test = Some(folder::self_test(&model, device)?);
    let quantised = |weights: &StateDict| weights.iter().any(|(_, it)| it.dtype().is_quantised());
    let shard_size = args.shard_size.unwrap_or(match quantised(&model.weights) {
        true => BROWSER_SHARD,
        false => ONE_FILE,
    });
    folder::write(&model, &args.out, None, shard_size)?;
    eprintln!("wrote {}", args.out.display());
    if let Some(before) = before {
        let after = fidelity::Results::of(&model, &args.image, device)?;
        output::json(&before.compare(&after, &args.out)?)?;
    }
    Ok(())
}

/// Reads any kind of source.
fn read_source(args: &Args, device: &Device) -> Result<ModelFolder> {
    let own = args.config.is_none() && args.tokenizer.is_none();
    if let Some(preset) = args
        .source
        .to_str()
        .and_then(|text| text.strip_prefix("random:"))
    {
        let config = ModelConfig::preset(preset).ok_or_else(|| {
            let known = PRESETS.join(", ");
            UsageError::new(format!("there is no preset {preset}; there are {known}"))
        })?;
        // The same weights every time.
        device.seed(0);
        let weights = pollster::block_on(save(&Coca::new(&config, device)?))?;
        let config = serde_json::to_vec(&json!({ "model_cfg": config }))?;
        return assemble(&config, None, weights);
    }
    let local = hub::local(&args.source)?;
    if local.is_dir() {
        if !own {
            return Err(UsageError::new(
                "--config and --tokenizer are for a lone file; a model folder has its own",
            ));
        }
        return folder::read(&local);
    }
    read_file(args, device)
}

/// The weights as `dtype`, made on all cores: quantising looks for the best scales.
fn converted(weights: &StateDict, dtype: Dtype) -> Result<StateDict> {
    let tensors: Vec<_> = weights.iter().collect();
    let converted: Result<Vec<_>> = tensors
        .into_par_iter()
        .map(|(name, tensor)| {
            let dtype = StateDict::stored_as(name, tensor.shape(), dtype);
            let tensor = tensor.to_dtype(dtype);
            Ok((
                name.to_owned(),
                tensor.with_context(|| format!("tensor `{name}`"))?,
            ))
        })
        .collect();
    Ok(converted?.into_iter().collect())
}

/// Refuses to replace what is there, unless it is a model folder and that was asked for.
fn check_free(out: &Path, overwrite: bool) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    ensure!(
        overwrite,
        "{} exists; choose another name, or replace it with --overwrite",
        out.display()
    );
    ensure!(
        out.join(ModelFolder::CONFIG).is_file(),
        "{} is not a model folder, so it is not replaced; remove it first",
        out.display()
    );
    Ok(())
}

/// Reads a lone file of weights as a folder with the given or guessed configuration.
fn read_file(args: &Args, device: &Device) -> Result<ModelFolder> {
    let source = &args.source;
    let bytes = std::fs::read(source).with_context(|| format!("reading {}", source.display()))?;
    let extension = source
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    let weights = match extension.to_ascii_lowercase().as_str() {
        "safetensors" => StateDict::from_safetensors(bytes),
        "bin" | "pt" | "pth" => StateDict::from_torch(bytes),
        _ => {
            let name = source.display();
            return Err(UsageError::new(format!(
                "{name} is neither a folder nor a .safetensors, .bin, .pt or .pth file"
            )));
        }
    };
    let weights = weights.with_context(|| format!("in {}", source.display()))?;
    let config = match &args.config {
        Some(config) => read_config(config)?,
        None => {
            let (name, config) = guess(&weights, device)?;
            eprintln!("the tensors are those of {name}");
            serde_json::to_vec(&json!({ "model_cfg": config }))?
        }
    };
    assemble(&config, read_tokenizer(args)?, weights)
        .context("a vocabulary other than CLIP's needs --tokenizer")
}

/// A folder of these parts.
fn assemble(config: &[u8], tokenizer: Option<Vec<u8>>, weights: StateDict) -> Result<ModelFolder> {
    // The folder's own reader puts the parts together and checks them; the weights are put in afterwards.
    let stand_in = StateDict::new().to_safetensors(None, &Default::default())?;
    let mut folder = ModelFolder::from_files(|name| {
        Ok::<_, anyhow::Error>(match name {
            ModelFolder::CONFIG => Some(config.to_vec()),
            ModelFolder::TOKENIZER => tokenizer.clone(),
            StateDict::FILE => Some(stand_in.clone()),
            _ => None,
        })
    })?;
    folder.weights = weights;
    Ok(folder)
}

/// A preset, or the contents of a configuration file.
fn read_config(config: &str) -> Result<Vec<u8>> {
    match ModelConfig::preset(config) {
        Some(preset) => Ok(serde_json::to_vec(&json!({ "model_cfg": preset }))?),
        None => std::fs::read(config).with_context(|| {
            format!(
                "--config {config} is neither a preset ({}) nor a readable file",
                PRESETS.join(", ")
            )
        }),
    }
}

/// The tokenizer that was given, or the one beside the configuration or the weights.
fn read_tokenizer(args: &Args) -> Result<Option<Vec<u8>>> {
    if let Some(path) = &args.tokenizer {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        return Ok(Some(bytes));
    }
    let config = args
        .config
        .as_ref()
        .map(PathBuf::from)
        .filter(|path| path.is_file());
    let beside = [config.as_deref(), Some(args.source.as_path())];
    let found = beside
        .into_iter()
        .flatten()
        .map(|path| path.with_file_name(ModelFolder::TOKENIZER));
    match found.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(Some(
            std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?,
        )),
        None => Ok(None),
    }
}

/// The only preset with exactly these tensors.
fn guess(weights: &StateDict, device: &Device) -> Result<(&'static str, ModelConfig)> {
    let mut fitting = Vec::new();
    for name in PRESETS {
        let Some(config) = ModelConfig::preset(name) else {
            continue;
        };
        // Nothing is computed: parameters are made when they are first used.
        let expected = expected(&Coca::new(&config, device)?);
        let adapted = adapt(weights, &expected, &LoadOptions::default())?;
        let same = adapted.weights.len() == expected.len()
            && adapted
                .weights
                .iter()
                .all(|(name, tensor)| expected.get(name).is_some_and(|s| s == tensor.shape()));
        if adapted.notes.is_empty() && same {
            fitting.push((name, config));
        }
    }
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => bail!(
            "the tensors are not those of a preset ({}); give --config",
            PRESETS.join(", ")
        ),
        _ => {
            let names: Vec<_> = fitting.iter().map(|(name, _)| *name).collect();
            bail!(
                "the tensors fit several presets ({}); choose one with --config",
                names.join(", ")
            )
        }
    }
}

fn dtype(text: &str) -> Result<Dtype, String> {
    match text.to_ascii_lowercase().as_str() {
        "f32" => Ok(Dtype::F32),
        "f16" => Ok(Dtype::F16),
        "bf16" => Ok(Dtype::BF16),
        "q8" => Ok(Dtype::Q8),
        "q4" => Ok(Dtype::Q4),
        _ => Err("expected f32, f16, bf16, q8 or q4".into()),
    }
}

/// Bytes: a number with or without a unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let factor: Option<u64> = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        _ => None,
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    bytes
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "expected a size such as 64MB or 2GiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("64MB", 64_000_000),
            ("2GiB", 2 << 30),
            ("10", 10),
            ("3 kb", 3000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MB",
            "0MB",
            "-1",
            "1.5GB",
            "5 parsecs",
            "99999999999999999999",
            "99999999999999GB",
            "é",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_works_is_offered() {
        assert_eq!(dtype("BF16"), Ok(Dtype::BF16));
        assert_eq!(dtype("q4"), Ok(Dtype::Q4));
        assert!(dtype("q3").unwrap_err().contains("q4"));
    }
}
